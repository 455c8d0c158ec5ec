"""Stage 1 by language, and on isolated words, in the style of the person's other words."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import numpy as np

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    MIN_FIT,
    MIN_SECONDS,
    SpeechClip,
    load_geometry_model,
    on_audio_clock,
    read_features,
    read_speech_clip,
)
from personatalk.evaluation.speech.figures import speech_figures
from personatalk.evaluation.speech.linear_map import LinearMap, fit_linear_map
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate
from personatalk.geometry_construction.style import style_of
from personatalk.training.corpus import Clip, read_geometry, with_measured_offsets

NAMES = {"en": "English", "ar": "Arabic"}
MIN_WORDS = 8  # clips shorter than 2 s that a person must have, so that the others give a style
WORDS_FOR_STYLE = 20
MIN_WORD_FRAMES = 20


def evaluate_languages(inputs: EvaluationInputs) -> dict:
    """Judge stage 1 beside the mean mouth and a linear map, by language, at the measured offsets.

    Clips of 2 s or more are judged as by `evaluate_speech`: their second half, in the style of the first, to which
    stage 1 is calibrated. Shorter ones are judged whole, in the style of the person's other ones, not calibrated.

    Returns:
        what `report_of` gives, a row for each language, length and method, with the counts of clips and persons.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    align = partial(with_measured_offsets, corpus=inputs.corpus, is_required=True)
    window_map = fit_linear_map(inputs, face_model, align=align)
    usable = align([c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT)])
    groups: dict[str, list[tuple[Clip, SpeechClip]]] = defaultdict(list)
    for clip in usable:
        if clip.is_long_enough(MIN_SECONDS) and (read := read_speech_clip(inputs, clip, face_model)) is not None:
            groups[NAMES.get(clip.language, "other or not stated")].append((clip, read))
    for clip, read in read_words(inputs, [c for c in usable if not c.is_long_enough(MIN_SECONDS)], face_model):
        groups[f"{NAMES.get(clip.language, 'other')}, single words"].append((clip, read))
    rows: dict[str, list[dict[str, float]]] = {}
    for group, clips in groups.items():
        title = f"{group} ({len(clips)} clips, {len({clip.person for clip, _ in clips})} persons)"
        for _, clip in clips:
            for method, speech in predictions(model, window_map, clip).items():
                rows.setdefault(f"{title}: {method}", []).append(speech_figures(speech, clip, face_model))
    return report_of("languages", rows, clips=sum(map(len, groups.values())))


def predictions(model: GeometryModel, window_map: LinearMap, clip: SpeechClip) -> dict[str, np.ndarray]:
    """Speech coefficients [T, K] of a clip by each method; stage 1 is calibrated where there is speech before."""
    mean = clip.style.mean.numpy()
    own = calibrate(model, clip.features, clip.first, clip.style, offset_s=0.0)[0] if len(clip.first) else model
    return {
        "person's mean mouth": np.broadcast_to(mean, clip.speech.shape),
        "linear map": mean + window_map(clip.features, clip.times),
        "ours": predict_expression(own, clip.features, clip.times, clip.style).numpy(),
    }


def read_words(inputs: EvaluationInputs, clips: list[Clip], face_model: FaceModel) -> list[tuple[Clip, SpeechClip]]:
    """Read the short clips of persons who have many, each judged whole, in the style of the person's next others."""
    persons: dict[str, list[tuple[Clip, FaceGeometry]]] = defaultdict(list)
    for clip in clips:
        geometry = read_geometry(inputs.corpus, clip)
        if geometry is not None and geometry.valid.sum() >= MIN_WORD_FRAMES:
            persons[clip.person].append((clip, on_audio_clock(geometry, clip)))
    found = []
    for words in persons.values():
        if len(words) < MIN_WORDS:
            continue
        for index, (clip, geometry) in enumerate(words):
            others = [other for _, other in (words[index + 1 :] + words[:index])[:WORDS_FOR_STYLE]]
            expression = np.concatenate([other.expression[other.valid] for other in others])
            style = style_of(expression, np.ones(len(expression), bool), geometry.template, face_model)
            nothing = np.zeros(len(geometry), bool)
            read = SpeechClip.of(
                geometry, read_features(inputs, clip), face_model, judged=geometry.valid, style=style, before=nothing
            )
            found.append((clip, read))
    return found
