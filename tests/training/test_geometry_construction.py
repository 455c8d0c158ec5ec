"""Stage 1's losses say what they promise, its excerpts keep sound and face together, and it can learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda

from personatalk.errors import PersonaTalkError
from personatalk.geometry.face_model import LIPS, NUM_VERTICES, FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.model import GeometryModel
from personatalk.speech.config import SyncConfig
from personatalk.speech.features import sample_rows
from personatalk.speech.sync_network import SyncNetwork
from personatalk.training.config import GeometryTrainingConfig
from personatalk.training.corpus import Clip
from personatalk.training.geometry_construction.dataset import GeometryDataset, SpokenClip, load_spoken_clips
from personatalk.training.geometry_construction.losses import (
    LIP_LOSS_WEIGHT,
    PERCENT,
    SpeechMetric,
    deviation_loss,
    geometry_losses,
)
from personatalk.training.geometry_construction.readouts import fit_voice
from personatalk.training.geometry_construction.train import (
    GeometryLosses,
    judged_clips,
    predictor_of,
    set_statistics,
    train_geometry,
    validate_geometry,
)
from personatalk.training.loop import STATE_NAME, TrainState, to_device, train
from personatalk.training.speech_cache import SpeechVariant

TINY = GeometryModelConfig(
    audio_dim=4, expression_dim=2, dim=16, heads=2, depth=1, style_tokens=2, window_frames=2, context_frames=3,
    dropout=0.0,
)  # fmt: skip
CONFIG = GeometryTrainingConfig(
    num_steps=150, batch_size=8, learning_rate=1e-2, warmup_steps=10, ema_decay=0.9, num_frames=20, min_style_frames=10,
    noise_share=0.0, augmented_share=0.0, jitter_s=0.0,
    loss_weights={"vertex": 1.0, "velocity": 2.0, "aperture": 0.25, "closure": 0.8, "deviation": 0.3},
)  # fmt: skip


@pytest.fixture
def face_model():
    random = np.random.default_rng(0)
    basis = np.zeros((2, NUM_VERTICES, 3), np.float32)
    basis[0, [87, 14, 317], 1] = 0.1  # opens the mouth
    basis[1, list(LIPS), 0] = 0.05
    return FaceModel(
        mean=random.normal(size=(NUM_VERTICES, 3)).astype(np.float32),
        shape_basis=np.zeros((1, NUM_VERTICES, 3), np.float32),
        expression_basis=basis,
        triangles=np.zeros((1, 3), np.int32),
        num_speech=2,
    )


def row(person: str, split: str = "train", offset_s: float = 0.0, fit: float | None = 0.9) -> Clip:
    return Clip(file=f"{person}.mp4", split=split, person=person, offset_s=offset_s, fit=fit)


def spoken_clip(person: int, face_model: FaceModel, split: str = "train", num_frames: int = 80) -> SpokenClip:
    """A clip whose mouth follows the first feature, at a height of the person's own."""
    random = np.random.default_rng(person)
    coarse = random.normal(size=(num_frames // 4 + 2, 4))
    rows = np.arange(2 * num_frames) / 8
    values = np.stack([np.interp(rows, np.arange(len(coarse)), c) for c in coarse.T], 1).astype(np.float32)
    expression = np.stack([values[::2, 0] + 0.3 * person, values[::2, 1]], 1).astype(np.float32)
    features = SpeechVariant(values=torch.from_numpy(values), level_db=torch.full((len(values),), -20.0))
    return SpokenClip(
        clip=row(str(person), split), speech={"clean": features, "noisy": features}, expression=expression,
        valid=np.ones(num_frames, bool), times=np.arange(num_frames) / 25, template=face_model.mean,
    )  # fmt: skip


def test_vertex_loss_by_hand(face_model):
    difference = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    moved = PERCENT * np.einsum("tk,kvc->tvc", difference.numpy(), face_model.expression_basis)
    weight = np.ones(NUM_VERTICES)
    weight[list(LIPS)] = LIP_LOSS_WEIGHT
    expected = (np.square(moved).sum(-1) * weight).sum(1) / weight.sum()
    np.testing.assert_allclose(SpeechMetric.of(face_model).squared(difference), expected, rtol=1e-4)


def test_openness_agrees_with_the_face_model(face_model):
    expression = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(0))
    ours = SpeechMetric.of(face_model).lip_aperture(expression, torch.from_numpy(face_model.mean)[None])
    theirs = PERCENT * lip_aperture(face_model.vertices(face_model.mean, expression[0].numpy()))
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-4)


def test_the_truth_costs_nothing_and_masked_frames_do_not_count(face_model):
    target = torch.randn(2, 20, 2)
    spoilt = target.clone()
    spoilt[:, 15:] += 9
    valid = torch.arange(20).expand(2, 20) < 15
    template = torch.from_numpy(face_model.mean).expand(2, -1, -1)
    losses = geometry_losses(spoilt, target, valid, template, SpeechMetric.of(face_model))
    assert max(loss.item() for loss in losses.values()) < 1e-5


def test_mumbling_costs_deviation_and_a_constant_does_not():
    target = torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(3, 50, dtype=torch.bool)
    assert deviation_loss(target + 1, target, valid) < 1e-6
    assert deviation_loss(0.7 * target, target, valid) == pytest.approx(2 * 0.3**2, rel=0.2)


def test_batches_follow_from_the_step(face_model):
    dataset = GeometryDataset([spoken_clip(p, face_model) for p in range(3)], [], face_model, CONFIG)
    torch.testing.assert_close(dataset.batch_at(3).expression, dataset.batch_at(3).expression, atol=0, rtol=0)
    assert not torch.equal(dataset.batch_at(3).expression, dataset.batch_at(4).expression)


def test_sound_and_face_stay_together(face_model):
    batch = GeometryDataset([spoken_clip(0, face_model)], [], face_model, CONFIG).batch_at(0)
    torch.testing.assert_close(batch.speech[..., :2], batch.expression, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("time_scale", [0.8, 1.25])
def test_stretched_sound_and_face_stay_together(face_model, time_scale):
    clip = spoken_clip(0, face_model)
    clean = clip.speech["clean"]
    positions = torch.arange(int(len(clean.values) * time_scale), dtype=torch.float64) / time_scale
    stretched = SpeechVariant(
        values=sample_rows(clean.values, positions), level_db=torch.zeros(len(positions)), time_scale=time_scale
    )
    clip = dataclasses.replace(clip, speech={"clean": clean, "stretched": stretched})
    config = dataclasses.replace(CONFIG, augmented_share=1.0)
    batch = GeometryDataset([clip], [], face_model, config).batch_at(0)
    torch.testing.assert_close(batch.speech[..., :2], batch.expression, atol=0.15, rtol=0)
    assert batch.valid.all()
    unstretched = GeometryDataset([clip], [], face_model, CONFIG).batch_at(0)
    steps = [b.expression.diff(dim=1).abs().mean() for b in (batch, unstretched)]
    assert (steps[0] < steps[1]) == (time_scale > 1)  # slow speech moves the mouth less from frame to frame


def test_style_does_not_see_the_target(face_model):
    clip = spoken_clip(0, face_model)
    batch = GeometryDataset([clip], [], face_model, CONFIG).batch_at(0)
    target_means = batch.expression.mean(1)
    assert (batch.style.mean - target_means).abs().mean() > 0.05


def test_noise_is_rest(face_model):
    noise = SpeechVariant(values=torch.full((200, 4), 7.0), level_db=torch.zeros(200))
    config = GeometryTrainingConfig(batch_size=4, num_frames=20, min_style_frames=10, noise_share=1.0)
    batch = GeometryDataset([spoken_clip(0, face_model)], [noise], face_model, config).batch_at(0)
    assert (batch.speech == 7).all()
    torch.testing.assert_close(batch.expression, batch.style.rest[:, None].expand_as(batch.expression))


def test_persons_with_many_clips_do_not_fill_the_batches(face_model):
    clips = [spoken_clip(0, face_model)] * 100 + [spoken_clip(1, face_model)]
    dataset = GeometryDataset(clips, [], face_model, CONFIG)
    assert dataset.person_share[0] == pytest.approx(10 / 11)


def test_no_clips_are_refused(face_model):
    with pytest.raises(PersonaTalkError, match="no clips"):
        GeometryDataset([], [], face_model, CONFIG)


def test_training_beats_the_mean_mouth_on_unseen_persons(face_model):
    training = [spoken_clip(person, face_model) for person in range(6)]
    held_out = [spoken_clip(person, face_model, "val") for person in (6, 7)]
    torch.manual_seed(0)
    model = GeometryModel(TINY)
    set_statistics(model, training, face_model)
    state = TrainState(model=model, optimizer=torch.optim.AdamW(model.parameters()))
    dataset = GeometryDataset(training, [], face_model, CONFIG)
    losses_of = GeometryLosses(face_model)
    before = losses_of(state.ema, dataset.batch_at(999))["vertex"].item()
    train(state, CONFIG, losses_of=losses_of, batch_at=dataset.batch_at)
    assert losses_of(state.ema, dataset.batch_at(999))["vertex"].item() < 0.2 * before
    ours = validate_geometry(predictor_of(state.ema), held_out, face_model)
    mean = validate_geometry(lambda clip, style, times: style.mean.expand(len(times), -1).numpy(), held_out, face_model)
    assert ours["r"] > 0.8 and ours["lip"] < 0.7 * mean["lip"]


def test_losses_compute_where_the_batch_is(face_model):
    config = dataclasses.replace(CONFIG, loss_weights={**CONFIG.loss_weights, "sync": 1.0}, num_frames=40)
    batch = GeometryDataset([spoken_clip(0, face_model)], [], face_model, config).batch_at(0)
    sync_network = SyncNetwork(SyncConfig(audio_dim=4, lip_dim=4, dim=8, embedding_dim=4))
    model = GeometryModel(TINY)
    with fake_cuda():
        losses = GeometryLosses(face_model, sync_network, "cuda")(model.to("cuda"), to_device(batch, "cuda"))
    assert sorted(losses) == sorted(config.loss_weights)
    assert {loss.device.type for loss in losses.values()} == {"cuda"}


def test_every_person_counts_once_in_validation(face_model):
    """Three clips of one person that are predicted perfectly, and one of another that is not."""
    clips = [spoken_clip(0, face_model, "val") for _ in range(3)] + [spoken_clip(1, face_model, "val")]

    def predict(clip, style, times):
        rows = np.searchsorted(clip.times, times.numpy() - 1e-6)
        return clip.expression[rows] * (1 if clip.clip.person == "0" else 0.5)

    figures = validate_geometry(predict, judged_clips(clips), face_model)
    alone = validate_geometry(predict, clips[3:], face_model)
    assert figures["lip"] == pytest.approx(alone["lip"] / 2, rel=1e-5) and alone["lip"] > 0
    assert (figures["clips"], figures["persons"]) == (4, 2)


def test_clips_that_are_too_short_are_not_validated_on(face_model):
    long, short = spoken_clip(0, face_model, num_frames=60), spoken_clip(1, face_model, num_frames=40)
    assert judged_clips([long, short]) == [long]
    with pytest.raises(PersonaTalkError, match="no clip to validate on"):
        judged_clips([short])


def test_a_run_begins_goes_on_and_ends_with_readouts(face_model, tmp_path, monkeypatch):
    clips = [spoken_clip(person, face_model, num_frames=120) for person in range(3)]
    clips.append(spoken_clip(7, face_model, "val", num_frames=120))
    monkeypatch.setattr("personatalk.training.geometry_construction.train.load_spoken_clips", lambda *_, **__: clips)
    monkeypatch.setattr("personatalk.training.geometry_construction.train.load_noises", lambda corpus: [])
    config = dataclasses.replace(CONFIG, num_steps=4, validate_every=2)

    def run(folder, config):
        return train_geometry(tmp_path, [], folder, face_model=face_model, config=config, model_config=TINY)

    whole = run(tmp_path / "whole", config)
    state = torch.load(tmp_path / "whole" / STATE_NAME, weights_only=True)
    assert state["step"] == 4 and whole.population_residual.abs().sum() > 0
    again = run(tmp_path / "whole", config)  # nothing is left to do
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_misfits_are_dropped_and_offsets_taken_off(tmp_path, face_model):
    (tmp_path / "geometry").mkdir()
    (tmp_path / "audio").mkdir()
    count = 30
    for name in "abc":
        np.savez(
            tmp_path / "geometry" / f"{name}.npz", template=face_model.mean, expression=np.zeros((count, 2)),
            rotation=np.zeros((count, 3, 3)), translation=np.zeros((count, 2)), scale=np.ones(count),
            valid=np.ones(count, bool), times=np.arange(count) / 25,
        )  # fmt: skip
        np.savez(
            tmp_path / "audio" / f"{name}.npz",
            **{f"{v}_values": np.zeros((60, 4), np.float16) for v in ("clean", "noisy")},
            **{f"{v}_level_db": np.zeros(60) for v in ("clean", "noisy")},
        )
    rows = [row("a", offset_s=0.08), row("b", fit=0.1), row("c", fit=None), row("d")]
    loaded = load_spoken_clips(rows, tmp_path, face_model, min_fit=0.3)
    assert [clip.clip.person for clip in loaded] == ["a"]
    np.testing.assert_allclose(loaded[0].times, (np.arange(count) - 2) / 25)


def test_voices_are_told_from_noises_and_a_spoilt_voice_stays_one(face_model):
    random = torch.Generator().manual_seed(0)

    def sound(middle: float) -> SpeechVariant:
        values = middle + 0.2 * torch.randn(200, 4, generator=random)
        return SpeechVariant(values=values, level_db=torch.full((200,), -20.0))

    clip = spoken_clip(0, face_model)
    clip = dataclasses.replace(clip, speech={"clean": sound(1.0), "noisy": sound(0.5)})
    model = GeometryModel(TINY)
    heard = sound(-1.0).values
    assert model.voice(heard).min() == 1  # a fresh one takes everything for a voice
    fit_voice(model, [clip], [sound(-1.0), sound(-0.5)])
    assert model.voice(heard).max() == 0 and model.voice(sound(0.5).values).min() > 0.5
