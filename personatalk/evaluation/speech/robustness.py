"""Stage 1 on fast, slow and pitched speech, against the true mouth on the same time axis."""

from __future__ import annotations

from dataclasses import dataclass

import librosa
import numpy as np
import torch
from scipy.signal import find_peaks

from personatalk import metrics
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    MIN_FIT,
    MIN_SECONDS,
    SpeechClip,
    load_geometry_model,
    read_speech_clip,
)
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry_construction.model import predict_expression
from personatalk.media import read_audio
from personatalk.speech.augmentation import change_speed, shift_pitch
from personatalk.speech.encoders import load_speech_encoder
from personatalk.speech.features import SAMPLE_RATE, SAMPLES_PER_FEATURE
from personatalk.training.corpus import spread_over_persons

FRAME_RATE = 25.0
MAX_GAP_S = 0.06  # between trusted frames of the truth, over which it is interpolated
MIN_FRAMES = 15
MIN_ONSETS = 5
MAX_LAG = 5  # frames
ONSET_PROMINENCE = 1.0  # deviations of the onset strength
ONSET_DISTANCE_S = 0.12
BEFORE_S, AFTER_S = 0.12, 0.16  # around an onset, in which the aperture is compared


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A change of the speech.

    Attributes:
        speed: above 1 is faster; the true mouth is played as much faster.
        semitones: by which the voice is higher; the true mouth stays.
    """

    speed: float = 1.0
    semitones: float = 0.0

    def apply(self, waveform: np.ndarray) -> np.ndarray:
        """Change a waveform [S] at 16 kHz."""
        if self.semitones:
            waveform = shift_pitch(waveform, self.semitones)
        return waveform if self.speed == 1 else change_speed(waveform, self.speed)


CONDITIONS = {
    "as recorded": Condition(),
    "1.25 times as fast": Condition(speed=1.25),
    "1.5 times as fast": Condition(speed=1.5),
    "0.8 times as fast": Condition(speed=0.8),
    "4 semitones higher": Condition(semitones=4),
    "4 semitones lower": Condition(semitones=-4),
}


def evaluate_robustness(inputs: EvaluationInputs) -> dict:
    """Predict the second half of each clip from its speech, changed in speed or pitch, in the style of the first half.

    Returns:
        what `report_of` gives, a row for each condition; see `robustness_figures`.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    encoder = load_speech_encoder(inputs.checkpoints)
    usable = [c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT) and c.is_long_enough(MIN_SECONDS)]
    rows: dict[str, list[dict[str, float]]] = {}
    for clip in spread_over_persons(usable, inputs.limit):
        speech_clip = read_speech_clip(inputs, clip, face_model)
        if speech_clip is None:
            continue
        waveform = read_audio(inputs.clip_path(clip))
        for name, condition in CONDITIONS.items():
            times, truth = true_aperture(speech_clip, condition.speed)
            if len(times) < MIN_FRAMES:
                continue
            audio = condition.apply(waveform)
            predicted = predict_expression(model, encoder.encode(audio), torch.from_numpy(times), speech_clip.style)
            aperture = lip_aperture(face_model.vertices(speech_clip.template, predicted.numpy()))
            figures = robustness_figures(aperture, truth, times=times, onsets=find_onsets(audio))
            rows.setdefault(name, []).append(figures)
    return report_of("robustness", rows, clips=max(map(len, rows.values()), default=0))


def true_aperture(clip: SpeechClip, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Lip aperture of a clip's judged part, played at another speed.

    Returns:
        times [T] s at 25 Hz on the clock of the changed speech, and [T] IOD; where the face was not trusted there is
        no frame.
    """
    known, aperture = clip.times.numpy(), lip_aperture(clip.truth)
    times = np.arange(known[0] / speed, known[-1] / speed, 1 / FRAME_RATE)
    after = np.clip(np.searchsorted(known, times * speed), 1, len(known) - 1)
    trusted = known[after] - known[after - 1] < MAX_GAP_S
    return times[trusted], np.interp(times[trusted] * speed, known, aperture)


def find_onsets(waveform: np.ndarray) -> np.ndarray:
    """Seconds at which sounds begin: peaks of librosa's onset strength.

    scipy picks the peaks: librosa.onset.onset_detect ends the process with numba 0.68.
    """
    strength = librosa.onset.onset_strength(y=waveform, sr=SAMPLE_RATE, hop_length=SAMPLES_PER_FEATURE)
    step_s = SAMPLES_PER_FEATURE / SAMPLE_RATE
    peaks, _ = find_peaks(
        strength, prominence=ONSET_PROMINENCE * (strength.std() + 1e-9), distance=round(ONSET_DISTANCE_S / step_s)
    )
    return peaks * step_s


def robustness_figures(
    aperture: np.ndarray, truth: np.ndarray, *, times: np.ndarray, onsets: np.ndarray
) -> dict[str, float]:
    """Compare lip apertures [T] IOD at times [T] s.

    Returns:
        aperture_r and deviation_ratio; lag_frames, by which the prediction comes after the truth; onset_r, correlation
        over the onsets of sound of how far the lips open or close from before to after.
    """
    changes = [changes_at(onsets, series, times) for series in (aperture, truth)]
    return {
        "aperture_r": metrics.correlation(aperture, truth),
        "deviation_ratio": metrics.deviation_ratio(aperture, truth),
        "lag_frames": float(metrics.best_lag(aperture, truth, MAX_LAG)[0]),
        "onset_r": metrics.correlation(*changes) if len(changes[0]) >= MIN_ONSETS else float("nan"),
    }


def changes_at(onsets: np.ndarray, aperture: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean aperture after each onset less that before it, for the onsets that have frames around them."""
    changes = []
    for onset in onsets:
        before = (times >= onset - BEFORE_S) & (times < onset)
        after = (times >= onset) & (times < onset + AFTER_S)
        if before.any() and after.any():
            changes.append(aperture[after].mean() - aperture[before].mean())
    return np.array(changes)
