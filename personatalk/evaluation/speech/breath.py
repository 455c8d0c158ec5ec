"""The mouth before speech begins, where people breathe in: in real clips and as stage 1 predicts it."""

from __future__ import annotations

import numpy as np
import torch

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import load_geometry_model, read_features, read_speakers
from personatalk.evaluation.speech.silence import REST_IOD
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.model import predict_expression
from personatalk.speech.features import FEATURE_RATE, SpeechFeatures
from personatalk.training.corpus import with_measured_offsets

MIN_STYLE_S = 2.0
LOUD_DB = -40.0
QUIET_S, SPOKEN_S, SPOKEN_SHARE = 0.4, 0.2, 0.7  # an onset: nothing loud for so long, then mostly loud for so long
BEFORE_S = 0.3
MIN_FRAMES = 5


def evaluate_breath(inputs: EvaluationInputs) -> dict:
    """Measure the mouth in the .3 s before speech begins, at the measured offsets.

    Returns:
        what `report_of` gives, a row for the true mouth and one for stage 1's, over onsets; see `breath_figures`.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    rows: dict[str, list[dict[str, float]]] = {"true mouth": [], "ours": []}
    speakers = read_speakers(inputs, face_model, MIN_STYLE_S)
    aligned = with_measured_offsets([speaker.clip for speaker in speakers], inputs.corpus, is_required=True)
    for speaker, clip in zip(speakers, aligned, strict=True):
        features, geometry = read_features(inputs, clip), speaker.geometry
        times = geometry.times - clip.offset_s
        predicted = predict_expression(model, features, torch.from_numpy(times), speaker.first).numpy()
        rest, true, ours = (
            driven_aperture(speech[:, : face_model.num_speech], geometry.template, face_model)
            for speech in (speaker.first.rest[None].numpy(), geometry.expression, predicted)
        )
        for onset in find_onsets(features):
            before = (times >= onset - BEFORE_S) & (times < onset) & geometry.valid
            if times[0] > onset - BEFORE_S or before.sum() < MIN_FRAMES:
                continue
            for name, aperture in (("true mouth", true - rest), ("ours", ours - rest)):
                rows[name].append(breath_figures(aperture, true - rest, times - onset, before))
    return report_of("breath", rows, onsets=len(rows["ours"]))


def find_onsets(features: SpeechFeatures) -> list[float]:
    """Seconds at which speech begins after a pause."""
    loud = (features.level_db > LOUD_DB).numpy()
    quiet, spoken = round(QUIET_S * FEATURE_RATE), round(SPOKEN_S * FEATURE_RATE)
    return [
        i / FEATURE_RATE
        for i in range(quiet, len(loud))
        if loud[i] and not loud[i - quiet : i].any() and loud[i : i + spoken].mean() > SPOKEN_SHARE
    ]


def breath_figures(aperture: np.ndarray, true: np.ndarray, times: np.ndarray, before: np.ndarray) -> dict[str, float]:
    """Figures of one onset at time 0.

    Args:
        aperture: [T] IOD above rest.
        true: [T] the same of the true mouth.
        times: [T] s.
        before: [T] bool, the frames before the onset.

    Returns:
        aperture above rest in the mean and .3 and .15 s before the onset, in % of the inter-ocular distance; opens,
        whether the mean is more than 2 %; the mean distance to the true one.
    """
    mean = aperture[before].mean()
    return {
        "aperture_%": 100 * float(mean),
        "aperture_at_0.3_s_%": 100 * float(np.interp(-BEFORE_S, times, aperture)),
        "aperture_at_0.15_s_%": 100 * float(np.interp(-BEFORE_S / 2, times, aperture)),
        "opens": float(mean > REST_IOD),
        "error_%": 100 * float(np.abs(aperture - true)[before].mean()),
    }
