"""Speech encoders: the first layers of Whisper, which ship, or HuBERT."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torchaudio
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.checkpoints import load_config
from personatalk.errors import AdapterError, CheckpointError
from personatalk.speech.config import SpeechEncoderConfig
from personatalk.speech.features import (
    FEATURE_RATE,
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
HUBERT_FILE = "hubert_fairseq_base_ls960.pth"  # as torchaudio publishes it
HUBERT_STRIDES = (5, 2, 2, 2, 2, 2, 2)  # 320 samples in all
HUBERT_RECEPTIVE_FIELD = 400  # samples of the convolutions


class SpeechEncoder(Protocol):
    """Anything that turns a waveform into features."""

    config: SpeechEncoderConfig

    def encode(self, waveform: np.ndarray) -> SpeechFeatures:
        """Encode [S] mono samples at 16 kHz."""
        ...


class WhisperEncoder(nn.Module):
    """The first layers of Whisper's encoder, applied in windows of bounded length.

    Args:
        config: the number of layers, and whose outputs are concatenated.

    Source: Radford et al. 2022, section 2.2; weights of openai/whisper tiny.en (MIT).
    Ours: the paper uses HuBERT; the middle layers of tiny.en predict the lips as well and are small enough to ship.
    """

    filters: Tensor

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
        audio = prepare(waveform).to(self.conv1.weight.device)
        num_features = math.ceil(len(audio) / SAMPLES_PER_FEATURE)
        padded = F.pad(audio, (0, num_features * SAMPLES_PER_FEATURE - len(audio)))
        mel = log_mel_spectrogram(padded, self.filters)

        def encode_window(first: int, last: int) -> Tensor:
            outputs = self(mel[None, :, 2 * first : 2 * last])
            return torch.cat([outputs[layer - 1][0] for layer in self.config.output_layers], dim=-1)

        values = encode_in_windows(encode_window, num_features)
        return SpeechFeatures(values=values, level_db=level_db(audio, num_features).cpu())


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


class HubertEncoder(nn.Module):
    """The layers of HuBERT up to the last one that is used, applied in windows of bounded length.

    Args:
        config: kind "hubert"; whose layers' outputs are concatenated.
        weights: state dict of torchaudio's HuBERT base; the sizes of the network are read off its shapes.

    Raises:
        ValueError: the weights are not those of a HuBERT of config.dim with enough layers.

    Source: Hsu et al. 2021, HuBERT, the encoder that the paper uses; network of torchaudio.
    """

    def __init__(self, config: SpeechEncoderConfig, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        self.model = _build_hubert(weights)
        layers = self.model.encoder.transformer.layers
        dim = self.model.encoder.feature_projection.projection.out_features
        if dim != config.dim or max(config.output_layers) > len(layers):
            wanted = f"{config.dim} with layer {max(config.output_layers)}"
            raise ValueError(f"the HuBERT has width {dim} and {len(layers)} layers, wanted is width {wanted}")
        del layers[max(config.output_layers) :]

    @torch.inference_mode()
    def encode(self, waveform: np.ndarray) -> SpeechFeatures:
        """Encode [S] mono samples at 16 kHz; any length from one sample on.

        Raises:
            ValueError: the waveform is empty or not [S].
        """
        audio = prepare(waveform).to(self.model.encoder.feature_projection.projection.weight.device)
        num_features = math.ceil(len(audio) / SAMPLES_PER_FEATURE)
        half = HUBERT_RECEPTIVE_FIELD // 2  # feature n is computed from the samples around n * 320
        padded = F.pad(audio, (half, HUBERT_RECEPTIVE_FIELD))

        def encode_window(first: int, last: int) -> Tensor:
            start, stop = first * SAMPLES_PER_FEATURE, (last - 1) * SAMPLES_PER_FEATURE + HUBERT_RECEPTIVE_FIELD
            outputs, _ = self.model.extract_features(padded[None, start:stop])
            return torch.cat([outputs[layer - 1][0] for layer in self.config.output_layers], dim=-1)

        values = encode_in_windows(encode_window, num_features)
        return SpeechFeatures(values=values, level_db=level_db(audio, num_features).cpu())


def _build_hubert(weights: dict[str, Tensor]) -> Any:
    """Build a HuBERT of the base architecture in the sizes of a state dict.

    Raises:
        ValueError: they are not the weights of such a network.
    """
    num_layers = len({name.split(".")[3] for name in weights if name.startswith("encoder.transformer.layers.")})
    try:
        dim = len(weights["encoder.feature_projection.projection.weight"])
        convolutions = [weights[f"feature_extractor.conv_layers.{i}.conv.weight"] for i in range(len(HUBERT_STRIDES))]
        model = torchaudio.models.wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=[
                (len(weight), weight.shape[-1], stride)
                for weight, stride in zip(convolutions, HUBERT_STRIDES, strict=True)
            ],
            extractor_conv_bias=False,
            encoder_embed_dim=dim,
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=128,
            encoder_pos_conv_groups=16,
            encoder_num_layers=num_layers,
            encoder_num_heads=dim // HEAD_DIM,
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=4 * dim,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=False,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        model.load_state_dict(weights, strict=True)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise ValueError(f"not the weights of a HuBERT base as torchaudio has it ({HUBERT_FILE}): {error}") from error
    return model


def load_hubert(path: Path | None, output_layers: list[int]) -> HubertEncoder:
    """Load HuBERT base from a file, or download it where none is given.

    Args:
        path: torchaudio's hubert_fairseq_base_ls960.pth, or the same as .safetensors.
        output_layers: layers, counted from 1, whose outputs are concatenated.

    Raises:
        CheckpointError: the file is missing or does not fit.
        AdapterError: the weights cannot be downloaded.
    """
    weights = _download_hubert() if path is None else _read_weights(path)
    dim = len(weights.get("encoder.feature_projection.projection.bias", ()))
    config = SpeechEncoderConfig(kind="hubert", dim=dim, output_layers=output_layers)
    try:
        return HubertEncoder(config, weights).eval().requires_grad_(False)
    except ValueError as error:
        raise CheckpointError(f"{path or HUBERT_FILE}: {error}") from error


def _download_hubert() -> dict[str, Tensor]:
    try:
        return torchaudio.pipelines.HUBERT_BASE.get_model().state_dict()
    except OSError as error:
        raise AdapterError(
            f"the HuBERT weights cannot be downloaded ({error}); get {HUBERT_FILE} from "
            "download.pytorch.org/torchaudio/models and name it with --hubert-weights"
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        weights = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{path} holds no state dict; wanted is {HUBERT_FILE} of torchaudio")
    return weights


def load_speech_encoder(folder: Path) -> WhisperEncoder | HubertEncoder:
    """Load the encoder of a checkpoints folder: speech_encoder.json and the weight files beside it.

    Raises:
        CheckpointError: a file is missing or does not fit.
    """
    config = load_config(SpeechEncoderConfig, folder / "speech_encoder.json")
    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob(ENCODER_FILES)):
        weights |= {name: value.float() for name, value in load_file(path).items()}
    try:
        if config.kind == "hubert":
            prefix = "model."
            encoder = HubertEncoder(config, {name.removeprefix(prefix): value for name, value in weights.items()})
        else:
            encoder = WhisperEncoder(config)
            encoder.load_state_dict(weights, strict=True)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{folder / ENCODER_FILES} do not fit the speech encoder: {error}") from error
    return encoder.eval().requires_grad_(False)


def prepare(waveform: np.ndarray) -> Tensor:
    """Check and normalise a waveform [S].

    Raises:
        ValueError: the waveform is empty or not [S].
    """
    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(f"waveform must be [S] with S > 0, got {waveform.shape}")
    return normalise_level(torch.from_numpy(np.ascontiguousarray(waveform, np.float32)))


def encode_in_windows(encode_window: Callable[[int, int], Tensor], num_features: int) -> Tensor:
    """Encode a recording window by window, each with a margin of context that is discarded.

    The windows lie on a fixed time grid, so that a long recording needs bounded memory and its features do not
    depend on its length.

    Args:
        encode_window: of the features first to last (exclusive): [last - first, C].
        num_features: N

    Returns:
        [N, C] on the CPU.
    """
    core, margin = int(CORE_S * FEATURE_RATE), int(MARGIN_S * FEATURE_RATE)
    parts = []
    for start in range(0, num_features, core):
        first, last = max(0, start - margin), min(num_features, start + core + margin)
        parts.append(encode_window(first, last)[start - first : start - first + core].cpu())
    return torch.cat(parts)


def sinusoids(length: int, dim: int) -> Tensor:
    """Position code of Whisper's encoder: sines, then cosines, [length, dim]."""
    rates = torch.exp(-math.log(10_000) / (dim // 2 - 1) * torch.arange(dim // 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
