"""Figures of a predicted mouth beside the true one: lip aperture, lip errors, lip closures."""

from __future__ import annotations

import numpy as np

from personatalk import metrics
from personatalk.evaluation.speech.clips import SpeechClip
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture

CLOSED_IOD = 0.015  # inner lips nearer than this are closed
OPEN_IOD = 0.025  # inner lips farther apart than this are open


def speech_figures(speech: np.ndarray, clip: SpeechClip, face_model: FaceModel) -> dict[str, float]:
    """Judge predicted speech coefficients [T, K] by the true geometry; lengths in % of the inter-ocular distance."""
    output = face_model.vertices(clip.template, np.asarray(speech, np.float32))
    aperture, true = lip_aperture(output), lip_aperture(clip.truth)
    closed = true < CLOSED_IOD
    return {
        **metrics.aperture_scores(output, clip.truth),
        "lip_error_%": 100 * metrics.lip_vertex_error(output, clip.truth),
        "lip_velocity_error_%": 100 * metrics.lip_velocity_error(output, clip.truth),
        "closures_met": float((aperture[closed] < CLOSED_IOD).mean()) if closed.any() else float("nan"),
        **closure_events(aperture, true),
    }


def closure_events(aperture: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Compare lip closures as events: runs of frames, extended by a frame at either end.

    Args:
        aperture: [T] IOD, of the lips.
        true: [T] IOD.

    Returns:
        events_met, the share of true closures in which the lips come within 1.5 % of the inter-ocular distance, and
        false_events, the share of the output's closures in which the true lips never come within 2.5 %.
    """
    met = [aperture[start:stop].min() < CLOSED_IOD for start, stop in runs(true < CLOSED_IOD)]
    false = [true[start:stop].min() > OPEN_IOD for start, stop in runs(aperture < CLOSED_IOD)]
    return {
        "events_met": float(np.mean(met)) if met else float("nan"),
        "false_events": float(np.mean(false)) if false else float("nan"),
    }


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Runs of true values in [T], start and stop, a frame longer at either end."""
    steps = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    starts, stops = np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist()
    return [(max(0, start - 1), stop + 1) for start, stop in zip(starts, stops, strict=True)]
