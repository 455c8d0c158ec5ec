"""Whether a dub's mouth has the person's style: everybody says what others say, and styles are retrieved."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.linalg import eigh

from personatalk.errors import PersonaTalkError
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    Speaker,
    beginning_of,
    halves_of,
    load_geometry_model,
    on_audio_clock,
    read_features,
    read_speakers,
)
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate
from personatalk.geometry_construction.style import Style, style_of
from personatalk.speech.features import SpeechFeatures
from personatalk.training.corpus import read_geometry

MIN_STYLE_S = 2.0  # of clips whose style is judged
MIN_TRAINING_S, MIN_TRAINING_FRAMES = 3.0, 20  # of clips from which the style space is learnt; frames a half
STYLE_DIRECTIONS, STYLE_SHRINKAGE = 24, 0.1
NUM_OTHER_SPEAKERS = 3  # other persons whose speech each person speaks
MAX_STYLE_DEVIATION = 4.0


@dataclass(frozen=True, kw_only=True)
class DubbedStyles:
    """Dubs of stage 1 alone, and their styles.

    Attributes:
        inputs: where the clips are.
        model: stage 1.
        face_model: of the coefficients.
        heard: features of the clips' speech, by name, as far as they have been asked for.
    """

    inputs: EvaluationInputs
    model: GeometryModel
    face_model: FaceModel
    heard: dict[str, SpeechFeatures] = field(default_factory=dict)

    def features(self, speaker: Speaker) -> SpeechFeatures:
        """Features of the speech in a speaker's clip."""
        name = speaker.clip.name
        if name not in self.heard:
            self.heard[name] = read_features(self.inputs, speaker.clip)
        return self.heard[name]

    def vector(
        self,
        model: GeometryModel,
        other: Speaker,
        style: Style,
        *,
        style_strength: float = 1.0,
        matches_amplitude: bool = True,
    ) -> np.ndarray:
        """Style vector of a mouth that says, in a style, what another person says."""
        times = torch.from_numpy(on_audio_clock(other.geometry, other.clip).times)
        speech = predict_expression(
            model,
            self.features(other),
            times,
            style,
            style_strength=style_strength,
            matches_amplitude=matches_amplitude,
        ).numpy()
        dubbed = style_of(speech, np.ones(len(speech), bool), self.face_model.mean, self.face_model)
        return style_vector(dubbed, self.model)

    def calibrated(self, speaker: Speaker) -> GeometryModel:
        """Stage 1 calibrated to the speech in the first half of a speaker's clip, at the offset that is given."""
        geometry = on_audio_clock(speaker.geometry, speaker.clip)
        known = beginning_of(geometry, halves_of(geometry)[0])
        return calibrate(self.model, self.features(speaker), known, speaker.first, offset_s=0.0)[0]


def evaluate_style(inputs: EvaluationInputs) -> dict:
    """Let each person speak other people's sentences, and retrieve the person by the style of the mouth.

    The gallery holds the styles of the second halves of everybody's clips; stage 1 is given the style of the first
    half, and is calibrated to the speech in it, as a dub does. A style's vector is mean and deviation of the mouth's
    motion, in the directions in which training speakers differ.

    Returns:
        what `report_of` gives: style_sim, the cosine with the person's second half, and top_1, whether no other
        person's is nearer; chance is one in `persons`.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    speakers = longest_of_each(read_speakers(inputs, face_model, MIN_STYLE_S))
    space = StyleSpace.learn(training_halves(inputs, face_model, model))
    gallery = np.stack([space(style_vector(speaker.second, model)) for speaker in speakers])
    dubs = DubbedStyles(inputs=inputs, model=model, face_model=face_model)
    rows: dict[str, list[dict[str, float]]] = {}
    for index in range(len(speakers)):
        for name, vector in style_vectors(dubs, speakers, index):
            rows.setdefault(name, []).append(compare(space(vector), gallery, index))
    return report_of("style", rows, persons=len(speakers), chance=1 / len(speakers))


def style_vectors(dubs: DubbedStyles, speakers: list[Speaker], index: int) -> list[tuple[str, np.ndarray]]:
    """Style vectors of one speaker, by row of the report; the speakers after this one give the speech."""
    speaker, count = speakers[index], len(speakers)
    found = [("the person's own first half", style_vector(speaker.first, dubs.model))]
    calibrated = dubs.calibrated(speaker)
    for step in range(1, min(NUM_OTHER_SPEAKERS, count - 1) + 1):
        other = speakers[(index + step) % count]
        third = speakers[(index + NUM_OTHER_SPEAKERS + step) % count]
        found += [
            ("dub", dubs.vector(calibrated, other, speaker.first)),
            ("dub, amplitude as predicted", dubs.vector(calibrated, other, speaker.first, matches_amplitude=False)),
            ("dub, not calibrated", dubs.vector(dubs.model, other, speaker.first)),
            ("dub, style off: the average style", dubs.vector(dubs.model, other, speaker.first, style_strength=0.0)),
            ("dub, another person's style", dubs.vector(dubs.calibrated(third), other, third.first)),
        ]
    return found


def longest_of_each(speakers: list[Speaker]) -> list[Speaker]:
    """The longest clip of each person."""
    longest: dict[str, Speaker] = {}
    for speaker in speakers:
        known = longest.get(speaker.clip.person)
        if known is None or len(known.geometry) < len(speaker.geometry):
            longest[speaker.clip.person] = speaker
    return list(longest.values())


def style_vector(style: Style, model: GeometryModel) -> np.ndarray:
    """Mean and deviation of the mouth's motion [D], each value in standard deviations of the training speakers."""
    parts = [
        (getattr(style, name) - getattr(model, f"average_{name}")) / getattr(model, f"spread_{name}")
        for name in ("vertex_mean", "vertex_deviation")
    ]
    limit = MAX_STYLE_DEVIATION
    return torch.cat([part.flatten() for part in parts]).clamp(-limit, limit).numpy()


@dataclass(frozen=True, kw_only=True)
class StyleSpace:
    """Directions in which training speakers differ, whitened by how much the halves of one clip do.

    Attributes:
        mean: [D] of the training speakers' style vectors.
        directions: [D, S]

    Source: linear discriminant analysis, Fisher 1936.
    """

    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def learn(cls, halves: np.ndarray) -> StyleSpace:
        """Learn from the style vectors [N, 2, D] of the halves of training clips.

        Raises:
            PersonaTalkError: there are none.
        """
        if not len(halves):
            raise PersonaTalkError("no training clips to learn from how speakers differ; run preprocess first")
        flat = halves.reshape(-1, halves.shape[-1])
        within = np.cov((halves[:, 0] - halves[:, 1]).T) / 2
        within += STYLE_SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
        directions = eigh(np.cov(flat.T), within)[1][:, ::-1][:, :STYLE_DIRECTIONS]
        return cls(mean=flat.mean(0), directions=directions)

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Carry style vectors [..., D] into the space, [..., S]."""
        return (vector - self.mean) @ self.directions


def training_halves(inputs: EvaluationInputs, face_model: FaceModel, model: GeometryModel) -> np.ndarray:
    """Style vectors [N, 2, D] of the halves of the training clips whose geometry is cached."""
    found = []
    for clip in inputs.read_clips("train"):
        geometry = read_geometry(inputs.corpus, clip)
        if geometry is None or geometry.times[-1] - geometry.times[0] < MIN_TRAINING_S:
            continue
        halves = halves_of(geometry)
        if min(half.sum() for half in halves) >= MIN_TRAINING_FRAMES:
            styles = (style_of(geometry.expression, half, geometry.template, face_model) for half in halves)
            found.append([style_vector(style, model) for style in styles])
    return np.array(found)


def compare(vector: np.ndarray, gallery: np.ndarray, index: int) -> dict[str, float]:
    """Cosine of a vector [S] with the gallery's [N, S] entry of an index, and whether that is the nearest."""
    cosines = gallery @ vector / (np.linalg.norm(gallery, axis=1) * np.linalg.norm(vector) + 1e-12)
    return {"style_sim": float(cosines[index]), "top_1": float(cosines.argmax() == index)}
