"""Speaker calibration: a clip's own speech gives its audio offset, and fits stage 1's last layer to the person."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personatalk.errors import MediaError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.expression import MomentExpression, moment_expression
from personatalk.geometry_construction.model import GeometryModel, hidden_on_grid
from personatalk.geometry_construction.own_speech import hear_own_speech
from personatalk.geometry_construction.style import Style
from personatalk.geometry_construction.style_evidence import StyleEvidence, speaking_style
from personatalk.media import read_audio
from personatalk.options import DubbingOptions
from personatalk.speech.encoders import SpeechEncoder
from personatalk.speech.features import SAMPLE_RATE, SpeechFeatures, sample_rows
from personatalk.speech.sync_network import SyncNetwork

MAX_S = 20.0  # of the clip that are used
MIN_S = 1.0  # of speech, below which nothing is fitted
PRIOR_FRAMES = 1600.0  # weight of the prior that this person speaks as the average does
SPEAKING = 0.99  # of the speech gate, from which a frame counts as speech


@dataclass(frozen=True, kw_only=True)
class SpeakerCalibration:
    """What was measured on a clip's own speech.

    Attributes:
        offset_s: by which the picture comes after the audio; None where it was not measured or could not be.
        confidence: of the offset, see `Synchrony`.
        agreement: of the mouth with what stage 1 predicts from the speech, see `OwnSpeech`.
        in_sync: whether the speech is found to be this face's.
        speech_s: seconds of speech that the calibration was fitted to; 0 without calibration.
    """

    offset_s: float | None = None
    confidence: float = 0.0
    agreement: float = 0.0
    in_sync: bool = False
    speech_s: float = 0.0

    def report(self) -> dict[str, float | bool | None]:
        """Ready for JSON."""
        return {
            "offset_s": None if self.offset_s is None else round(self.offset_s, 3),
            "confidence": round(self.confidence, 2),
            "agreement": round(self.agreement, 2),
            "in_sync": self.in_sync,
            "calibrated_on_s": round(self.speech_s, 2),
        }


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """How the person of a video speaks.

    Attributes:
        style: speaking style.
        evidence: what the style rests on.
        model: stage 1, calibrated to the person where that was possible.
        calibration: what that rests on.
    """

    style: Style
    evidence: StyleEvidence
    model: GeometryModel
    calibration: SpeakerCalibration = SpeakerCalibration()


@dataclass(frozen=True, kw_only=True)
class SpeakerCalibrator:
    """Calibrates stage 1 to the person of a video by the video's own speech.

    Attributes:
        encoder: of stage 1's features.
        network: sync network on the same features.
        face_model: of the geometry.
    """

    encoder: SpeechEncoder
    network: SyncNetwork
    face_model: FaceModel

    def speaker(self, video: Path, geometry: FaceGeometry, model: GeometryModel, options: DubbingOptions) -> Speaker:
        """Tell how a video's person speaks, and calibrate stage 1, as far as the options and the video's sound allow.

        Only the first 20 s from where the person comes into sight are heard. A video without sound, or with another
        person's, changes nothing in stage 1, and its style is told from the motion of the mouth.
        """
        begin_s = seen_from(geometry)
        features = self._hear(video, begin_s) if options.measure_offset or options.calibrate else None
        beginning = first_seconds(geometry, MAX_S, begin_s)
        own = (
            find_offset(self.network, model, features, beginning, self.face_model) if features else SpeakerCalibration()
        )
        if features is None or not own.in_sync:
            own = own if options.measure_offset else replace(own, offset_s=None)
            return speaker_by_motion(geometry, self.face_model, model, own)
        offset_s = (own.offset_s or 0.0) if options.measure_offset else 0.0
        times = geometry.times - geometry.times[0] - begin_s
        gate = model.gate(features, torch.from_numpy(times - offset_s)).detach().numpy()
        gate[times >= MAX_S] = 1.0  # was not heard; there the motion alone tells
        style, evidence = speaking_style(geometry, self.face_model, model.average_style, gate)
        if options.calibrate:
            strength = min(options.style_strength, 1.0)
            model, seconds = calibrate(model, features, beginning, style, offset_s=offset_s, strength=strength)
            own = replace(own, speech_s=seconds)
        own = own if options.measure_offset else replace(own, offset_s=None)
        return Speaker(style=style, evidence=evidence, model=model, calibration=own)

    def _hear(self, video: Path, begin_s: float) -> SpeechFeatures | None:
        """Encode 20 s of a video's sound; None where there is too little, or the networks do not go together."""
        try:
            waveform = read_audio(video)[int(begin_s * SAMPLE_RATE) :][: int(MAX_S * SAMPLE_RATE)]
        except MediaError:
            return None
        if len(waveform) < MIN_S * SAMPLE_RATE or self.network.config.speech_encoder != self.encoder.config.name:
            return None  # a sync network that was trained on other features says nothing
        return self.encoder.encode(waveform)

    def expression(self, video: Path, geometry: FaceGeometry, speaker: Speaker) -> MomentExpression:
        """Tell the expression of the moment of a video, by its own speech where that belongs to the face.

        Args:
            video: gives the sound.
            geometry: of its face.
            speaker: in this video, as `speaker` told.
        """
        found = speaker.calibration
        features = self.encoder.encode(read_audio(video)) if found.in_sync else None
        return moment_expression(speaker.model, geometry, speaker.style, features, offset_s=found.offset_s or 0.0)


def speaker_by_motion(
    geometry: FaceGeometry,
    face_model: FaceModel,
    model: GeometryModel,
    calibration: SpeakerCalibration = SpeakerCalibration(),
) -> Speaker:
    """Tell how a person speaks by the motion of the mouth alone; stage 1 stays as it is."""
    style, evidence = speaking_style(geometry, face_model, model.average_style)
    return Speaker(style=style, evidence=evidence, model=model, calibration=calibration)


def seen_from(geometry: FaceGeometry) -> float:
    """Seconds from a clip's start to the first frame that shows the face; 0 where none does."""
    return float(geometry.times[geometry.valid.argmax()] - geometry.times[0])


def first_seconds(geometry: FaceGeometry, seconds: float, begin_s: float = 0.0) -> FaceGeometry:
    """Cut a geometry to some seconds from begin_s, with times from 0."""
    times = geometry.times - geometry.times[0] - begin_s
    kept = (times >= 0) & (times < seconds)
    return replace(geometry.at(kept), times=times[kept])


def find_offset(
    network: SyncNetwork,
    model: GeometryModel,
    features: SpeechFeatures,
    geometry: FaceGeometry,
    face_model: FaceModel,
) -> SpeakerCalibration:
    """Measure the offset between a clip's picture and its audio, and whether the speech is the face's at all."""
    heard = hear_own_speech(network, model, features, geometry, face_model)
    if heard is None:
        return SpeakerCalibration()
    found = heard.synchrony
    return SpeakerCalibration(
        offset_s=found.offset_s,
        confidence=found.confidence,
        agreement=heard.agreement,
        in_sync=heard.is_own,
    )


@torch.inference_mode()
def calibrate(
    model: GeometryModel,
    features: SpeechFeatures,
    geometry: FaceGeometry,
    style: Style,
    *,
    offset_s: float,
    strength: float = 1.0,
) -> tuple[GeometryModel, float]:
    """Fit the last layer of stage 1 to a person, in closed form.

    Ridge regression from the last layer's inputs to the residual of its prediction, less the population-mean residual.
    The prior weighs as much as 64 s of speech, so that little speech changes little.

    Args:
        features: of the clip's own speech.
        geometry: of the clip.
        style: of the person.
        offset_s: by which the picture comes after the audio.
        strength: factor on the correction.

    Returns:
        a model with a last layer of its own, and the seconds of speech that it was fitted to; the model itself and 0
        where there is too little speech.

    Ours: the paper adapts by style alone; a source with sound also shows how the person pronounces.
    """
    times = torch.from_numpy(geometry.times - offset_s)
    trusted = torch.from_numpy(geometry.valid) & (times >= 0) & (times < min(features.duration, MAX_S))
    trusted &= model.gate(features, times) >= SPEAKING
    step = float(np.median(np.diff(geometry.times))) if len(geometry) > 1 else 0.0
    seconds = float(trusted.sum()) * step
    if seconds < MIN_S:
        return model, 0.0
    inputs, predicted = hidden_and_prediction(model, features, times[trusted], style)
    residual = torch.from_numpy(geometry.expression[trusted.numpy(), : model.config.expression_dim]) - predicted
    population = inputs.double() @ model.population_residual.double().T
    weight = ridge(inputs.double(), residual.double() - population, frame_s=step)
    return with_correction(model, strength * weight, inputs.mean(0)), seconds


def hidden_and_prediction(
    model: GeometryModel, features: SpeechFeatures, times: Tensor, style: Style
) -> tuple[Tensor, Tensor]:
    """Inputs [T, D] and outputs [T, K] of the last layer of stage 1 at times [T] s, computed in one piece."""
    rate = model.config.frame_rate
    last = int(float(times.max()) * rate) + 2
    hidden = hidden_on_grid(model, features, -model.reach, last + model.reach, style)
    hidden = sample_rows(hidden, times * rate + model.reach)
    return hidden, model.read_out(hidden[None], style.batched())[0]


def ridge(inputs: Tensor, residual: Tensor, *, frame_s: float, prior: float = PRIOR_FRAMES) -> Tensor:
    """Slopes of a ridge regression whose prior weighs as much as `prior` frames of 40 ms.

    Solved here rather than by scikit-learn, with which it agrees: importing that takes longer than the calibration.

    Args:
        inputs: [N, D]
        residual: [N, K]
        frame_s: seconds that a row stands for.
        prior: frames.

    Returns:
        [K, D]
    """
    x = inputs - inputs.mean(0)
    frames_per_row = frame_s * 25.0
    scale = x.square().mean().clamp(min=1e-12)  # makes the prior independent of the inputs' unit
    normal = frames_per_row * x.T @ x + prior * scale * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(normal, frames_per_row * x.T @ (residual - residual.mean(0))).T


def with_correction(model: GeometryModel, weight: Tensor, centre: Tensor) -> GeometryModel:
    """Copy a model and add weight [K, D] times its inputs less centre [D] to the output of its last layer."""
    corrected = copy.deepcopy(model)
    change = weight.to(centre) / model.expression_deviation[:, None]
    corrected.head.weight = torch.nn.Parameter(model.head.weight + change, requires_grad=False)
    corrected.head.bias = torch.nn.Parameter(model.head.bias - change @ centre, requires_grad=False)
    return corrected
