"""Speech features on a time axis, log-mel spectrograms, and level normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE = 16_000
FFT_SIZE = 400
HOP = 160  # samples, 10 ms
NUM_MELS = 80
MEL_BLOCK = 4000  # spectrogram columns computed at once, to bound memory
FEATURE_RATE = 50.0  # Hz
SAMPLES_PER_FEATURE = 320
MEL_FEATURE_DIM = 2 * NUM_MELS  # two 100 Hz columns per 50 Hz feature
ACTIVE_LEVEL_DB = -23.0  # the 95th percentile of a recording's level is brought to this
MAX_GAIN_DB = 30.0  # a silent recording is not amplified to speech level
FLOOR_DB = -100.0


@dataclass(frozen=True, kw_only=True)
class SpeechFeatures:
    """Features of a recording on a regular time axis.

    Attributes:
        values: [N, C]; row n belongs to time n / rate.
        level_db: [N] level in 40 ms around the same times, dB relative to full scale, after normalisation.
        rate: Hz.
    """

    values: Tensor
    level_db: Tensor
    rate: float = FEATURE_RATE

    @property
    def duration(self) -> float:
        """Length of the recording in seconds."""
        return len(self.values) / self.rate


def features_at(features: SpeechFeatures, times: Tensor) -> Tensor:
    """Interpolate features linearly at any times; times outside the recording get its first or last feature.

    Args:
        times: [...] seconds.

    Returns:
        [..., C]
    """
    return sample_rows(features.values, times * features.rate)


def sample_rows(values: Tensor, positions: Tensor) -> Tensor:
    """Interpolate rows linearly at fractional positions; positions outside get the first or last row.

    Args:
        values: [N, C] or [N].
        positions: [...] rows.

    Returns:
        [..., C] or [...]
    """
    positions = positions.to(torch.float64).clamp(0, len(values) - 1)
    low = positions.floor().long()
    fraction = (positions - low).to(values.dtype).reshape(*low.shape, *[1] * (values.ndim - 1))
    return torch.lerp(values[low], values[(low + 1).clamp(max=len(values) - 1)], fraction)


def normalise_level(waveform: Tensor) -> Tensor:
    """Scale a recording [S] so that its loud parts have a fixed level.

    Ours: the paper does not mention recording levels, and dubbing audio comes at any gain.
    """
    levels = level_db(waveform, max(1, math.ceil(len(waveform) / SAMPLES_PER_FEATURE)))
    gain_db = (ACTIVE_LEVEL_DB - torch.quantile(levels[:: max(1, len(levels) // 100_000)], 0.95)).clamp(max=MAX_GAIN_DB)
    return waveform * 10 ** (gain_db / 20)


def level_db(waveform: Tensor, num_features: int) -> Tensor:
    """Measure the root-mean-square level in 40 ms around the time of each feature.

    Args:
        waveform: [S]

    Returns:
        [num_features] dB relative to full scale, at least -100.
    """
    missing = max(0, num_features * SAMPLES_PER_FEATURE - len(waveform))
    padded = F.pad(waveform, (SAMPLES_PER_FEATURE, SAMPLES_PER_FEATURE + missing))
    power = F.avg_pool1d(padded.square()[None], 2 * SAMPLES_PER_FEATURE, SAMPLES_PER_FEATURE)[0, :num_features]
    return (10 * torch.log10(power.clamp(min=1e-12))).clamp(min=FLOOR_DB)


def log_mel_spectrogram(waveform: Tensor, filters: Tensor) -> Tensor:
    """Compute Whisper's log-mel spectrogram, in blocks that bound memory and do not change the result.

    Args:
        waveform: [S], S a multiple of 160.
        filters: [80, 201] of `mel_filterbank`.

    Returns:
        [80, S / 160] at 100 Hz; column m is centred on m * 10 ms.

    Source: Radford et al. 2022, section 2.2.
    """
    if len(waveform) <= FFT_SIZE // 2:  # reflection needs more samples than it mirrors
        waveform = F.pad(waveform, (0, FFT_SIZE // 2 + 1 - len(waveform)))
    window = torch.hann_window(FFT_SIZE, device=waveform.device)
    padded = F.pad(waveform[None], (FFT_SIZE // 2, FFT_SIZE // 2), mode="reflect")[0]
    mel = waveform.new_empty(NUM_MELS, len(waveform) // HOP)
    for start, block in zip(range(0, mel.shape[1], MEL_BLOCK), mel.split(MEL_BLOCK, 1), strict=True):
        samples = padded[start * HOP : (start + block.shape[1] - 1) * HOP + FFT_SIZE]
        spectrum = torch.stft(samples, FFT_SIZE, HOP, window=window, center=False, return_complex=True)
        block.copy_((filters @ spectrum.abs().square()).clamp(min=1e-10).log10())
    return (mel.maximum(mel.max() - 8) + 4) / 4


def mel_spectrogram_features(waveform: np.ndarray) -> SpeechFeatures:
    """Compute a log-mel spectrogram as speech features: two 100 Hz columns side by side, values [N, 160] at 50 Hz."""
    audio = normalise_level(torch.from_numpy(np.ascontiguousarray(waveform, np.float32)))
    count = max(1, math.ceil(len(audio) / SAMPLES_PER_FEATURE))
    padded = F.pad(audio, (0, count * SAMPLES_PER_FEATURE - len(audio)))
    mel = log_mel_spectrogram(padded, mel_filterbank())
    return SpeechFeatures(values=mel.T.reshape(count, MEL_FEATURE_DIM).contiguous(), level_db=level_db(audio, count))


def mel_filterbank() -> Tensor:
    """Build Whisper's mel filters, librosa's default: Slaney's mel scale, triangles of area one.

    Returns:
        [80, 201]
    """
    return torchaudio.functional.melscale_fbanks(
        FFT_SIZE // 2 + 1,
        f_min=0.0,
        f_max=SAMPLE_RATE / 2,
        n_mels=NUM_MELS,
        sample_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    ).T.contiguous()
