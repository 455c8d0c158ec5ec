"""Augmentation of speech: noise, spectral tilt, gain, pitch and speed."""

from __future__ import annotations

import librosa
import numpy as np

from personatalk.speech.features import SAMPLE_RATE
from personatalk.speech.noises import NOISES, make_noise

SNR_DB = (5.0, 25.0)
MAX_TILT = 0.5  # coefficient of the first-order filter
GAIN_DB = (-12.0, 6.0)
VOCODER_WINDOW = 512  # samples, 32 ms; librosa's default of 2048 blurs consonants at 16 kHz


def degrade(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise 5 to 25 dB below the voice, tilt the spectrum, and change the gain.

    Args:
        waveform: [S] mono at 16 kHz.

    Returns:
        [S] float32
    """
    audio = waveform.astype(np.float64)
    power = np.square(audio).mean() + 1e-10
    noise = make_noise(str(rng.choice(NOISES[1:])), len(audio), rng)
    noise *= np.sqrt(power / (np.square(noise).mean() + 1e-10)) * 10 ** (-rng.uniform(*SNR_DB) / 20)
    tilt = rng.uniform(-MAX_TILT, MAX_TILT)
    audio = audio + noise
    audio[1:] -= tilt * audio[:-1].copy()
    return (audio * 10 ** (rng.uniform(*GAIN_DB) / 20)).clip(-1, 1).astype(np.float32)


def shift_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """Raise the pitch of a waveform [S] at 16 kHz without changing its timing: [S] float32."""
    shifted = librosa.effects.pitch_shift(
        waveform.astype(np.float32), sr=SAMPLE_RATE, n_steps=semitones, n_fft=VOCODER_WINDOW
    )
    return shifted.clip(-1, 1).astype(np.float32)


def change_speed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """Speak faster or slower at the same pitch, by a phase vocoder.

    Args:
        waveform: [S] mono at 16 kHz.
        speed: above 1 is faster; what was at time t is at t / speed afterwards.

    Returns:
        [S / speed] float32
    """
    changed = librosa.effects.time_stretch(waveform.astype(np.float32), rate=speed, n_fft=VOCODER_WINDOW)
    return changed.clip(-1, 1).astype(np.float32)
