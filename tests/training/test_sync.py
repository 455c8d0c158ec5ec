"""A sync network learns what happens together; offsets are measured by networks that never saw the person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import PersonaTalkError
from personatalk.geometry.face_model import FaceModel
from personatalk.speech.config import SyncConfig
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.sync_network import LIP_RATE, MAX_SHIFT, NUM_SHIFTS, SyncNetwork, lip_features
from personatalk.training.config import SyncTrainingConfig
from personatalk.training.corpus import Clip, with_measured_offsets
from personatalk.training.geometry_construction.losses import SpeechMetric, sync_loss
from personatalk.training.loop import to_device
from personatalk.training.sync.clean_corpus import counts_of, measure_corpus
from personatalk.training.sync.dataset import SyncClip, SyncDataset, augment_mel, fold_of
from personatalk.training.sync.measure import (
    SHIFT_FRAMES,
    in_sync_probability,
    measure_clips,
    mismatched_negatives,
    offset_prior,
)
from personatalk.training.sync.train import SyncLosses, found_offsets, train_sync

TINY = SyncConfig(audio_dim=6, lip_dim=4, dim=16, embedding_dim=8, audio_layers=1, lip_layers=1, dropout=0.0)
CONFIG = SyncTrainingConfig(
    num_steps=120, batch_size=8, learning_rate=1e-2, warmup_steps=5, ema_decay=0.9, num_frames=40
)


def sync_clip(seed: int, offset: float = 0.0, seconds: float = 4.0, told: float = 0.0) -> SyncClip:
    """A mouth that follows four features of the sound, `offset` frames late; the manifest says `told`."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(int(seconds * 12) + 30, 6))
    moments = np.arange(int(seconds * 50)) / 50
    values = np.stack([np.interp(moments * 10 + 9, np.arange(len(coarse)), c) for c in coarse.T], 1)
    times = np.arange(int(seconds * 25)) / 25
    heard_at = (times - offset / LIP_RATE) * 10 + 9
    lips = np.stack([np.interp(heard_at, np.arange(len(coarse)), c) for c in coarse.T[:4]], 1)
    features = SpeechFeatures(
        values=torch.from_numpy(values.astype(np.float32)), level_db=torch.full((len(values),), -20.0)
    )
    row = Clip(file=f"{seed}.mp4", split="train", person=str(seed), offset_s=told / LIP_RATE, fit=0.9)
    return SyncClip(
        clip=row, sounds=[features], lips=lips.astype(np.float32), valid=np.ones(len(times), bool), times=times
    )


@pytest.fixture(scope="module")
def network():
    return train_sync([sync_clip(seed) for seed in range(24)], CONFIG, TINY)


def test_it_finds_offsets_of_persons_that_it_never_saw(network):
    unseen = [sync_clip(100 + i, offset=offset, told=offset) for i, offset in enumerate((-6, -2.5, 0, 1, 4.5, 6))]
    assert found_offsets(network, unseen)["within_1_4s"] == 1


def test_an_untrained_network_does_not():
    unseen = [sync_clip(100 + i, told=3.0, offset=3.0) for i in range(6)]
    assert found_offsets(SyncNetwork(TINY).eval(), unseen)["within_1_4s"] < 0.7


def test_cleaning_moves_clips_and_drops_strangers(network):
    clips = [sync_clip(200 + i, offset=2.5) for i in range(30)]
    clips += [replace(sync_clip(300 + i), sounds=sync_clip(400 + i).sounds) for i in range(3)]
    rows = measure_clips(clips, lambda clip: network)
    assert {row.offset_s for row in rows[:30]} == {0.1}
    assert min(row.in_sync for row in rows[:30]) > 0.5 > max(row.in_sync for row in rows[30:])
    counts = counts_of(rows, [clip.clip for clip in clips])
    assert (counts["kept"], counts["dropped"]) == (30, 3)
    assert counts["kept and moved by more than a frame"] == 30


def test_a_corpus_is_measured_with_the_network_that_is_there(network, tmp_path, monkeypatch):
    known = [sync_clip(200 + i, offset=2.5, told=1.0) for i in range(30)]
    monkeypatch.setattr("personatalk.training.sync.clean_corpus.load_sync_clips", lambda *_: known)
    silent = replace(known[0].clip, file="silent.mp4", has_sound=False)
    clips = [*(clip.clip for clip in known), silent]
    counts = measure_corpus(tmp_path, clips, face_model=None, network=network)
    assert (counts["clips with sound"], counts["measured"], counts["kept"]) == (30, 30, 30)
    assert [clip.offset_s for clip in with_measured_offsets(clips, tmp_path)] == [0.1] * 30 + [0.04]


def test_the_right_shift_is_the_middle_one_of_a_batch():
    """The dataset takes the manifest's offset off: six features of the sound lie where the mouth is."""
    clip = sync_clip(0, offset=3.0, told=3.0)
    batch = SyncDataset([clip], replace(CONFIG, batch_size=1), is_mel=False).batch_at(0)
    middle = batch.audio[0, 2 * MAX_SHIFT :: 2][: CONFIG.num_frames, :4]
    heard = batch.has_audio[0, 2 * MAX_SHIFT :: 2][: CONFIG.num_frames]
    assert (middle - batch.lips[0])[heard].abs().max() < 0.5
    assert np.corrcoef(middle[heard].flatten(), batch.lips[0][heard].flatten())[0, 1] > 0.98


def test_batches_follow_from_the_step():
    dataset = SyncDataset([sync_clip(seed) for seed in range(3)], CONFIG, is_mel=False)
    assert torch.equal(dataset.batch_at(2).audio, dataset.batch_at(2).audio)
    assert not torch.equal(dataset.batch_at(2).audio, dataset.batch_at(3).audio)


def test_no_clips_are_refused():
    with pytest.raises(PersonaTalkError, match="no clips"):
        SyncDataset([], CONFIG, is_mel=False)
    with pytest.raises(PersonaTalkError, match="no clips"):
        train_sync([replace(sync_clip(0), clip=replace(sync_clip(0).clip, fit=0.1))], CONFIG, TINY)


def test_persons_are_in_one_fold_each():
    folds = [fold_of(str(person)) for person in range(400)]
    assert folds == [fold_of(str(person)) for person in range(400)]
    counts = np.bincount(folds)
    assert len(counts) == 3 and counts.min() > 60


def test_the_prior_is_learnt_from_all_clips_together():
    likelihood = np.full((50, NUM_SHIFTS), 0.1)
    likelihood[:40, 30] = 5  # forty clips are clearly at the middle, ten say nothing
    prior = offset_prior(likelihood)
    assert prior.sum() == pytest.approx(1)
    assert prior.argmax() == 30 and prior[28:33].sum() > 0.5 > 10 * prior[:20].sum()


def test_traits_tell_own_sounds_from_others():
    random = np.random.default_rng(0)
    own, others = random.normal(2, 1, (200, 3)), random.normal(-2, 1, (200, 3))
    own[:10] = others[:10]  # these do not belong
    in_sync = in_sync_probability(own, others)
    assert in_sync[10:].mean() > 0.95 and in_sync[:10].mean() < 0.3


def test_strangers_are_other_persons():
    clips = [sync_clip(seed) for seed in range(3)]
    assert [other.clip.person for other in mismatched_negatives(clips)] == ["1", "2", "0"]


def test_a_spoilt_spectrogram_is_still_near_itself():
    values = torch.randn(50, 160, generator=torch.Generator().manual_seed(0)).cumsum(0)
    spoilt = augment_mel(values, np.random.default_rng(0))
    assert spoilt.shape == values.shape and not torch.equal(spoilt, values)
    assert np.corrcoef(spoilt.flatten(), values.flatten())[0, 1] > 0.9


def test_the_loss_sees_the_mouth_as_the_network_was_taught_to():
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    random = np.random.default_rng(0)
    expression = random.normal(size=(30, face_model.num_speech)).astype(np.float32)
    valid = random.random(30) < 0.8
    ours = SpeechMetric.of(face_model).lip_features(
        torch.from_numpy(expression)[None], torch.from_numpy(face_model.mean)[None], torch.from_numpy(valid)[None]
    )
    np.testing.assert_allclose(ours[0], lip_features(expression, valid, face_model.mean, face_model), atol=2e-3)


def test_the_sync_loss_is_lowest_where_mouth_and_sound_fit(network):
    clip = sync_clip(500)
    network.requires_grad_(False)

    def loss_at(frames: float, lips: torch.Tensor) -> torch.Tensor:
        start = 20 + 2 * int(frames)
        rows = torch.arange(start - 2 * MAX_SHIFT, start + 100 + NUM_SHIFTS - 1 - 2 * MAX_SHIFT).clamp(0, 199)
        sound = clip.sounds[0].values[rows][None]
        valid = torch.ones(1, lips.shape[1], dtype=torch.bool)
        return sync_loss(network, lips, valid, sound, torch.ones(sound.shape[:2], dtype=torch.bool))

    lips = torch.from_numpy(clip.lips[10:60])[None].requires_grad_()
    fitting = loss_at(0, lips)
    assert fitting < 1 < loss_at(5, lips)
    loss_at(5, lips).backward()
    assert lips.grad.abs().sum() > 0


def test_shifts_are_in_half_frames():
    assert SHIFT_FRAMES[0] == -15 and SHIFT_FRAMES[-1] == 15 and np.diff(SHIFT_FRAMES).max() == 0.5


def test_losses_compute_where_the_batch_is():
    batch = SyncDataset([sync_clip(seed) for seed in range(3)], CONFIG, is_mel=False).batch_at(0)
    network = SyncNetwork(TINY)
    with fake_cuda():
        losses = SyncLosses(0.6)(network.to("cuda"), to_device(batch, "cuda"))
    assert {loss.device.type for loss in losses.values()} == {"cuda"}


def test_a_finished_run_is_taken_up_and_nothing_is_left_to_do(tmp_path):
    config = replace(CONFIG, num_steps=3)
    clips = [sync_clip(seed) for seed in range(4)]
    first, again = (train_sync(clips, config, TINY, folder=tmp_path / "run") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_no_clip_that_can_be_measured_is_refused():
    with pytest.raises(PersonaTalkError, match="long enough"):
        measure_clips([sync_clip(seed, seconds=0.4) for seed in range(2)], lambda clip: SyncNetwork(TINY).eval())
