"""What speaker calibration brings: stage 1 after 0, 2, 5 and 10 s of the person's own speech."""

from __future__ import annotations

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    SpeechClip,
    beginning_of,
    load_geometry_model,
    on_audio_clock,
    read_features,
    read_speakers,
)
from personatalk.evaluation.speech.figures import speech_figures
from personatalk.geometry_construction.model import predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate
from personatalk.geometry_construction.style import style_of

OWN_SPEECH_S = (0.0, 2.0, 5.0, 10.0)
JUDGED_S = 5.0  # at the end of a clip
MIN_CLIP_S = max(OWN_SPEECH_S) + 0.6 * JUDGED_S


def evaluate_calibration(inputs: EvaluationInputs) -> dict:
    """Judge the last 5 s of long clips after some seconds of own speech; the style is the same in every row."""
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    rows: dict[str, list[dict[str, float]]] = {}
    for speaker in read_speakers(inputs, face_model, MIN_CLIP_S):
        features, geometry = read_features(inputs, speaker.clip), on_audio_clock(speaker.geometry, speaker.clip)
        begun, ended = geometry.times[0], geometry.times[-1]
        judged = geometry.valid & (geometry.times > ended - JUDGED_S)
        before = geometry.valid & (geometry.times < begun + max(OWN_SPEECH_S)) & ~judged
        style = style_of(geometry.expression, before, geometry.template, face_model)
        clip = SpeechClip.of(geometry, features, face_model, judged=judged, style=style, before=before)
        for seconds in OWN_SPEECH_S:
            known = beginning_of(geometry, before & (geometry.times < begun + seconds))
            calibrated, _ = calibrate(model, features, known, style, offset_s=0.0)
            speech = predict_expression(calibrated, features, clip.times, style).numpy()
            rows.setdefault(f"{seconds:g} s of own speech", []).append(speech_figures(speech, clip, face_model))
    return report_of("calibration", rows, clips=len(next(iter(rows.values()), [])))
