"""What the lips do at each kind of phoneme of English speech: really, and as stage 1 predicts it."""

from __future__ import annotations

import numpy as np

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    MIN_FIT,
    MIN_SECONDS,
    SpeechClip,
    load_geometry_model,
    read_speech_clip,
)
from personatalk.evaluation.speech.figures import CLOSED_IOD, OPEN_IOD
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.geometry_construction.model import predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate
from personatalk.media import read_audio
from personatalk.speech.features import SAMPLE_RATE
from personatalk.speech.phonemes import GRID_GRAMMAR, Phoneme, find_phonemes, require_pocketsphinx
from personatalk.training.corpus import Clip, spread_over_persons, with_measured_offsets

GRID_CLIPS = ("grid_", "lipnet_")  # how the names of clips of the GRID corpus begin, whose sentences have a grammar
BILABIAL, LABIODENTAL = ("P", "B", "M"), ("F", "V")
ROUNDED, SPREAD = ("UW", "UH", "OW", "AO", "W"), ("IY", "IH", "EY")
OPEN_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "OW", "OY")
MARGIN_S = 0.04  # by which the aligner may miss a closure, which is short


def evaluate_phonemes(inputs: EvaluationInputs) -> dict:
    """Look at the lips phoneme by phoneme, in the second half of each English clip, at the measured offsets.

    Phonemes are recognised, in clips of the GRID corpus by its grammar, and aligned, see `find_phonemes`.

    Returns:
        what `report_of` gives, a row for the true mouth, stage 1's, and stage 1's with another clip's speech; see
        `phoneme_figures`.

    Raises:
        AdapterError: pocketsphinx is not installed.
    """
    require_pocketsphinx()
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    usable = [c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT) and c.is_long_enough(MIN_SECONDS)]
    english = spread_over_persons([clip for clip in usable if clip.language == "en"], inputs.limit)
    aligned = with_measured_offsets(english, inputs.corpus, is_required=True)
    known = [(clip, read) for clip in aligned if (read := read_speech_clip(inputs, clip, face_model)) is not None]
    rows: dict[str, list[dict[str, float]]] = {"true mouth": [], "ours": [], "ours, another clip's speech": []}
    count = 0
    for index, (clip, read) in enumerate(known):
        phonemes = phonemes_of(inputs, clip)
        count += len(phonemes)
        calibrated, _ = calibrate(model, read.features, read.first, read.style, offset_s=0.0)
        other = known[(index + 1) % len(known)][1]
        mouths = {
            "true mouth": read.speech,
            "ours": predict_expression(calibrated, read.features, read.times, read.style).numpy(),
            "ours, another clip's speech": predict_expression(model, other.features, read.times, read.style).numpy(),
        }
        for name, speech in mouths.items():
            rows[name].append(phoneme_figures(speech, read, phonemes, face_model))
    return report_of("phonemes", rows, clips=len(known), phonemes=count)


def phonemes_of(inputs: EvaluationInputs, clip: Clip) -> list[Phoneme]:
    """The phonemes that are said in a clip, on its sound's clock."""
    grammar = GRID_GRAMMAR if clip.name.startswith(GRID_CLIPS) else None
    return find_phonemes(read_audio(inputs.clip_path(clip), SAMPLE_RATE), grammar)


def phoneme_figures(
    speech: np.ndarray, clip: SpeechClip, phonemes: list[Phoneme], face_model: FaceModel
) -> dict[str, float]:
    """Say what the lips of a mouth do at the phonemes of a clip.

    Args:
        speech: [T, K] speech coefficients of the mouth.
        clip: the times of the judged frames, and whose mouth it is.
        phonemes: of the clip.
        face_model: of the coefficients.

    Returns:
        p_b_m_closed, the share of these in which the inner lips come within 1.5 % of the inter-ocular distance;
        f_v_near, of these in which they come within 2.5 %; vowels_shut, of the open vowels throughout which they are
        within 1.5 %; u_o_w_width_% and i_e_width_%, by how much the mouth is wider there than on average, in % of the
        inter-ocular distance; NaN where the phoneme does not occur.
    """
    vertices = face_model.vertices(clip.template, np.asarray(speech, np.float32))
    aperture, width = lip_aperture(vertices), 100 * mouth_width(vertices)
    times, width = clip.times.numpy(), width - width.mean()

    def at(names: tuple[str, ...], margin_s: float = 0.0) -> list[np.ndarray]:
        """Numbers of the frames of each of some phonemes that lies within the judged frames."""
        spans = [(p.start_s - margin_s, p.end_s + margin_s) for p in phonemes if p.name in names]
        frames = [np.flatnonzero((times >= start) & (times < end)) for start, end in spans]
        return [f for f, (start, end) in zip(frames, spans, strict=True) if len(f) and within(start, end)]

    def within(start: float, end: float) -> bool:
        return bool(times[0] <= start and end <= times[-1])

    return {
        "p_b_m_closed": mean([aperture[f].min() < CLOSED_IOD for f in at(BILABIAL, MARGIN_S)]),
        "f_v_near": mean([aperture[f].min() < OPEN_IOD for f in at(LABIODENTAL, MARGIN_S)]),
        "vowels_shut": mean([aperture[f].max() < CLOSED_IOD for f in at(OPEN_VOWELS)]),
        "u_o_w_width_%": mean([width[f].mean() for f in at(ROUNDED)]),
        "i_e_width_%": mean([width[f].mean() for f in at(SPREAD)]),
    }


def mean(values: list) -> float:
    """Mean; NaN of nothing."""
    return float(np.mean(values)) if values else float("nan")
