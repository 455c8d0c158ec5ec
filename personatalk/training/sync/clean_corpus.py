"""Clean a corpus: train sync networks at the manifest's offsets, measure every clip with them, train again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from personatalk.checkpoints import save_model
from personatalk.geometry.face_model import FaceModel
from personatalk.speech.config import SpeechEncoderConfig, SyncConfig
from personatalk.speech.features import MEL_FEATURE_DIM
from personatalk.speech.sync_network import SyncNetwork
from personatalk.training.config import SyncTrainingConfig
from personatalk.training.corpus import MANIFEST_RATE, Clip, MeasuredClip, with_measured_offsets, write_offsets
from personatalk.training.sync.dataset import SyncClip, fold_of, load_sync_clips
from personatalk.training.sync.measure import measure_clips
from personatalk.training.sync.train import train_sync

JUDGE_FOLD = 0
KEPT = 0.5  # probability of being in sync from which a clip is kept
FIRST_STEPS = 300  # of the networks that only measure
MEL = SyncConfig(audio="mel", audio_dim=MEL_FEATURE_DIM, audio_layers=3)
STEPS = {"sync": 400, "sync_judge": 700}


def clean_corpus(
    corpus: Path,
    clips: list[Clip],
    folder: Path,
    *,
    face_model: FaceModel,
    config: SyncTrainingConfig,
    encoder: SpeechEncoderConfig,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Measure the offsets of all clips, and train the two sync networks that ship.

    The training persons are in three folds. A network trained on fold 1 measures fold 2, and the other way round, so
    that no person is measured by a network that learnt from it; the first also measures fold 0 and the validation
    clips. Then `sync` is trained on folds 1 and 2, and the judge, which takes spectrograms, on fold 0 alone.

    Args:
        corpus: with geometry, audio and spectrograms; offsets.tsv is written there.
        clips: of the manifest.
        folder: where the weights go: sync.* and sync_judge.*.
        config: of every training; the number of steps is each network's own, or config's where that is smaller.
        encoder: whose features the corpus holds.
        device: where the networks are trained.

    Returns:
        counts of clips: measured, kept, dropped as not in sync, and kept at another offset than the manifest's.
    """
    with_sound = [clip for clip in clips if clip.has_sound]
    loaded = load_sync_clips(with_sound, corpus, face_model, "speech")
    speech = SyncConfig(audio="speech", speech_encoder=encoder.name, audio_dim=encoder.feature_dim)
    first = _with_steps(config, FIRST_STEPS)
    halves = {
        fold: train_sync(_of_folds(loaded, {fold}), first, speech, folder=folder / f"{fold}", device=device)
        for fold in (1, 2)
    }

    def network_of(clip: SyncClip) -> SyncNetwork:
        is_first = clip.clip.split == "train" and fold_of(clip.clip.person) == 1
        return halves[2 if is_first else 1]

    measured = measure_clips(loaded, network_of)
    write_offsets(measured, corpus)
    train_final(corpus, with_sound, folder, face_model=face_model, config=config, speech=speech, device=device)
    return counts_of(measured, with_sound)


def measure_corpus(corpus: Path, clips: list[Clip], *, face_model: FaceModel, network: SyncNetwork) -> dict[str, float]:
    """Measure the offsets of all clips with a trained network.

    Args:
        corpus: with geometry and audio; offsets.tsv is written there.
        clips: of the manifest.
        network: takes the features of stage 1.

    Returns:
        counts of clips, as `clean_corpus` does.
    """
    with_sound = [clip for clip in clips if clip.has_sound]
    measured = measure_clips(load_sync_clips(with_sound, corpus, face_model, "speech"), lambda clip: network)
    write_offsets(measured, corpus)
    return counts_of(measured, with_sound)


def train_final(
    corpus: Path,
    clips: list[Clip],
    folder: Path,
    *,
    face_model: FaceModel,
    config: SyncTrainingConfig,
    speech: SyncConfig,
    device: torch.device | str = "cpu",
) -> None:
    """Train the two networks that ship at the measured offsets."""
    measured = {clip.name: clip for clip in with_measured_offsets(clips, corpus)}
    # validated at the manifest's offsets, which do not come from such networks
    cleaned = [measured[clip.name] if clip.split == "train" else clip for clip in clips]
    for name, network_config, folds in (("sync", speech, {1, 2}), ("sync_judge", MEL, {JUDGE_FOLD})):
        loaded = load_sync_clips(cleaned, corpus, face_model, network_config.audio)
        network = train_sync(
            _of_folds(loaded, folds),
            replace(_with_steps(config, STEPS[name]), min_fit=KEPT),
            network_config,
            folder=folder / name,
            held_out=[clip for clip in loaded if clip.clip.split == "val"],
            device=device,
        )
        save_model(network, network_config, folder, name)


def counts_of(measured: list[MeasuredClip], clips: list[Clip]) -> dict[str, float]:
    """Count what became of the manifest's clips with sound."""
    guessed = {clip.name: clip.offset_s for clip in clips}
    kept = [row for row in measured if row.in_sync >= KEPT]
    moved = [abs(row.offset_s - guessed[row.name]) * MANIFEST_RATE for row in kept]  # frames
    offsets = Counter(round(2 * row.offset_s * MANIFEST_RATE) / 2 + 0.0 for row in kept)
    return {
        "clips with sound": len(clips),
        "measured": len(measured),
        "kept": len(kept),
        "dropped": len(measured) - len(kept),
        "kept and moved by half a frame or more": sum(frames > 0.49 for frames in moved),
        "kept and moved by more than a frame": sum(frames > 1.01 for frames in moved),
        **{f"offset {offset:+.1f}": count for offset, count in sorted(offsets.items())},
    }


def _of_folds(clips: list[SyncClip], folds: set[int]) -> list[SyncClip]:
    return [clip for clip in clips if clip.clip.split == "train" and fold_of(clip.clip.person) in folds]


def _with_steps(config: SyncTrainingConfig, steps: int) -> SyncTrainingConfig:
    return replace(config, num_steps=min(config.num_steps, steps))
