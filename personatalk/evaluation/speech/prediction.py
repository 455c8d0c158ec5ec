"""How well stage 1 predicts the mouths of persons that it never saw, beside the mean mouth and linear maps."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    MIN_FIT,
    MIN_SECONDS,
    SpeechClip,
    load_geometry_model,
    read_speech_clip,
)
from personatalk.evaluation.speech.figures import speech_figures
from personatalk.evaluation.speech.linear_map import LinearMap, fit_linear_map
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate, find_offset
from personatalk.speech.sync_network import SyncNetwork, load_sync_network
from personatalk.training.corpus import spread_over_persons, with_measured_offsets

NEVER = -1e3  # logit at which no lips are closed
CALIBRATED = "ours, calibrated on the first half"
THIRDS = ("who open little", "in between", "who open wide")  # speakers, by the first halves of their clips


@dataclass(frozen=True, kw_only=True)
class Methods:
    """What is compared.

    Attributes:
        model: stage 1.
        without_closure: stage 1 whose closure head does nothing.
        sync_network: measures offsets, as a dub does.
        face_model: of the coefficients.
        frame_map: linear map of one frame.
        window_map: linear map of .2 s either side.
    """

    model: GeometryModel
    without_closure: GeometryModel
    sync_network: SyncNetwork
    face_model: FaceModel
    frame_map: LinearMap
    window_map: LinearMap

    def predict(self, clip: SpeechClip, other: SpeechClip) -> dict[str, np.ndarray]:
        """Predict the speech coefficients [T, K] of a clip by every method.

        Args:
            clip: to be predicted.
            other: clip whose audio is tried in the place of its own.
        """

        def stage_one(model: GeometryModel, audio: SpeechClip = clip, *, matches_amplitude: bool = True) -> np.ndarray:
            return predict_expression(
                model, audio.features, clip.times, clip.style, matches_amplitude=matches_amplitude
            ).numpy()

        mean = clip.style.mean.numpy()
        calibrated, _ = calibrate(self.model, clip.features, clip.first, clip.style, offset_s=0.0)
        return {
            "person's mean mouth": np.broadcast_to(mean, clip.speech.shape),
            "linear map, one frame": mean + self.frame_map(clip.features, clip.times),
            "linear map, 0.2 s either side": mean + self.window_map(clip.features, clip.times),
            "ours": stage_one(self.model),
            "ours, without lip closure": stage_one(self.without_closure),
            CALIBRATED: stage_one(calibrated),
            "ours, calibrated, amplitude as predicted": stage_one(calibrated, matches_amplitude=False),
            "ours, offset measured on the first half, calibrated": self.predict_as_a_dub(clip),
            "ours, another clip's speech": stage_one(self.model, other),
        }

    def predict_as_a_dub(self, clip: SpeechClip) -> np.ndarray:
        """Predict [T, K] at the offset measured on the first half instead of the one given, calibrated at it."""
        found = find_offset(self.sync_network, self.model, clip.features, clip.first, self.face_model)
        offset_s = found.offset_s if found.in_sync and found.offset_s is not None else 0.0
        model, _ = calibrate(self.model, clip.features, clip.first, clip.style, offset_s=offset_s)
        return predict_expression(model, clip.features, clip.times - offset_s, clip.style).numpy()


def evaluate_speech(inputs: EvaluationInputs, *, measured_offsets: bool = False) -> dict:
    """Predict the mouth in the second half of each clip from its audio, in the style of its first half.

    Args:
        inputs: the clips.
        measured_offsets: for fitting the linear maps and for judging all methods, offsets are those that `train sync`
            or `train offsets` measured, not the manifest's.

    Returns:
        what `report_of` gives, a row a method, and one for each third of the speakers by how far they open the mouth
        in the first half; errors in % of the inter-ocular distance.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    align = partial(with_measured_offsets, corpus=inputs.corpus, is_required=True) if measured_offsets else list
    usable = [c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT) and c.is_long_enough(MIN_SECONDS)]
    chosen = spread_over_persons(align(usable), inputs.limit)
    clips = [clip for clip in (read_speech_clip(inputs, c, face_model) for c in chosen) if clip is not None]
    methods = Methods(
        model=model,
        without_closure=without_closure(model),
        sync_network=load_sync_network(inputs.checkpoints),
        face_model=face_model,
        frame_map=fit_linear_map(inputs, face_model, reach_s=0.0, align=align),
        window_map=fit_linear_map(inputs, face_model, align=align),
    )
    rows: dict[str, list[dict[str, float]]] = {}
    for index, clip in enumerate(clips):
        for method, speech in methods.predict(clip, clips[(index + 1) % len(clips)]).items():
            rows.setdefault(method, []).append(speech_figures(speech, clip, face_model))
    for third, figures in zip(thirds_by_aperture(clips, face_model), rows.get(CALIBRATED, []), strict=True):
        rows.setdefault(f"{CALIBRATED}, speakers {third}", []).append(figures)
    name = "speech-measured" if measured_offsets else "speech"
    return report_of(name, rows, clips=len(clips), skipped=len(chosen) - len(clips))


def thirds_by_aperture(clips: list[SpeechClip], face_model: FaceModel) -> list[str]:
    """To which of THIRDS each clip's speaker belongs, by the deviation of lip aperture in its first half."""
    deviations = np.array([aperture_deviation(clip.first, face_model) for clip in clips])
    bounds = np.quantile(deviations, (1 / 3, 2 / 3)) if clips else np.zeros(2)
    return [THIRDS[third] for third in np.searchsorted(bounds, deviations)]


def aperture_deviation(geometry: FaceGeometry, face_model: FaceModel) -> float:
    """Standard deviation of lip aperture over the valid frames, IOD."""
    speech = geometry.expression[geometry.valid, : face_model.num_speech]
    return float(driven_aperture(speech, geometry.template, face_model).std())


def without_closure(model: GeometryModel) -> GeometryModel:
    """Copy stage 1 so that its closure head closes no lips."""
    bare = copy.deepcopy(model)
    torch.nn.init.constant_(bare.closure.linear.bias, NEVER)
    return bare
