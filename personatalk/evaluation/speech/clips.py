"""Clips on which stage 1 is evaluated: the first half gives style and calibration, the second half is judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from personatalk.checkpoints import load_config, load_into
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.model import GeometryModel
from personatalk.geometry_construction.style import Style, style_of
from personatalk.media import read_audio
from personatalk.speech.encoders import load_speech_encoder
from personatalk.speech.features import SpeechFeatures
from personatalk.training.corpus import Clip, cache_path, read_geometry, spread_over_persons

MIN_SECONDS = 2.0
MIN_FIT = 0.3  # below, the sound may belong to another face
MIN_HALF_FRAMES = 10


@dataclass(frozen=True, kw_only=True)
class SpeechClip:
    """What stage 1 is given for a clip, and the truth.

    Attributes:
        features: of the whole clip's audio.
        times: [T] s on the audio's clock, of the judged frames.
        truth: [T, V, 3] IOD, the fitted geometry of the judged frames.
        speech: [T, K] the same as speech coefficients.
        style: from other frames than the judged ones.
        template: [V, 3] IOD.
        first: geometry before the judged frames, for calibration; may be empty.
    """

    features: SpeechFeatures
    times: torch.Tensor
    truth: np.ndarray
    speech: np.ndarray
    style: Style
    template: np.ndarray
    first: FaceGeometry

    @classmethod
    def of(
        cls,
        geometry: FaceGeometry,
        features: SpeechFeatures,
        face_model: FaceModel,
        *,
        judged: np.ndarray,
        style: Style,
        before: np.ndarray,
    ) -> SpeechClip:
        """Cut a clip up.

        Args:
            geometry: with times on the audio's clock.
            features: of the audio.
            face_model: of the coefficients.
            judged: [T] bool.
            style: of the speaker.
            before: [T] bool, frames that calibration may use.
        """
        expression = geometry.expression[judged]
        return cls(
            features=features,
            times=torch.from_numpy(geometry.times[judged]),
            truth=face_model.vertices(geometry.template, expression),
            speech=expression[:, : face_model.num_speech],
            style=style,
            template=geometry.template,
            first=beginning_of(geometry, before),
        )


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A clip of a person speaking: its geometry, on the video's clock, and the style of its halves."""

    clip: Clip
    geometry: FaceGeometry
    first: Style
    second: Style


def read_speech_clip(inputs: EvaluationInputs, clip: Clip, face_model: FaceModel) -> SpeechClip | None:
    """Read a clip whose second half is judged; None where it was not tracked or shows too little of the face."""
    geometry = read_geometry(inputs.corpus, clip)
    if geometry is None:
        return None
    first, second = halves_of(geometry)
    if min(first.sum(), second.sum()) < MIN_HALF_FRAMES:
        return None
    return SpeechClip.of(
        on_audio_clock(geometry, clip),
        read_features(inputs, clip),
        face_model,
        judged=second,
        style=style_of(geometry.expression, first, geometry.template, face_model),
        before=first,
    )


def read_speakers(inputs: EvaluationInputs, face_model: FaceModel, min_seconds: float) -> list[Speaker]:
    """Read the clips of some length whose sound belongs to the face, at most inputs.limit, spread over persons."""
    speakers = []
    for clip in inputs.read_clips():
        geometry = read_geometry(inputs.corpus, clip) if clip.has_fitting_sound(MIN_FIT) else None
        if geometry is None or geometry.times[-1] - geometry.times[0] < min_seconds - 0.1:
            continue
        halves = halves_of(geometry)
        if min(half.sum() for half in halves) < MIN_HALF_FRAMES:
            continue
        first, second = (style_of(geometry.expression, half, geometry.template, face_model) for half in halves)
        speakers.append(Speaker(clip=clip, geometry=geometry, first=first, second=second))
    chosen = {clip.name for clip in spread_over_persons([speaker.clip for speaker in speakers], inputs.limit)}
    return [speaker for speaker in speakers if speaker.clip.name in chosen]


def halves_of(geometry: FaceGeometry) -> tuple[np.ndarray, np.ndarray]:
    """The trusted frames of the first and of the second half of a clip, [T] bool each."""
    first = np.arange(len(geometry)) < len(geometry) // 2
    return geometry.valid & first, geometry.valid & ~first


def on_audio_clock(geometry: FaceGeometry, clip: Clip) -> FaceGeometry:
    """Move the times of a clip's frames to its audio: the offset is taken off."""
    return replace(geometry, times=geometry.times - clip.offset_s)


def beginning_of(geometry: FaceGeometry, kept: np.ndarray) -> FaceGeometry:
    """The geometry from its start to the last of the frames kept, [T] bool, with only these to be trusted."""
    stop = int(np.flatnonzero(kept).max()) + 1 if kept.any() else 0
    per_frame = ("expression", "rotation", "translation", "scale", "times")
    return replace(
        geometry, valid=(geometry.valid & kept)[:stop], **{name: getattr(geometry, name)[:stop] for name in per_frame}
    )


def read_features(inputs: EvaluationInputs, clip: Clip) -> SpeechFeatures:
    """Read a clip's cached audio features, or encode its audio where they were not kept."""
    path = cache_path(inputs.corpus, "audio", clip)
    if not path.is_file():
        return _speech_encoder(inputs.checkpoints).encode(read_audio(inputs.clip_path(clip)))
    with np.load(path) as saved:
        return SpeechFeatures(
            values=torch.from_numpy(saved["clean_values"]).float(),
            level_db=torch.from_numpy(saved["clean_level_db"]),
        )


_speech_encoder = lru_cache(maxsize=1)(load_speech_encoder)


def load_geometry_model(folder: Path) -> GeometryModel:
    """Load stage 1.

    Raises:
        CheckpointError: its weights are missing or do not fit.
    """
    model = GeometryModel(load_config(GeometryModelConfig, folder / "geometry.json"))
    load_into(model, folder / "geometry.safetensors")
    return model.eval()
