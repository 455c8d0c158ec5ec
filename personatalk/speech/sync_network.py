"""Sync networks: whether speech and lips are in sync, and the offset between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.checkpoints import load_config, load_into
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.speech.config import SyncConfig
from personatalk.speech.features import FEATURE_RATE, SpeechFeatures, sample_rows

LIP_RATE = 25.0  # Hz of the lip features; the audio has 50 Hz, so that shifts are multiples of half a frame
STEPS_PER_FRAME = int(FEATURE_RATE / LIP_RATE)
MAX_SHIFT = 15  # frames in either direction
NUM_SHIFTS = 2 * STEPS_PER_FRAME * MAX_SHIFT + 1
MIN_OVERLAP = 0.6  # share of the valid lip frames that must have audio at a shift for it to be considered
PEAK_WIDTH = 3 * STEPS_PER_FRAME  # steps around the best shift that are left out of the comparison
IN_SYNC_CONFIDENCE = 6.0  # confidence per square root of a second above which a clip counts as in sync
MAX_OFFSET_S = (MAX_SHIFT - 1.5) / LIP_RATE  # s; larger offsets are at the edge of the search
MIN_FRAMES = 10  # valid lip frames below which nothing is measured


@dataclass(frozen=True, kw_only=True)
class Synchrony:
    """What a sync network measured on a clip.

    Attributes:
        offset_s: by which the picture comes after the audio.
        confidence: log odds of the best shift less the median of the shifts away from it.
        log_odds: [NUM_SHIFTS] for the audio shifted by -15 to 15 frames against the picture; minus infinity where too
            little audio would overlap with the picture.
        valid_s: seconds of valid lip frames that this rests on.
    """

    offset_s: float
    confidence: float
    log_odds: np.ndarray
    valid_s: float = 1.0

    @property
    def in_sync(self) -> bool:
        """Whether the audio is the face's own.

        By chance the confidence grows with the square root of the length. A best shift at the edge of the search is the
        tail of something else, and no evidence.
        """
        is_inside = abs(self.offset_s) <= MAX_OFFSET_S
        return is_inside and self.confidence >= IN_SYNC_CONFIDENCE * self.valid_s**0.5


@dataclass(frozen=True, kw_only=True)
class SyncEmbeddings:
    """Lips and audio in one embedding space.

    Attributes:
        lips: [B, T', E] less their mean over time, T' = T - 2 * margin; 0 where not valid.
        valid: [B, T'] 1 where every frame of an embedding's receptive field is valid.
        audio: [B, 2 * T' + NUM_SHIFTS - 1, E] from 15 frames before the first embedding of the lips.
        has_audio: [B, 2 * T' + NUM_SHIFTS - 1] 1 inside the recording.
    """

    lips: Tensor
    valid: Tensor
    audio: Tensor
    has_audio: Tensor


class SyncNetwork(nn.Module):
    """Embed lips and audio frame by frame, so that simultaneous frames have a large inner product.

    The lips are geometry less its mean over the clip, which removes the speaker's identity. The convolutions over the
    lips are not padded: at a padded edge the network would recognise the start of a clip instead of its content.

    Source: Chung and Zisserman 2016 (SyncNet), the two streams; van den Oord et al. 2018, the contrastive loss.
    Ours: geometry instead of pixels, and log odds that add up over a clip instead of distances of single windows.
    """

    audio_mean: Tensor
    audio_deviation: Tensor
    lip_deviation: Tensor

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        self.config = config
        dim, dropout = config.dim, config.dropout
        self.register_buffer("audio_mean", torch.zeros(config.audio_dim))
        self.register_buffer("audio_deviation", torch.ones(config.audio_dim))
        self.register_buffer("lip_deviation", torch.ones(config.lip_dim))
        self.audio_input = nn.Sequential(nn.Dropout(dropout), nn.Linear(config.audio_dim, dim))
        self.audio_layers = nn.ModuleList(nn.Conv1d(dim, dim, 5, padding=2) for _ in range(config.audio_layers))
        self.audio_output = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, config.embedding_dim))
        self.lip_input = nn.Sequential(nn.Dropout(dropout / 2), nn.Linear(config.lip_dim, dim))
        self.lip_layers = nn.ModuleList(nn.Conv1d(dim, dim, 5) for _ in range(config.lip_layers))
        self.lip_output = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, config.embedding_dim))
        self.scale = nn.Parameter(torch.tensor(-2.0))

    @property
    def margin(self) -> int:
        """Frames at either end of a clip that have no embedding of their own."""
        return 2 * self.config.lip_layers

    def embed_audio(self, values: Tensor) -> Tensor:
        """Embed [B, N, C] features at 50 Hz: [B, N, E]."""
        x = self.audio_input((values - self.audio_mean) / self.audio_deviation).transpose(1, 2)
        for layer in self.audio_layers:
            x = x + layer(F.gelu(x))
        return self.audio_output(x.transpose(1, 2))

    def embed_lips(self, lips: Tensor) -> Tensor:
        """Embed [B, T, L] of `lip_features`: [B, T - 2 * margin, E]."""
        x = self.lip_input((lips / self.lip_deviation).clamp(-5, 5)).transpose(1, 2)
        for layer in self.lip_layers:
            x = x[:, :, 2:-2] + layer(F.gelu(x))
        return self.lip_output(x.transpose(1, 2))

    def embed(self, lips: Tensor, valid: Tensor, audio: Tensor, has_audio: Tensor) -> SyncEmbeddings:
        """Embed lips and the audio around them.

        Args:
            lips: [B, T, L]
            valid: [B, T] bool.
            audio: [B, 2 * T + NUM_SHIFTS - 1, C] features at 50 Hz that begin 15 frames before the lips.
            has_audio: [B, 2 * T + NUM_SHIFTS - 1] bool.
        """
        embedding_valid = valid.unfold(1, 2 * self.margin + 1, 1).all(-1).float()
        inner = slice(STEPS_PER_FRAME * self.margin, -STEPS_PER_FRAME * self.margin)
        embedded = self.embed_lips(lips)
        count = embedding_valid.sum(1).clamp(min=1)[:, None, None]
        mean = (embedded * embedding_valid[..., None]).sum(1, keepdim=True) / count
        return SyncEmbeddings(
            lips=(embedded - mean) * embedding_valid[..., None],
            valid=embedding_valid,
            audio=self.embed_audio(audio)[:, inner] * self.scale.exp(),
            has_audio=has_audio[:, inner].float(),
        )


def shift_log_odds(embedded: SyncEmbeddings) -> Tensor:
    """Score every shift of the audio against the lips.

    Returns:
        [B, NUM_SHIFTS], up to a constant the log odds of the audio shifted by -15 to 15 frames, in steps of half a
        frame; minus infinity where too few lip frames have audio.
    """
    lips, valid = embedded.lips, embedded.valid
    index = STEPS_PER_FRAME * torch.arange(lips.shape[1])[:, None] + torch.arange(NUM_SHIFTS)
    index = index.expand(len(lips), -1, -1).to(lips.device)
    has_audio = embedded.has_audio[:, None].expand(-1, lips.shape[1], -1).gather(2, index)
    products = (lips @ embedded.audio.transpose(1, 2)).gather(2, index)
    overlap, count = (valid[..., None] * has_audio).sum(1), valid.sum(1)[:, None]
    score = (products * has_audio).sum(1) / overlap.clamp(min=1) * count
    return score.masked_fill(overlap < MIN_OVERLAP * count.clamp(min=1), float("-inf"))


def lip_features(expression: np.ndarray, valid: np.ndarray, template: np.ndarray, face_model: FaceModel) -> np.ndarray:
    """Describe lips over time, less their mean.

    Args:
        expression: [T, K or more] coefficients; those of speech come first.
        valid: [T] bool.
        template: [V, 3] IOD.

    Returns:
        [T, K + 2] speech coefficients, lip aperture and mouth width, the latter in IOD.
    """
    speech = expression[:, : face_model.num_speech]
    vertices = face_model.vertices(template, speech)
    lips = np.concatenate([speech, lip_aperture(vertices)[:, None], mouth_width(vertices)[:, None]], 1)
    return (lips - lips[valid].mean(0)).astype(np.float32)


def measure_synchrony(
    network: SyncNetwork, features: SpeechFeatures, geometry: FaceGeometry, face_model: FaceModel
) -> Synchrony | None:
    """Measure the offset between a clip's picture and its own audio.

    Args:
        features: of the clip's audio, of the kind that the network was trained with.
        geometry: of the clip.

    Returns:
        None where there are too few valid frames, or too little audio.
    """
    if geometry.valid.sum() < 2:
        return None
    lips = lip_features(geometry.expression, geometry.valid, geometry.template, face_model)
    return measure_lip_synchrony(network, features, lips, geometry.valid, geometry.times)


@torch.inference_mode()
def measure_lip_synchrony(
    network: SyncNetwork, features: SpeechFeatures, lips: np.ndarray, valid: np.ndarray, times: np.ndarray
) -> Synchrony | None:
    """Measure the offset between lips and audio, at any frame rate.

    Args:
        features: of the audio.
        lips: [T, L] of `lip_features`.
        valid: [T] bool.
        times: [T] s.

    Returns:
        None where there are too few valid frames, or too little audio.
    """
    grid = np.arange(times[0], times[-1] + 1e-6, 1 / LIP_RATE)
    rows = np.interp(grid, times, np.arange(len(times)))
    grid_valid = valid[np.floor(rows).astype(int)] & valid[np.ceil(rows).astype(int)]
    if len(grid) < 2 * network.margin + MIN_FRAMES or grid_valid.sum() < MIN_FRAMES:
        return None
    audio_times = grid[0] - MAX_SHIFT / LIP_RATE + np.arange(2 * len(grid) + NUM_SHIFTS - 1) / FEATURE_RATE
    has_audio = (audio_times >= 0) & (audio_times < features.duration)
    audio = sample_rows(features.values, torch.from_numpy(audio_times * features.rate)).float()
    grid_lips = sample_rows(torch.from_numpy(lips), torch.from_numpy(rows))
    embedded = network.embed(
        grid_lips[None], torch.from_numpy(grid_valid)[None], audio[None], torch.from_numpy(has_audio)[None]
    )
    log_odds = shift_log_odds(embedded)[0].numpy()
    if np.isfinite(log_odds).sum() <= 2 * PEAK_WIDTH:
        return None
    return replace(find_best_shift(log_odds), valid_s=float(grid_valid.sum()) / LIP_RATE)


def find_best_shift(log_odds: np.ndarray) -> Synchrony:
    """Find the maximum of [NUM_SHIFTS], between the steps by a parabola through three of them."""
    best = int(np.argmax(log_odds))
    position = float(best)
    if 0 < best < len(log_odds) - 1 and np.isfinite(log_odds[[best - 1, best + 1]]).all():
        before, here, after = log_odds[best - 1 : best + 2]
        position += 0.5 * (before - after) / min(before - 2 * here + after, -1e-9)
    others = log_odds[np.abs(np.arange(len(log_odds)) - best) > PEAK_WIDTH]
    others = others[np.isfinite(others)]
    audio_shift_s = (position - (NUM_SHIFTS - 1) / 2) / FEATURE_RATE
    confidence = float(log_odds[best] - np.median(others)) if len(others) else 0.0
    return Synchrony(offset_s=-float(audio_shift_s), confidence=confidence, log_odds=log_odds)


def load_sync_network(folder: Path, name: str = "sync") -> SyncNetwork:
    """Load a sync network.

    Args:
        name: "sync", on the features of stage 1's speech encoder, or "sync_judge", on log-mel spectrograms, which
            was trained on other persons and judges the results.

    Raises:
        CheckpointError: its weights are missing or do not fit.
    """
    network = SyncNetwork(load_config(SyncConfig, folder / f"{name}.json"))
    load_into(network, folder / f"{name}.safetensors")
    return network.eval()
