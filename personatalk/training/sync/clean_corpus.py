"""Clean a corpus: networks learn synchrony from the manifest's guess, measure every clip, and learn again from that."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from personatalk.checkpoints import save_model
from personatalk.geometry.face_model import FaceModel
from personatalk.speech.config import SpeechEncoderConfig, SyncConfig
from personatalk.speech.features import MEL_FEATURE_DIM
from personatalk.speech.sync_network import SyncNetwork
from personatalk.training.config import SyncTrainingConfig
from personatalk.training.corpus import MANIFEST_RATE, Clip, MeasuredClip, with_measured_offsets, write_offsets
from personatalk.training.sync.dataset import SyncClip, fold_of, load_sync_clips
from personatalk.training.sync.train import measure_clips, train_sync

logger = logging.getLogger(__name__)

JUDGE_FOLD = 0
KEPT = 0.5  # probability from which a clip's sound counts as its own
FIRST_STEPS = 300  # of the networks that measure; they are thrown away
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
) -> dict[str, float]:
    """Measure the offsets of all clips, and train the two sync networks that ship.

    The persons of training are in three parts. Two measure each other, so that no network measures a person that it
    learnt from; the first also measures the third part and the validation clips. Then `sync` learns from both parts,
    and the judge, which hears a spectrogram, from the third alone.

    Args:
        corpus: with geometry, sound and spectrograms; offsets.tsv is written there.
        clips: of the manifest.
        folder: where the weights go: sync.* and sync_judge.*.
        config: of every training; the number of steps is each network's own, or config's where that is smaller.
        encoder: whose features the corpus holds.

    Returns:
        counts of clips: measured, kept, dropped, and moved, which are kept but not where the manifest has them.
    """
    heard = [clip for clip in clips if clip.has_sound]
    known = load_sync_clips(heard, corpus, face_model, "speech")
    speech = SyncConfig(audio="speech", speech_encoder=encoder.name, audio_dim=encoder.feature_dim)
    halves = {
        fold: train_sync(_of_folds(known, {fold}), _with_steps(config, FIRST_STEPS), speech, folder=folder / f"{fold}")
        for fold in (1, 2)
    }

    def network_of(clip: SyncClip) -> SyncNetwork:
        is_first = clip.clip.split == "train" and fold_of(clip.clip.person) == 1
        return halves[2 if is_first else 1]

    measured = measure_clips(known, network_of)
    write_offsets(measured, corpus)
    train_final(corpus, heard, folder, face_model=face_model, config=config, speech=speech)
    return counts_of(measured, heard)


def measure_corpus(corpus: Path, clips: list[Clip], *, face_model: FaceModel, network: SyncNetwork) -> dict[str, float]:
    """Measure the offsets of all clips with a network that is there, without training one.

    Args:
        corpus: with geometry and sound; offsets.tsv is written there.
        clips: of the manifest.
        network: hears the features of stage 1.

    Returns:
        counts of clips, as `clean_corpus` does.
    """
    heard = [clip for clip in clips if clip.has_sound]
    measured = measure_clips(load_sync_clips(heard, corpus, face_model, "speech"), lambda clip: network)
    write_offsets(measured, corpus)
    return counts_of(measured, heard)


def train_final(
    corpus: Path,
    clips: list[Clip],
    folder: Path,
    *,
    face_model: FaceModel,
    config: SyncTrainingConfig,
    speech: SyncConfig,
) -> None:
    """Train the two networks that ship on the offsets that were measured."""
    believed = {clip.name: clip for clip in with_measured_offsets(clips, corpus)}
    # the validation clips are judged by the manifest, which had no part in measuring
    cleaned = [clip if clip.split != "train" else believed[clip.name] for clip in clips]
    for name, network_config, folds in (("sync", speech, {1, 2}), ("sync_judge", MEL, {JUDGE_FOLD})):
        known = load_sync_clips(cleaned, corpus, face_model, network_config.audio)
        network = train_sync(
            _of_folds(known, folds), replace(_with_steps(config, STEPS[name]), min_fit=KEPT), network_config,
            folder=folder / name, held_out=[clip for clip in known if clip.clip.split == "val"],
        )  # fmt: skip
        save_model(network, network_config, folder, name)


def counts_of(measured: list[MeasuredClip], clips: list[Clip]) -> dict[str, float]:
    """Count what became of the clips of the manifest."""
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
