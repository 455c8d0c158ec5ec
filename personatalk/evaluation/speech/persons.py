"""Whose speech is it: the person's style in the dub's mouth, what own speech brings, and the mouth in silence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import eigh

from personatalk.evaluation.geometry.fitting import FACE_MODEL_FILE
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.prediction import (
    MIN_FIT,
    SpeechClip,
    beginning_of,
    load_geometry_model,
    read_features,
    speech_figures,
)
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate
from personatalk.geometry_construction.style import Style, style_of
from personatalk.media import read_audio
from personatalk.speech.encoders import load_speech_encoder
from personatalk.speech.features import SAMPLE_RATE
from personatalk.speech.noises import NOISES, UNSEEN_NOISES, make_noise
from personatalk.training.corpus import Clip, read_geometry

MIN_STYLE_S = 2.0  # of clips whose style is judged
OWN_SPEECH_S = (0.0, 2.0, 5.0, 10.0)
JUDGED_S = 5.0  # at the end of a clip whose beginning is own speech
MIN_TRAINING_S = 3.0  # of clips from which it is learnt how speakers differ
STYLE_DIRECTIONS, STYLE_SHRINKAGE = 24, 0.1
NUM_OTHER_SPEAKERS = 3  # other persons whose speech each person speaks
NOISE_S, NOISE_SEED = 3.0, 77
REST_IOD = 0.02


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A clip with sound: the whole of it, and the style of its halves."""

    clip: Clip
    geometry: FaceGeometry
    first: Style
    second: Style


def evaluate_style(inputs: EvaluationInputs) -> dict:
    """Let each person speak other people's sentences, and look whose mouth it is.

    The style of the second halves of everybody's clips is the gallery, that of the first halves goes into stage 1,
    which is calibrated to the speech in the first half, as a dub does.
    A style's vector is mean and deviation of the mouth's motion, in the directions in which training speakers differ.

    Returns:
        what `report_of` gives: style_sim, the cosine with the person's second half, and top_1, whether no other
        person's is nearer; chance is one in `persons`.
    """
    face_model, model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE), load_geometry_model(inputs.checkpoints)
    longest: dict[str, Speaker] = {}
    for speaker in read_speakers(inputs, face_model, MIN_STYLE_S):
        known = longest.get(speaker.clip.person)
        if known is None or len(known.geometry) < len(speaker.geometry):
            longest[speaker.clip.person] = speaker
    speakers = list(longest.values())
    space = StyleSpace.learn(training_halves(inputs, face_model, model))
    gallery = np.stack([space(style_vector(speaker.second, model)) for speaker in speakers])
    rows: dict[str, list[dict[str, float]]] = {}
    for index, speaker in enumerate(speakers):
        rows.setdefault("the person's own first half", []).append(
            compare(space(style_vector(speaker.first, model)), gallery, index)
        )
        own_model = calibrated(inputs, model, speaker)
        for step in range(1, min(NUM_OTHER_SPEAKERS, len(speakers) - 1) + 1):
            other = speakers[(index + step) % len(speakers)]
            stranger = speakers[(index + NUM_OTHER_SPEAKERS + step) % len(speakers)]
            dubs = {
                "dub": (own_model, speaker, 1.0),
                "dub, not calibrated": (model, speaker, 1.0),
                "dub, style off: the average style": (model, speaker, 0.0),
                "dub, another person's style": (calibrated(inputs, model, stranger), stranger, 1.0),
            }
            for name, (own, styled, strength) in dubs.items():
                said = dubbed_style(inputs, own, face_model, other, styled.first, strength=strength)
                rows.setdefault(name, []).append(compare(space(style_vector(said, model)), gallery, index))
    return report_of("style", rows, persons=len(speakers), chance=1 / len(speakers))


def calibrated(inputs: EvaluationInputs, model: GeometryModel, speaker: Speaker) -> GeometryModel:
    """Stage 1 as it is after hearing the first half of a speaker's clip, at the offset that is given."""
    first = np.arange(len(speaker.geometry)) < len(speaker.geometry) // 2
    heard, features = beginning_of(speaker.geometry, first), read_features(inputs, speaker.clip)
    return calibrate(model, features, heard, speaker.first, offset_s=speaker.clip.offset_s)[0]


def dubbed_style(
    inputs: EvaluationInputs,
    model: GeometryModel,
    face_model: FaceModel,
    other: Speaker,
    style: Style,
    *,
    strength: float,
) -> Style:
    """The style of a mouth that says, in a style, what another person says."""
    times = torch.from_numpy(other.geometry.times - other.clip.offset_s)
    said = predict_expression(model, read_features(inputs, other.clip), times, style, style_strength=strength).numpy()
    return style_of(said, np.ones(len(said), bool), face_model.mean, face_model)


def style_vector(style: Style, model: GeometryModel) -> np.ndarray:
    """Mean and deviation of the mouth's motion, each value in deviations of the training speakers."""
    parts = [
        (getattr(style, name) - getattr(model, f"average_{name}")) / getattr(model, f"spread_{name}")
        for name in ("vertex_mean", "vertex_deviation")
    ]
    return torch.cat([part.flatten() for part in parts]).clamp(-4, 4).numpy()


@dataclass(frozen=True, kw_only=True)
class StyleSpace:
    """Directions in which training speakers differ, whitened by how much one clip's halves do.

    Attributes:
        mean: [D] of the training speakers' style vectors.
        directions: [D, S]
    """

    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def learn(cls, halves: np.ndarray) -> StyleSpace:
        """Learn from the style vectors [N, 2, D] of the halves of training clips.

        Raises:
            ValueError: there are none.
        """
        if not len(halves):
            raise ValueError("no training clips to learn from how speakers differ; run preprocess first")
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
    halves = []
    for clip in inputs.read_clips("train"):
        geometry = read_geometry(inputs.corpus, clip)
        if geometry is None:
            continue
        first = np.arange(len(geometry)) < len(geometry) // 2
        trusted = [geometry.valid & first, geometry.valid & ~first]
        if geometry.times[-1] - geometry.times[0] >= MIN_TRAINING_S and min(half.sum() for half in trusted) >= 20:
            styles = (style_of(geometry.expression, half, geometry.template, face_model) for half in trusted)
            halves.append([style_vector(style, model) for style in styles])
    return np.array(halves)


def compare(vector: np.ndarray, gallery: np.ndarray, index: int) -> dict[str, float]:
    """Cosine with the gallery's entry of an index, and whether it is the nearest."""
    cosines = gallery @ vector / (np.linalg.norm(gallery, axis=1) * np.linalg.norm(vector) + 1e-12)
    return {"style_sim": float(cosines[index]), "top_1": float(cosines.argmax() == index)}


def evaluate_calibration(inputs: EvaluationInputs) -> dict:
    """Judge the last 5 s of long clips after 0, 2, 5 and 10 s of own speech; the style is the same in every row."""
    face_model, model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE), load_geometry_model(inputs.checkpoints)
    rows: dict[str, list[dict[str, float]]] = {}
    for speaker in read_speakers(inputs, face_model, max(OWN_SPEECH_S) + JUDGED_S * 0.6):
        features, geometry = read_features(inputs, speaker.clip), speaker.geometry
        judged = geometry.valid & (geometry.times > geometry.times[-1] - JUDGED_S)
        before = geometry.valid & (geometry.times < geometry.times[0] + max(OWN_SPEECH_S)) & ~judged
        style = style_of(geometry.expression, before, geometry.template, face_model)
        clip = SpeechClip(
            features=features,
            times=torch.from_numpy(geometry.times[judged] - speaker.clip.offset_s),
            truth=face_model.vertices(geometry.template, geometry.expression[judged]),
            speech=geometry.expression[judged, : face_model.num_speech],
            style=style,
            template=geometry.template,
            first=beginning_of(geometry, before),
        )
        for seconds in OWN_SPEECH_S:
            heard = before & (geometry.times < geometry.times[0] + seconds)
            own, _ = calibrate(model, features, beginning_of(geometry, heard), style, offset_s=speaker.clip.offset_s)
            said = predict_expression(own, features, clip.times, style).numpy()
            figures = speech_figures(said, clip, face_model)
            rows.setdefault(f"{seconds:g} s of own speech", []).append(figures)
    return report_of("calibration", rows, clips=len(next(iter(rows.values()), [])))


def evaluate_silence(inputs: EvaluationInputs) -> dict:
    """Measure the mouth while nobody speaks: silence, other noises of the kinds trained on, and kinds never heard.

    Where the inputs name a folder of recordings without speech, each of them is judged too.

    Returns:
        what `report_of` gives: away_%, the 95th percentile of how far openness is from rest, in % of the inter-ocular
        distance, and within_2_%, the share of frames nearer than 2 %.
    """
    face_model, model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE), load_geometry_model(inputs.checkpoints)
    encoder, rng = load_speech_encoder(inputs.checkpoints), np.random.default_rng(NOISE_SEED)
    speakers = list(read_speakers(inputs, face_model, MIN_STYLE_S))
    rows: dict[str, list[dict[str, float]]] = {}
    made = {kind: make_noise(kind, int(NOISE_S * SAMPLE_RATE), rng) for kind in (*NOISES, *UNSEEN_NOISES)}
    for kind, sound in (made | read_sounds(inputs.sounds)).items():
        heard = encoder.encode(sound.astype(np.float32))
        times = torch.arange(int(heard.duration * 25), dtype=torch.float64) / 25
        for speaker in speakers:
            style, template = speaker.first, speaker.geometry.template
            said = torch.cat([style.rest[None], predict_expression(model, heard, times, style)])
            opened = driven_aperture(said.numpy(), template, face_model)
            away = np.abs(opened[1:] - opened[0])
            rows.setdefault(kind, []).append(
                {"away_%": 100 * float(np.quantile(away, 0.95)), "within_2_%": float((away < REST_IOD).mean())}
            )
    return report_of("silence", rows, clips=len(speakers))


def read_sounds(folder: Path | None) -> dict[str, np.ndarray]:
    """Read the recordings of a folder, by name: [S] mono at 16 kHz, as loud as made noise; none without a folder.

    Raises:
        MediaError: a file cannot be read.
    """
    sounds = {path.stem: read_audio(path) for path in sorted(folder.iterdir())} if folder else {}
    return {name: 0.1 * sound / (sound.std() + 1e-12) for name, sound in sounds.items()}


def read_speakers(inputs: EvaluationInputs, face_model: FaceModel, min_seconds: float) -> list[Speaker]:
    """Read the clips of a length whose sound belongs to the face."""
    speakers = []
    for clip in inputs.read_clips():
        geometry = read_geometry(inputs.corpus, clip) if clip.has_fitting_sound(MIN_FIT) else None
        if geometry is None or geometry.times[-1] - geometry.times[0] < min_seconds - 0.1:
            continue
        first = np.arange(len(geometry)) < len(geometry) // 2
        halves = [geometry.valid & first, geometry.valid & ~first]
        if min(half.sum() for half in halves) < 10:
            continue
        styles = [style_of(geometry.expression, half, geometry.template, face_model) for half in halves]
        speakers.append(Speaker(clip=clip, geometry=geometry, first=styles[0], second=styles[1]))
    return speakers[: inputs.limit] if inputs.limit else speakers
