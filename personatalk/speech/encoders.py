"""Speech encoders: the first layers of Whisper, which ship, or HuBERT."""

from __future__ import annotations

import json
import math
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
from personatalk.speech.features import (
    FEATURE_RATE,
    FFT_SIZE,
    NUM_MELS,
    SAMPLES_PER_FEATURE,
    SpeechFeatures,
    level_db,
    log_mel_spectrogram,
    mel_filterbank,
    normalise_level,
)

HEAD_DIM = 64
CORE_S = 8.0  # seconds of features that one window of the encoder yields
MARGIN_S = 2.0  # seconds of context on either side of them
ENCODER_FILES = "speech_encoder*.safetensors"


class SpeechEncoder(Protocol):
    """Anything that turns a waveform into features."""

    def encode(self, waveform: np.ndarray) -> SpeechFeatures:
        """Encode [S] mono samples at 16 kHz."""


class WhisperEncoder(nn.Module):
    """The first layers of Whisper's encoder, applied in windows of bounded length.

    The windows lie on a fixed time grid, each with a margin that is discarded, so that a long recording
    needs bounded memory and its features do not depend on its length.

    Args:
        config: the number of layers, and whose outputs are concatenated.

    Source: Radford et al. 2022, section 2.2; weights of openai/whisper tiny.en (MIT).
    Ours: the paper uses HuBERT; the middle layers of tiny.en predict the lips as well and are small enough to ship.
    """

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(NUM_MELS, config.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(config.dim, config.dim, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(EncoderLayer(config.dim) for _ in range(max(config.output_layers)))
        self.register_buffer("filters", mel_filterbank(), persistent=False)

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
        audio = normalise_level(torch.from_numpy(np.ascontiguousarray(waveform, np.float32)))
        audio = audio.to(self.conv1.weight.device)
        num_features = math.ceil(len(audio) / SAMPLES_PER_FEATURE)
        padded = F.pad(audio, (0, num_features * SAMPLES_PER_FEATURE - len(audio)))
        mel = log_mel_spectrogram(padded, self.filters)
        core, margin = int(CORE_S * FEATURE_RATE), int(MARGIN_S * FEATURE_RATE)
        layers = self.config.output_layers
        values = audio.new_empty(num_features, len(layers) * self.config.dim)
        for start in range(0, num_features, core):
            first, last = max(0, start - margin), min(num_features, start + core + margin)
            outputs = self(mel[None, :, 2 * first : 2 * last])
            chosen = torch.cat([outputs[layer - 1][0] for layer in layers], dim=-1)
            values[start : start + core] = chosen[start - first : start - first + core]
        return SpeechFeatures(values=values, level_db=level_db(audio, num_features))


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


def sinusoids(length: int, dim: int) -> Tensor:
    """Position code of Whisper's encoder: sines, then cosines, [length, dim]."""
    rates = torch.exp(-math.log(10_000) / (dim // 2 - 1) * torch.arange(dim // 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
