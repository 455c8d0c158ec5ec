"""The true mouth must reach no pixel of a dub: not through the target, nor through the frames beside it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.concurrency import map_in_order
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.face_rendering import reference_bank
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import MIN_GAP_S, choose_candidates
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry.rasterizer import rasterize
from personatalk.media import Frame

TARGET = 40
MIN_GAP = round(25 * MIN_GAP_S)  # frames at 25 Hz


@pytest.fixture(scope="module")
def scene():
    """A face of known geometry in pictures of coloured blocks, and a tiny network whose every weight counts."""
    mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
    geometry = fit_track(known_face(mesh.face_model, noise_iod=0, seed=4).track, mesh.face_model)
    blocks = np.random.default_rng(0).integers(0, 255, (len(geometry), 30, 30, 3)).astype(np.uint8)
    torch.manual_seed(0)
    config = RendererConfig(dim=8, widths=(8, 8, 8), num_lip_references=3, num_face_references=2, max_offset_px=2.0)
    model = DualAttentionRenderer(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return mesh, geometry, blocks.repeat(10, 1).repeat(10, 2), model


def prepare(scene, pictures, *, is_blended: bool = False) -> ClipRenderer:
    mesh, geometry, _, model = scene
    vertices = mesh.face_model.vertices(geometry.template, geometry.expression)
    demanded = lip_descriptors(vertices, geometry.template, geometry.rotation)
    references = ReferenceBank(mesh, geometry, choose_candidates(geometry, mesh, demanded))
    frames = (
        Frame(index=i, time=i / 25, pixels=image, pts=i, time_base=Fraction(1, 25)) for i, image in enumerate(pictures)
    )
    references.gather(frames, model)
    return ClipRenderer(model, mesh, geometry, vertices, references, source_vertices=vertices if is_blended else None)


def render(scene, pictures, *, is_blended: bool = False):
    """Render the target frame: its whole picture, and the network's part of it."""
    rendered = prepare(scene, pictures, is_blended=is_blended).render(TARGET, pictures[TARGET])
    return rendered.image.astype(int), rendered.rendering.faces


def native_mask(scene, *, is_blended: bool = False):
    mesh, geometry, pictures, _ = scene
    size = pictures.shape[1:3]
    whole = np.eye(2, 3, dtype=np.float32)
    vertices = mesh.face_model.vertices(geometry.template, geometry.expression[TARGET])
    index, _ = rasterize(mesh.project(geometry.pose(TARGET, vertices, whole)), mesh.triangles, *size)
    return mesh.region(geometry.pose(TARGET, vertices, whole), index, vertices if is_blended else None)


@pytest.mark.parametrize("is_blended", [False, True])
def test_the_true_mouth_of_the_target_changes_nothing(scene, is_blended):
    pictures = scene[2].copy()
    image, faces = render(scene, pictures, is_blended=is_blended)
    # a margin, since the network's window is resampled
    hidden = native_mask(scene) > 0.2
    pictures[TARGET][hidden] = 255 - pictures[TARGET][hidden]
    other_image, other_faces = render(scene, pictures, is_blended=is_blended)
    inside = native_mask(scene, is_blended=is_blended) > 0.999
    assert inside.sum() > 1000
    assert np.abs(other_image - image)[inside].max() <= 1
    assert (other_faces - faces).abs().max() < 1e-3


def test_the_true_mouth_of_the_frames_beside_changes_nothing(scene):
    pictures = scene[2].copy()
    image, faces = render(scene, pictures)
    for frame in range(TARGET - MIN_GAP + 1, TARGET + MIN_GAP):
        if frame != TARGET:
            pictures[frame] = 255 - pictures[frame]
    other_image, other_faces = render(scene, pictures)
    assert np.abs(other_image - image).max() <= 1
    assert (other_faces - faces).abs().max() < 1e-3


def test_frames_rendered_side_by_side_are_those_rendered_one_by_one(scene):
    pictures = scene[2]
    clip = prepare(scene, pictures)
    frames = [(position, pictures[position]) for position in range(30, 42)]
    apart, together = (
        [rendered.image for rendered in map_in_order(lambda item: clip.render(*item), frames, workers)]
        for workers in (1, 3)
    )
    assert not np.array_equal(apart[0], pictures[30])
    difference = np.abs(np.stack(together).astype(int) - np.stack(apart))
    assert difference.max() <= 2 and difference.mean() < 1e-4  # other thread counts round sums otherwise


def test_references_gathered_side_by_side_are_those_gathered_one_by_one(scene, monkeypatch):
    banks = []
    for workers in (1, 3):
        monkeypatch.setattr(reference_bank, "num_workers", lambda workers=workers: workers)
        banks.append(prepare(scene, scene[2]).bank)
    apart, together = banks
    assert (
        apart.candidates.frames == together.candidates.frames == set(range(len(scene[2])))
    )  # all textures, some as references
    banks = {*apart.candidates.lip_frames.tolist(), *apart.candidates.face_frames.tolist()}
    assert banks == set(apart.entries) == set(together.entries) == set(together.features)
    for kept, other in zip(vars(apart.priors[0]).values(), vars(together.priors[0]).values(), strict=True):
        assert not isinstance(kept, np.ndarray) or np.array_equal(kept, other)
    for index, entry in apart.entries.items():
        assert np.array_equal(entry.crop.image, together.entries[index].crop.image)
        assert together.entries[index].frame.index == index
        assert (apart.features[index] - together.features[index]).abs().max() < 1e-4


def test_the_references_do_change_the_result(scene):
    """Without this the two tests above would prove nothing."""
    pictures = scene[2].copy()
    image, _ = render(scene, pictures)
    far = np.abs(np.arange(len(pictures)) - TARGET) >= MIN_GAP
    pictures[far] = 255 - pictures[far]
    other_image, _ = render(scene, pictures)
    assert np.abs(other_image - image)[native_mask(scene) > 0.999].mean() > 10
