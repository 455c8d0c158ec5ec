"""Whether own speech is told from other people's: true and foreign sounds for the same faces, by length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import MIN_FIT, load_geometry_model, read_features
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry_construction.own_speech import OwnSpeech, hear_own_speech
from personatalk.geometry_construction.speaker_calibration import first_seconds, seen_from
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.sync_network import load_sync_network
from personatalk.training.corpus import Clip, read_geometry, spread_over_persons

LENGTHS_S = (1.0, 1.5, 2.0, 4.0, 10.0)
NUM_FOREIGN = 3  # other people's sounds for each face
MIN_SHOWN = 0.8  # of a length, in which the face is seen
SPARE_S = 0.3  # of sound beyond the picture
Judge = Callable[[OwnSpeech | None], tuple[float, bool]]  # what it goes by, and what it decides


def evaluate_own_speech(inputs: EvaluationInputs) -> dict:
    """Offer each face its own speech and three other people's, and ask which are its own.

    Returns:
        what `report_of` gives, a row for each length and rule: accepted_own and accepted_foreign, means over clips,
        by the rule of a dub, and equal_error_rate of the evidence over all pairs, 0 to 1.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    network = load_sync_network(inputs.checkpoints)
    chosen = spread_over_persons([c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT)], inputs.limit)
    clips = [
        (clip, geometry, read_features(inputs, clip))
        for clip in chosen
        if (geometry := read_geometry(inputs.corpus, clip)) is not None and geometry.valid.any()
    ]
    generator = np.random.default_rng(0)
    rows: dict[str, list[dict[str, float]]] = {}
    for seconds in LENGTHS_S:
        offered = [sounds_for(number, clips, seconds, generator) for number in range(len(clips))]
        heard = [
            [hear_own_speech(network, model, sound, face, face_model) for sound in sounds]
            for face, *sounds in filter(None, offered)
        ]
        for rule, judge in (("both witnesses", evidence_of), ("the sync network alone", certainty_of)):
            rows[f"{seconds:g} s, {rule}"] = figures_of(heard, judge)
    return report_of("own-speech", rows, clips=len(clips), skipped=len(chosen) - len(clips))


def sounds_for(
    number: int,
    clips: list[tuple[Clip, FaceGeometry, SpeechFeatures]],
    seconds: float,
    generator: np.random.Generator,
) -> tuple | None:
    """Cut a face to a length, its own sound, and other persons' drawn at random; None where the clip is too short."""
    clip, geometry, features = clips[number]
    begin_s = seen_from(geometry)
    face = first_seconds(geometry, seconds, begin_s)
    if face.valid.sum() * geometry.frame_s < MIN_SHOWN * seconds:
        return None
    others = [f for c, _, f in clips if c.person != clip.person and f.duration >= seconds]
    if not others:
        return None
    drawn = generator.choice(len(others), min(NUM_FOREIGN, len(others)), replace=False)
    foreign = [stretch_of(others[int(i)], 0.0, seconds + SPARE_S) for i in drawn]
    return face, stretch_of(features, begin_s, seconds + SPARE_S), *foreign


def stretch_of(features: SpeechFeatures, begin_s: float, seconds: float) -> SpeechFeatures:
    """Cut features to a stretch, with a clock of its own."""
    first = round(begin_s * features.rate)
    kept = slice(first, first + round(seconds * features.rate))
    return replace(features, values=features.values[kept], level_db=features.level_db[kept])


def evidence_of(heard: OwnSpeech | None) -> tuple[float, bool]:
    """What a dub goes by, and what it decides."""
    return (heard.evidence, heard.is_own) if heard else (0.0, False)


def certainty_of(heard: OwnSpeech | None) -> tuple[float, bool]:
    """The same by the sync network alone."""
    if heard is None or not heard.is_inside:
        return 0.0, False
    return heard.certainty, heard.synchrony.in_sync


def figures_of(heard: list[list[OwnSpeech | None]], judge: Judge) -> list[dict[str, float]]:
    """Figures of each clip, whose own sound is the first; the equal error rate is that of all, in each."""
    own = [judge(sounds[0]) for sounds in heard]
    foreign = [[judge(sound) for sound in sounds[1:]] for sounds in heard]
    rate = equal_error_rate(
        np.array([score for score, _ in own]), np.array([score for row in foreign for score, _ in row])
    )
    return [
        {
            "accepted_own": float(accepted),
            "accepted_foreign": float(np.mean([taken for _, taken in row])),
            "equal_error_rate": rate,
        }
        for (_, accepted), row in zip(own, foreign, strict=True)
    ]


def equal_error_rate(own: np.ndarray, foreign: np.ndarray) -> float:
    """The rate at which as many of the own scores [N] are refused as of the foreign ones [M] are accepted."""
    bounds = np.sort(np.concatenate([own, foreign]))
    refused = np.searchsorted(np.sort(own), bounds) / max(len(own), 1)
    accepted = 1 - np.searchsorted(np.sort(foreign), bounds) / max(len(foreign), 1)
    nearest = int(np.abs(refused - accepted).argmin())
    return float(refused[nearest] + accepted[nearest]) / 2
