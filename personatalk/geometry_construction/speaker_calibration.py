"""A clip's own speech as evidence: how far its sound is from its picture, and how this person says it."""

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
from personatalk.geometry_construction.style import Style
from personatalk.media import read_audio
from personatalk.options import DubbingOptions
from personatalk.speech.encoders import SpeechEncoder
from personatalk.speech.features import SAMPLE_RATE, SpeechFeatures, sample_rows
from personatalk.speech.sync_network import SyncNetwork, measure_synchrony

MAX_S = 20.0  # of own speech that is listened to
MIN_S = 1.0  # of speech that is worth calibrating to
PRIOR_FRAMES = 1600.0  # strength of the belief that this person is as all are; frames of speech weigh against it
SPEAKING = 0.99  # of the gate, above which somebody speaks


@dataclass(frozen=True, kw_only=True)
class SpeakerCalibration:
    """What a clip's own sound says.

    Attributes:
        offset_s: by which the picture comes after the sound; None where it was not measured or could not be.
        confidence: of the offset, in natural logarithms of the odds.
        in_sync: whether the sound is this face's, as far as the network can tell.
        speech_s: seconds of speech that the calibration rests on; 0 where there is none.
    """

    offset_s: float | None = None
    confidence: float = 0.0
    in_sync: bool = False
    speech_s: float = 0.0

    def report(self) -> dict[str, float | bool | None]:
        """Ready for JSON."""
        return {
            "offset_s": None if self.offset_s is None else round(self.offset_s, 3),
            "confidence": round(self.confidence, 2),
            "in_sync": self.in_sync,
            "calibrated_on_s": round(self.speech_s, 2),
        }


@dataclass(frozen=True, kw_only=True)
class SpeakerCalibrator:
    """Takes a video's own sound as evidence of how its person speaks.

    Attributes:
        encoder: of stage 1's features.
        network: measures offsets from the same features.
        face_model: of the geometry.
    """

    encoder: SpeechEncoder
    network: SyncNetwork
    face_model: FaceModel

    def calibrate(
        self, video: Path, geometry: FaceGeometry, style: Style, model: GeometryModel, options: DubbingOptions
    ) -> tuple[GeometryModel, SpeakerCalibration]:
        """Measure a video's offset and calibrate stage 1 to it, as far as the options and the sound allow.

        Only the first 20 s are listened to. A video without sound, or with another's, changes nothing.
        """
        if not (options.measure_offset or options.calibrate):
            return model, SpeakerCalibration()
        try:
            waveform = read_audio(video)[: int(MAX_S * SAMPLE_RATE)]
        except MediaError:
            return model, SpeakerCalibration()
        if self.network.config.speech_encoder != self.encoder.config.name:
            return model, SpeakerCalibration()  # the sync network was trained on other features
        features = self.encoder.encode(waveform)
        heard = first_seconds(geometry, MAX_S)
        own = find_offset(self.network, features, heard, self.face_model)
        if options.calibrate and own.in_sync:
            offset_s = (own.offset_s or 0.0) if options.measure_offset else 0.0
            strength = min(options.style_strength, 1.0)
            model, seconds = calibrate(model, features, heard, style, offset_s=offset_s, strength=strength)
            own = replace(own, speech_s=seconds)
        return model, own if options.measure_offset else replace(own, offset_s=None)

    def expression(
        self, video: Path, geometry: FaceGeometry, style: Style, model: GeometryModel, found: SpeakerCalibration
    ) -> MomentExpression:
        """Tell the expression of the moment of a video, by its own speech where that belongs to the face.

        Args:
            video: gives the sound.
            geometry: of its face.
            style: of the person in this video.
            model: calibrated to it where that was possible.
            found: what `calibrate` said of the video.
        """
        features = self.encoder.encode(read_audio(video)) if found.in_sync else None
        return moment_expression(model, geometry, style, features, offset_s=found.offset_s or 0.0)


def first_seconds(geometry: FaceGeometry, seconds: float) -> FaceGeometry:
    """The first seconds of a geometry, on a clock that starts with it."""
    times = geometry.times - geometry.times[0]
    kept = times < seconds
    per_frame = ("expression", "rotation", "translation", "scale", "valid")
    return replace(geometry, times=times[kept], **{name: getattr(geometry, name)[kept] for name in per_frame})


def find_offset(
    network: SyncNetwork, features: SpeechFeatures, geometry: FaceGeometry, face_model: FaceModel
) -> SpeakerCalibration:
    """Measure how far a clip's sound is from its picture, and whether it belongs to the face at all."""
    found = measure_synchrony(network, features, geometry, face_model)
    if found is None:
        return SpeakerCalibration()
    return SpeakerCalibration(offset_s=found.offset_s, confidence=found.confidence, in_sync=found.in_sync)


@torch.inference_mode()
def calibrate(
    model: GeometryModel, features: SpeechFeatures, geometry: FaceGeometry, style: Style, *, offset_s: float,
    strength: float = 1.0,
) -> tuple[GeometryModel, float]:  # fmt: skip
    """Fit the last layer of stage 1 to how this person says what is heard, in closed form.

    Ridge regression from the last layer's inputs to what the network gets wrong, less what it gets wrong with everyone.
    The prior weighs as much as 64 s of speech, so that little speech changes little.

    Args:
        features: of the clip's own sound.
        geometry: of the clip.
        style: of the person.
        offset_s: by which the picture comes after the sound.
        strength: 1 takes the correction whole, 0 not at all.

    Returns:
        the model with a last layer of its own, and the seconds of speech that it rests on; the model itself and 0 where
        there is too little speech.

    Ours: the paper does not adapt to a person.
    """
    times = torch.from_numpy(geometry.times - offset_s)
    trusted = torch.from_numpy(geometry.valid) & (times >= 0) & (times < min(features.duration, MAX_S))
    trusted &= model.gate(features, times) >= SPEAKING
    step = float(np.median(np.diff(geometry.times))) if len(geometry) > 1 else 0.0
    seconds = float(trusted.sum()) * step
    if seconds < MIN_S:
        return model, 0.0
    inputs, said = hidden_and_prediction(model, features, times[trusted], style)
    missed = torch.from_numpy(geometry.expression[trusted.numpy(), : model.config.expression_dim]) - said
    weight = ridge(
        inputs.double(), missed.double() - inputs.double() @ model.population_residual.double().T, frame_s=step
    )
    return with_correction(model, strength * weight, inputs.mean(0)), seconds


def hidden_and_prediction(
    model: GeometryModel, features: SpeechFeatures, times: Tensor, style: Style
) -> tuple[Tensor, Tensor]:
    """What the last layer of stage 1 reads [T, D] and says [T, K] at times [T] s, all of it at once."""
    rate = model.config.frame_rate
    last = int(float(times.max()) * rate) + 2
    hidden = hidden_on_grid(model, features, -model.reach, last + model.reach, style)
    hidden = sample_rows(hidden, times * rate + model.reach)
    return hidden, model.read_out(hidden[None], style.batched())[0]


def ridge(inputs: Tensor, missed: Tensor, *, frame_s: float, prior: float = PRIOR_FRAMES) -> Tensor:
    """Slope of a ridge regression whose prior weighs as much as `prior` frames of 40 ms.

    Args:
        inputs: [N, D]
        missed: [N, K]
        frame_s: seconds that a row stands for.

    Returns:
        [K, D]
    """
    x = inputs - inputs.mean(0)
    share = frame_s * 25.0
    scale = x.square().mean().clamp(min=1e-12)  # the prior is about inputs of the size that they have
    normal = share * x.T @ x + prior * scale * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(normal, share * x.T @ (missed - missed.mean(0))).T


def with_correction(model: GeometryModel, weight: Tensor, centre: Tensor) -> GeometryModel:
    """A copy of the model whose last layer adds weight [K, D] times its inputs less centre [D]."""
    corrected = copy.deepcopy(model)
    change = weight.to(centre) / model.expression_deviation[:, None]
    corrected.head.weight = torch.nn.Parameter(model.head.weight + change, requires_grad=False)
    corrected.head.bias = torch.nn.Parameter(model.head.bias - change @ centre, requires_grad=False)
    return corrected
