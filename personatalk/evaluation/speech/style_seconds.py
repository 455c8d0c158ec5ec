"""What speaking style is worth by the seconds of the person's speech that it was taken from."""

from __future__ import annotations

import numpy as np

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    Speaker,
    SpeechClip,
    beginning_of,
    halves_of,
    load_geometry_model,
    on_audio_clock,
    read_features,
    read_speakers,
)
from personatalk.evaluation.speech.figures import speech_figures
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.style import Style, style_of
from personatalk.geometry_construction.style_evidence import about_rest, speaking_style
from personatalk.training.corpus import MANIFEST_RATE

SECONDS = (0.4, 1.0, 2.0, 5.0, 10.0)
MIN_SECONDS = 2.0


def evaluate_style_seconds(inputs: EvaluationInputs) -> dict:
    """Judge the second half of clips, with style from the last seconds of the first half; nothing is calibrated.

    Returns:
        what `report_of` gives; rows of as many seconds are of the same clips, and the count of each figure says of how
        many. "style off" knows the person's template alone, "average" moves as the average speaker about the person's
        rest, "whole" takes all frames for speech, "as in a dub" weighs them.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    rows: dict[str, list[dict[str, float]]] = {}
    speakers = read_speakers(inputs, face_model, MIN_SECONDS)
    for speaker in speakers:
        geometry = on_audio_clock(speaker.geometry, speaker.clip)
        features = read_features(inputs, speaker.clip)
        first, second = halves_of(geometry)
        middle = geometry.times[second][0]
        for seconds in SECONDS:
            known = first & (geometry.times >= middle - seconds)
            if known.sum() < (seconds - 0.1) * MANIFEST_RATE:
                continue
            for name, (style, strength) in styles_of(speaker, known, model, face_model).items():
                clip = SpeechClip.of(geometry, features, face_model, judged=second, style=style, before=known)
                speech = predict_expression(model, features, clip.times, style, style_strength=strength).numpy()
                rows.setdefault(f"{seconds:g} s, {name}", []).append(speech_figures(speech, clip, face_model))
    return report_of("style-seconds", rows, clips=len(speakers))


def styles_of(
    speaker: Speaker, known: np.ndarray, model: GeometryModel, face_model: FaceModel
) -> dict[str, tuple[Style, float]]:
    """Styles from frames [T] bool of a clip, each with its strength."""
    geometry, average = speaker.geometry, model.average_style
    whole = style_of(geometry.expression, known, geometry.template, face_model)
    weighed, _ = speaking_style(beginning_of(geometry, known), face_model, average)
    return {
        "style off": (whole, 0.0),
        "average": (about_rest(average, whole, face_model), 1.0),
        "whole": (whole, 1.0),
        "as in a dub": (weighed, 1.0),
    }
