"""Waveform to speech features, tied to time: the first layers of Whisper, or HuBERT by choice."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.checkpoints import from_dict
from personatalk.errors import AdapterError, CheckpointError
from personatalk.speech.config import SpeechEncoderConfig

SAMPLE_RATE = 16_000
FFT_SIZE = 400
HOP = 160  # 10 ms
NUM_BANDS = 80
MEL_BLOCK = 4000  # columns of the spectrogram worked on at once
FEATURE_RATE = 50.0  # Hz: the second convolution halves the 100 Hz of the mel spectrogram
SAMPLES_PER_FEATURE = 320
HEAD_DIM = 64
CORE_S = 8.0  # seconds that one window of the encoder adds
MARGIN_S = 2.0  # seconds of context on either side of them
ACTIVE_LEVEL_DB = -23.0  # loud parts of any recording are brought to this level
MAX_GAIN_DB = 30.0  # so that a silent recording stays silent
FLOOR_DB = -100.0
ENCODER_FILES = "speech_encoder*.safetensors"


@dataclass(frozen=True, kw_only=True)
class SpeechFeatures:
    """What a speech encoder hears in a recording.

    Attributes:
        values: [N, C] float32; row n belongs to time n / rate.
        level_db: [N] loudness in 40 ms around the same times, dB below full scale after the gain.
        rate: Hz.
    """

    values: Tensor
    level_db: Tensor
    rate: float = FEATURE_RATE

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return len(self.values) / self.rate


class SpeechEncoder(Protocol):
    """Anything that turns a waveform into features."""

    def encode(self, waveform: np.ndarray) -> SpeechFeatures:
        """Encode [S] mono samples at 16 kHz."""


class WhisperEncoder(nn.Module):
    """The first layers of Whisper's encoder, in windows of bounded length.

    The windows lie on a fixed grid of time, each with a margin that is thrown away, so that the
    features of a long recording cost bounded memory and do not depend on how long it is.

    Args:
        config: how many layers, and which of them are given out, side by side.

    Source: Radford et al. 2022, section 2.2; weights of openai/whisper tiny.en (MIT).
    Ours: the paper uses HuBERT; middle layers of tiny.en carry the lips as well, and ship with the code.
    """

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(NUM_BANDS, config.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(config.dim, config.dim, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(EncoderLayer(config.dim) for _ in range(max(config.output_layers)))
        self.register_buffer("bands", torch.from_numpy(mel_bands()), persistent=False)

    def forward(self, mel: Tensor) -> list[Tensor]:
        """Run the layers.

        Args:
            mel: [B, 80, M] log-mel spectrogram at 100 Hz.

        Returns:
            One [B, M / 2, D] per layer.
        """
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + sinusoids(x.shape[1], x.shape[2]).to(x)
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs

    @torch.inference_mode()
    def encode(self, waveform: np.ndarray) -> SpeechFeatures:
        """Encode [S] mono samples at 16 kHz; any length from one sample on.

        Raises:
            ValueError: the waveform is empty or not [S].
        """
        if waveform.ndim != 1 or not len(waveform):
            raise ValueError(f"waveform must be [S] with S > 0, got {waveform.shape}")
        sound = normalise_level(torch.from_numpy(np.ascontiguousarray(waveform, np.float32)))
        sound = sound.to(self.conv1.weight.device)
        num_features = math.ceil(len(sound) / SAMPLES_PER_FEATURE)
        mel = log_mel(F.pad(sound, (0, num_features * SAMPLES_PER_FEATURE - len(sound))), self.bands)
        core, margin = int(CORE_S * FEATURE_RATE), int(MARGIN_S * FEATURE_RATE)
        layers = self.config.output_layers
        values = sound.new_empty(num_features, len(layers) * self.config.dim)
        for start in range(0, num_features, core):
            first, last = max(0, start - margin), min(num_features, start + core + margin)
            outputs = self(mel[None, :, 2 * first : 2 * last])
            chosen = torch.cat([outputs[layer - 1][0] for layer in layers], dim=-1)
            values[start : start + core] = chosen[start - first : start - first + core]
        return SpeechFeatures(values=values, level_db=level_db(sound, num_features))


class EncoderLayer(nn.Module):
    """Pre-norm block: self-attention, whose keys have no bias, and a GELU MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = nn.ModuleDict(
            {name: nn.Linear(dim, dim, bias=name != "key") for name in ("query", "key", "value", "out")}
        )
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.ModuleList([nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, N, D] for [B, N, D]."""
        normed = self.attention_norm(x)
        query, key, value = (
            self.attention[name](normed).unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        x = x + self.attention["out"](mixed.transpose(1, 2).flatten(2))
        return x + self.mlp[1](F.gelu(self.mlp[0](self.mlp_norm(x))))


class HubertEncoder:
    """HuBERT features through torchaudio, for those who retrain stage 1 on them.

    Args:
        layer: 1 to 12 for the base model.

    Raises:
        AdapterError: torchaudio is not installed, or the weights cannot be had.

    Source: Hsu et al. 2021; the encoder that the paper uses. The weights are downloaded at first use.
    """

    def __init__(self, layer: int = 8) -> None:
        try:
            from torchaudio.pipelines import HUBERT_BASE
        except ImportError as error:
            raise AdapterError("HuBERT needs torchaudio: pip install torchaudio") from error
        try:
            self._model = HUBERT_BASE.get_model().eval()
        except OSError as error:
            raise AdapterError(f"the HuBERT weights cannot be downloaded ({error}); connect to the internet") from error
        self._layer = layer

    @torch.inference_mode()
    def encode(self, waveform: np.ndarray) -> SpeechFeatures:
        """Encode [S] mono samples at 16 kHz."""
        sound = normalise_level(torch.from_numpy(np.ascontiguousarray(waveform, np.float32)))
        num_features = math.ceil(len(sound) / SAMPLES_PER_FEATURE)
        padded = F.pad(sound, (FFT_SIZE // 2, num_features * SAMPLES_PER_FEATURE - len(sound) + FFT_SIZE // 2))
        values = self._model.extract_features(padded[None], num_layers=self._layer)[0][-1][0]
        return SpeechFeatures(values=values[:num_features], level_db=level_db(sound, len(values[:num_features])))


def load_speech_encoder(folder: Path) -> WhisperEncoder:
    """Load the encoder that ships: speech_encoder.json and the weight files beside it.

    Raises:
        CheckpointError: a file is missing or does not fit.
    """
    config_path = folder / "speech_encoder.json"
    if not config_path.is_file():
        raise CheckpointError(f"missing {config_path}: get the checkpoints folder again")
    encoder = WhisperEncoder(from_dict(SpeechEncoderConfig, json.loads(config_path.read_text())))
    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob(ENCODER_FILES)):
        weights |= {name: value.float() for name, value in load_file(path).items()}
    try:
        encoder.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / ENCODER_FILES} do not fit the speech encoder: {error}") from error
    return encoder.eval().requires_grad_(False)


def features_at(features: SpeechFeatures, times: Tensor) -> Tensor:
    """Read the features at any times, linearly between their own; the ends are held.

    Args:
        times: [...] seconds.

    Returns:
        [..., C]
    """
    return sample_rows(features.values, times * features.rate)


def sample_rows(values: Tensor, positions: Tensor) -> Tensor:
    """Read rows at fractional positions, linearly; the ends are held.

    Args:
        values: [N, C] or [N].
        positions: [...] rows.

    Returns:
        [..., C] or [...]
    """
    positions = positions.to(torch.float64).clamp(0, len(values) - 1)
    low = positions.floor().long()
    share = (positions - low).to(values.dtype).reshape(*low.shape, *[1] * (values.ndim - 1))
    return torch.lerp(values[low], values[(low + 1).clamp(max=len(values) - 1)], share)


def normalise_level(waveform: Tensor) -> Tensor:
    """Bring the loud parts of a recording [S] to one level, so that its gain does not matter.

    Ours: the paper does not say.
    """
    levels = level_db(waveform, max(1, math.ceil(len(waveform) / SAMPLES_PER_FEATURE)))
    gain_db = (ACTIVE_LEVEL_DB - torch.quantile(levels[:: max(1, len(levels) // 100_000)], 0.95)).clamp(max=MAX_GAIN_DB)
    return waveform * 10 ** (gain_db / 20)


def level_db(waveform: Tensor, num_features: int) -> Tensor:
    """Measure loudness in 40 ms around the time of each feature.

    Args:
        waveform: [S]

    Returns:
        [num_features] dB below full scale, at least -100.
    """
    missing = max(0, num_features * SAMPLES_PER_FEATURE - len(waveform))
    padded = F.pad(waveform, (SAMPLES_PER_FEATURE, SAMPLES_PER_FEATURE + missing))
    power = F.avg_pool1d(padded.square()[None], 2 * SAMPLES_PER_FEATURE, SAMPLES_PER_FEATURE)[0, :num_features]
    return (10 * torch.log10(power.clamp(min=1e-12))).clamp(min=FLOOR_DB)


def log_mel(waveform: Tensor, bands: Tensor) -> Tensor:
    """Compute Whisper's log-mel spectrogram, in blocks that bound memory and change nothing.

    Args:
        waveform: [S], S a multiple of 160.
        bands: [80, 201] mel filters.

    Returns:
        [80, S / 160] at 100 Hz; column m is centred on m * 10 ms.
    """
    if len(waveform) <= FFT_SIZE // 2:  # reflection needs more samples than it mirrors
        waveform = F.pad(waveform, (0, FFT_SIZE // 2 + 1 - len(waveform)))
    window = torch.hann_window(FFT_SIZE, device=waveform.device)
    padded = F.pad(waveform[None], (FFT_SIZE // 2, FFT_SIZE // 2), mode="reflect")[0]
    mel = waveform.new_empty(NUM_BANDS, len(waveform) // HOP)
    for start, block in zip(range(0, mel.shape[1], MEL_BLOCK), mel.split(MEL_BLOCK, 1), strict=True):
        heard = padded[start * HOP : (start + block.shape[1] - 1) * HOP + FFT_SIZE]
        spectrum = torch.stft(heard, FFT_SIZE, HOP, window=window, center=False, return_complex=True)
        block.copy_((bands @ spectrum.abs().square()).clamp(min=1e-10).log10())
    return (mel.maximum(mel.max() - 8) + 4) / 4


def mel_bands() -> np.ndarray:
    """Build Whisper's 80 triangular bands on Slaney's mel scale, each of area one.

    Returns:
        [80, 201] float32
    """
    break_hz, break_mel, hz_per_mel, log_step = 1000.0, 15.0, 200.0 / 3, math.log(6.4) / 27
    top_mel = break_mel + math.log(SAMPLE_RATE / 2 / break_hz) / log_step
    mels = np.linspace(0, top_mel, NUM_BANDS + 2)
    edges = np.where(mels < break_mel, mels * hz_per_mel, break_hz * np.exp((mels - break_mel) * log_step))
    frequencies = np.linspace(0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)


def sinusoids(length: int, dim: int) -> Tensor:
    """Position code of Whisper's encoder: sines, then cosines, [length, dim]."""
    rates = torch.exp(-math.log(10_000) / (dim // 2 - 1) * torch.arange(dim // 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
