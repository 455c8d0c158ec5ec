"""The occluder network's samples and training: what is drawn is the truth, and one batch is learnt by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda
from torch._subclasses.fake_tensor import DataDependentOutputException

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.occlusion.network import OccluderConfig, OccluderNetwork
from personatalk.training.config import OccluderTrainingConfig
from personatalk.training.corpus import Clip
from personatalk.training.losses import weighted_sum
from personatalk.training.occlusion import dataset
from personatalk.training.occlusion.dataset import OccluderDataset
from personatalk.training.occlusion.things import draw_thing
from personatalk.training.occlusion.train import losses_of, train_occluder, validate_occluder
from personatalk.training.window_run import WindowRun

SKIN = np.array((170.0, 130.0, 110.0))
TINY = OccluderConfig(widths=(8, 8, 8))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two persons' faces of known geometry, their windows in one skin colour: the folder and the clips."""
    folder = tmp_path_factory.mktemp("corpus")
    model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    clips = []
    for seed, split in enumerate(("train", "val")):
        geometry = fit_track(known_face(model, noise_iod=0, seed=seed).track, model)
        for kind in ("geometry", "windows"):
            (folder / kind).mkdir(exist_ok=True)
        geometry.save(folder / "geometry" / f"{split}.npz")
        windows = np.full((len(geometry), WINDOW_HEIGHT, WINDOW_WIDTH, 3), SKIN, np.uint8)
        np.save(folder / "windows" / f"{split}.npy", windows)
        clips.append(Clip(file=f"{split}.mp4", split=split, person=split))
    return folder, clips


@pytest.fixture(scope="module")
def samples(corpus):
    return OccluderDataset(corpus[0], corpus[1], FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")))


def test_a_thing_changes_what_it_hides_and_nothing_else():
    rng = np.random.default_rng(0)
    window, shadows = np.full((WINDOW_HEIGHT, WINDOW_WIDTH, 3), SKIN, np.float32), 0
    for _ in range(40):
        cloth = rng.uniform(0, 255, (48, 192, 3))
        thing, shadow = draw_thing(rng, SKIN, cloth)
        drawn = thing.before(window)
        assert thing.opacity.min() >= 0 and thing.opacity.max() <= 1
        assert np.array_equal(drawn[thing.opacity == 0], window[thing.opacity == 0])
        np.testing.assert_allclose(drawn[thing.opacity == 1], thing.colours[thing.opacity == 1], atol=1e-3)
        if shadow is not None:
            shadows += 1
            assert (thing.before(window, shadow) <= drawn + 1e-3).all()
    assert 5 < shadows < 35


def test_samples_follow_from_their_step(samples):
    first, again, other = samples.batch_at(3, 4), samples.batch_at(3, 4), samples.batch_at(4, 4)
    for name in ("windows", "geometry", "truth", "face"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert torch.isfinite(getattr(first, name)).all()
    assert not torch.equal(first.windows, other.windows)
    assert first.windows.shape == (4, 3, 80, 96) and first.geometry.shape == (4, 8, 40, 48)
    assert 0 <= first.truth.min() and first.truth.max() <= 1


def test_windows_show_things_where_the_truth_says(samples, monkeypatch):
    """On a face of one colour, without other changes, what differs from it is the thing."""
    monkeypatch.setattr(dataset, "CAST_SHARE", 0)
    monkeypatch.setattr(dataset, "THING_SHARE", 1)
    monkeypatch.setattr(dataset, "vary", lambda window, rng: window)
    monkeypatch.setattr(dataset, "draw_thing", lambda *given: (draw_thing(*given)[0], None))
    batch = samples.batch_at(0, 16)
    skin = torch.from_numpy(SKIN).float()[None, :, None, None] / 255
    differs = (batch.windows - skin).abs().amax(1, keepdim=True) > 0.06
    assert (batch.truth[differs] > 0.02).float().mean() > 0.99
    assert batch.truth.amax((1, 2, 3)).min() > 0.1


def test_one_batch_is_learnt_by_heart(samples):
    batch, weights = samples.batch_at(0, 6), OccluderTrainingConfig().loss_weights
    torch.manual_seed(0)
    network = OccluderNetwork(OccluderConfig(widths=(16, 16, 16)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(120):
        loss = weighted_sum(losses_of(network, batch), weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    figures = validate_occluder(network, [batch])
    assert figures["iou"] > 0.8 and figures["false_share"] < 0.02, figures


def test_losses_and_validation_compute_where_the_network_is(samples):
    batch, network = samples.batch_at(0, 2), OccluderNetwork(TINY)
    with fake_cuda():
        network.to("cuda")
        with pytest.raises(DataDependentOutputException):  # all was computed: there only is no value to fetch
            validate_occluder(network, [batch])


def test_a_run_is_continued(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("personatalk.training.occlusion.train.VALIDATION_BATCHES", 1)
    clips = corpus[1]

    def run(folder, num_steps):
        torch.manual_seed(0)
        config = OccluderTrainingConfig(
            num_steps=num_steps, batch_size=2, validate_every=2, save_every=1, warmup_steps=99
        )
        places = WindowRun(corpus=corpus[0], clips=clips, folder=folder, checkpoints=DEFAULT_FOLDER)
        return train_occluder(places, config, TINY).state_dict()

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    resumed = run(tmp_path / "parts", 4)
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-6) for name in whole)
