"""Stage 1: from speech features and speaking style to speech coefficients of the face."""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from einops import rearrange
from torch import Tensor, nn

from personatalk.geometry_construction.amplitude import Amplitude
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.layers import DecoderLayer, band
from personatalk.geometry_construction.lip_closure import ClosureHead
from personatalk.geometry_construction.style import COEFFICIENTS, STYLE_VERTICES, Style
from personatalk.speech.features import SpeechFeatures, sample_rows
from personatalk.speech.voice_activity import VoiceDetector, speech_gate

CHUNK_FRAMES = 150  # grid points, 6 s at 25 Hz; memory grows with the square
PHASES = (0.0, 0.5)  # of the grid, in steps; predictions on both are averaged


class GeometryModel(nn.Module):
    """Predict speech coefficients from speech features, in a person's speaking style.

    The network works on a fixed time grid (25 Hz, from second 0), whatever the video's rate, and its receptive field
    is a window around each grid point: results do not depend on chunks, length or frame rate.

    Source: PersonaTalk (arXiv 2409.05379), stage 1: style embedding, style-aware audio encoding, geometry decoder.
    Ours: sizes and windows, for which the paper gives no numbers; and the output, coefficients as deviations from a
        mean mouth. That lies between the average person's and this person's, by a learnt share, since the mean of a
        short reference is noisy.
    """

    audio_mean: Tensor
    audio_deviation: Tensor
    expression_deviation: Tensor
    population_residual: Tensor
    average_mean: Tensor

    def __init__(self, config: GeometryModelConfig) -> None:
        super().__init__()
        self.config = config
        num_style = len(STYLE_VERTICES) * 3
        self.style_encoder = StyleEncoder(2 * num_style + config.expression_dim, config)
        self.audio_input = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.audio_dim, config.dim))
        self.audio_encoder = StyleAwareAudioEncoder(config)
        self.template_input = nn.Linear(num_style, config.dim)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.mean_share = nn.Parameter(torch.full((config.expression_dim,), 0.5))
        self.head = nn.Linear(config.dim, config.expression_dim)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)
        self.closure = ClosureHead(config.dim, config.expression_dim)
        self.voice = VoiceDetector(config.audio_dim)
        self.register_buffer("audio_mean", torch.zeros(config.audio_dim))
        self.register_buffer("audio_deviation", torch.ones(config.audio_dim))
        self.register_buffer("expression_deviation", torch.ones(config.expression_dim))
        # from the head's inputs to its mean error over the training persons; speaker calibration subtracts it
        self.register_buffer("population_residual", torch.zeros(config.expression_dim, config.dim))
        for field in fields(Style):  # the average style of the training speakers, and the deviation between them
            single = (config.expression_dim,) if field.name in COEFFICIENTS else (len(STYLE_VERTICES), 3)
            self.register_buffer(f"average_{field.name}", torch.zeros(single))
            self.register_buffer(f"spread_{field.name}", torch.ones(single))

    @property
    def average_style(self) -> Style:
        """The mean style of the training speakers."""
        return Style(**{field.name: getattr(self, f"average_{field.name}") for field in fields(Style)})

    @property
    def reach(self) -> int:
        """Grid points on either side in the receptive field of a grid point."""
        return self.config.window_frames + 2 * self.config.depth * self.config.context_frames

    def forward(self, speech: Tensor, valid: Tensor, style: Style) -> Tensor:
        """Predict speech coefficients on the time grid.

        Args:
            speech: [B, T, C] features at the grid's times.
            valid: [B, T] bool, false where there is no audio (padding, before its start, after its end).
            style: a batch of B.

        Returns:
            [B, T, K] coefficients; undefined where not valid.
        """
        return self.read_out(self.hidden(speech, valid, style), style)

    def read_out(self, hidden: Tensor, style: Style) -> Tensor:
        """Map the last hidden layer [B, T, D] to coefficients [B, T, K]."""
        mean = torch.lerp(self.average_mean, style.mean, self.mean_share)
        return mean[:, None] + self.head(hidden) * self.expression_deviation

    def hidden(self, speech: Tensor, valid: Tensor, style: Style) -> Tensor:
        """Return [B, T, D], the head's inputs; the arguments are those of `forward`."""
        code, template = self._style_inputs(style)
        audio = self.audio_input(self.standardise(speech))
        audio = self.audio_encoder(self.style_encoder(code), audio, valid)
        x = audio + self.template_input(template)[:, None]
        for layer in self.decoder:
            x = layer(x, audio, valid)
        return self.norm(x)

    def standardise(self, speech: Tensor) -> Tensor:
        """Standardise features [..., C] by mean and deviation of the training clips."""
        return (speech - self.audio_mean) / self.audio_deviation

    def gate(self, features: SpeechFeatures, times: Tensor) -> Tensor:
        """Speech gate [T] in [0, 1] at times [T] s: the share of the predicted motion that is used."""
        return speech_gate(features, times, self.voice(self.standardise(features.values.float())))

    def _style_inputs(self, style: Style) -> tuple[Tensor, Tensor]:
        """Standardise the inputs of the style encoder [B, .] and the template geometry [B, .]."""
        scaled = {
            f.name: ((getattr(style, f.name) - getattr(self, f"average_{f.name}")) / getattr(self, f"spread_{f.name}"))
            .flatten(1)
            .clamp(-3, 3)
            for f in fields(Style)
        }
        code = torch.cat([scaled["vertex_mean"], scaled["vertex_deviation"], scaled["rest"]], dim=1)
        return code, scaled["template"]


class StyleEncoder(nn.Module):
    """MLP from style statistics to a few style tokens."""

    def __init__(self, num_inputs: int, config: GeometryModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(config.style_tokens, config.dim))
        self.mlp = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(num_inputs, config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.dim, config.style_tokens * config.dim),
        )

    def forward(self, code: Tensor) -> Tensor:
        """Return [B, S, D] for [B, num_inputs]."""
        return self.tokens + rearrange(self.mlp(code), "b (s d) -> b s d", s=len(self.tokens))


class StyleAwareAudioEncoder(nn.Module):
    """One cross-attention layer from style tokens to audio features.

    Source: PersonaTalk (arXiv 2409.05379): style as query, audio as key and value.
    Ours: the way back to the time axis, which the paper leaves open. Every frame has its own attention, with the
        features in a window around it as keys and values and a learnt bias by token and distance; the outputs of
        all tokens are concatenated, projected, and added to the frame's own feature.
    """

    def __init__(self, config: GeometryModelConfig) -> None:
        super().__init__()
        self.heads, self.window = config.heads, config.window_frames
        self.norm = nn.LayerNorm(config.dim)
        self.to_q = nn.Linear(config.dim, config.dim)
        self.to_k = nn.Linear(config.dim, config.dim, bias=False)
        self.to_v = nn.Linear(config.dim, config.dim)
        self.bias = nn.Parameter(0.5 * torch.randn(config.heads * config.style_tokens, 2 * self.window + 1))
        self.to_out = nn.Linear(config.style_tokens * config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, audio: Tensor, valid: Tensor) -> Tensor:
        """Return stylised audio features.

        Args:
            tokens: [B, S, D]
            audio: [B, T, D]
            valid: [B, T] bool.

        Returns:
            [B, T, D]
        """
        normed = self.norm(audio)
        query = rearrange(self.to_q(tokens), "b s (h d) -> b h s d", h=self.heads)
        key, value = (rearrange(f(normed), "b t (h d) -> b h t d", h=self.heads) for f in (self.to_k, self.to_v))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])  # [B, heads, S, memory]
        bias = band(self.bias, audio.shape[1]).unflatten(0, (self.heads, -1))  # [heads, S, frame, memory]
        scores = (scores[..., None, :] + bias).masked_fill(~valid[:, None, None, None, :], -1e9)
        outputs = scores.softmax(-1) @ value[:, :, None]  # [B, heads, S, frame, D / heads]
        return audio + self.dropout(self.to_out(rearrange(outputs, "b h s t d -> b t (s h d)")))


@torch.inference_mode()
def predict_expression(
    model: GeometryModel,
    features: SpeechFeatures,
    times: Tensor,
    style: Style,
    *,
    style_strength: float = 1.0,
    mouth_amplitude: float = 1.0,
    matches_amplitude: bool = True,
    moment: Tensor | None = None,
    chunk_frames: int = CHUNK_FRAMES,
) -> Tensor:
    """Predict the speech coefficients of a video's frames.

    Outside speech the mouth is at rest.

    Args:
        times: [T] seconds of the frames on the recording's clock.
        style: one speaker's, unbatched.
        style_strength: 0 for the average speaker's style, 1 for this speaker's, above 1 to exaggerate.
        mouth_amplitude: factor on the deviation from the mouth at rest.
        matches_amplitude: whether each coefficient gets the deviation of the style, see `Amplitude`; told from
            all of the recording, whichever frames are asked for.
        moment: [T, K] the expression of the moment, added before lips are closed; None adds nothing.
        chunk_frames: grid points computed at once; bounds memory, does not change the result.

    Returns:
        [T, K]
    """
    style = model.average_style.lerp(style.to(model.audio_mean.device), style_strength)
    times = times.to(torch.float64)
    inside = times.clamp(0, features.duration - 1 / features.rate)  # outside the recording its ends are held
    predictions = [
        _predict_on_grid(model, features, inside, style, phase=phase, chunk_frames=chunk_frames) for phase in PHASES
    ]
    expression, closure = (torch.stack(parts).mean(0) for parts in zip(*predictions, strict=True))
    gate = model.gate(features, times).to(style.rest)
    if matches_amplitude:
        amplitude = _amplitude_of(model, features, style, chunk_frames)
        expression = amplitude.match(expression, style, model.closure)
    moved = style.rest + mouth_amplitude * gate[:, None] * (expression - style.rest)
    if moment is not None:
        moved = moved + moment.to(moved)
    return model.closure.close(moved, gate * closure, style)


def _amplitude_of(model: GeometryModel, features: SpeechFeatures, style: Style, chunk_frames: int) -> Amplitude:
    """How the prediction for a whole recording has to be scaled for a style."""
    step = 1 / model.config.frame_rate
    times = torch.arange(0, max(features.duration - 1 / features.rate, step), step, dtype=torch.float64)
    expression, _ = _predict_on_grid(model, features, times, style, phase=0.0, chunk_frames=chunk_frames)
    gate = model.gate(features, times).to(expression)
    return Amplitude.measure(expression, gate, float(gate.sum()) * step, style)


def _predict_on_grid(
    model: GeometryModel, features: SpeechFeatures, times: Tensor, style: Style, *, phase: float, chunk_frames: int
) -> tuple[Tensor, Tensor]:
    """Run the network on the time grid, shifted by a share of its step, and interpolate.

    Returns:
        at times [T] s coefficients [T, K] and the strength of the lip closure [T].
    """
    positions = times * model.config.frame_rate - phase
    first, last = math.floor(positions.min().clamp(min=0).item()), math.floor(positions.max().item()) + 1
    expression, closure = [], []
    for start in range(first, last + 1, chunk_frames):
        stop = min(start + chunk_frames, last + 1)
        hidden = hidden_on_grid(model, features, start - model.reach, stop + model.reach, style, phase=phase)
        predicted = model.read_out(hidden[None], style.batched())[0]
        strength = model.closure.strength(model.closure(hidden, predicted, style))
        expression.append(predicted[model.reach : model.reach + stop - start])
        closure.append(strength[model.reach : model.reach + stop - start])
    return sample_rows(torch.cat(expression), positions - first), sample_rows(torch.cat(closure), positions - first)


def hidden_on_grid(
    model: GeometryModel, features: SpeechFeatures, start: int, stop: int, style: Style, *, phase: float = 0.0
) -> Tensor:
    """Hidden states [stop - start, D] at a range of grid points, the grid shifted by a share of its step."""
    grid = (torch.arange(start, stop, dtype=torch.float64) + phase) / model.config.frame_rate
    valid = (grid >= 0) & (grid < features.duration)
    speech = sample_rows(features.values, grid * features.rate).float()
    return model.hidden(speech[None], valid[None], style.batched())[0]
