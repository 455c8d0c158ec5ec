"""Do a mouth and a sound belong together, and which comes first: two networks that meet in one space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.checkpoints import load_config, load_into
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.speech.config import SyncConfig
from personatalk.speech.encoders import (
    FEATURE_RATE,
    SAMPLES_PER_FEATURE,
    SpeechFeatures,
    level_db,
    log_mel,
    mel_bands,
    normalise_level,
    sample_rows,
)

LIP_RATE = 25.0  # Hz of the mouth; the sound is at 50 Hz, so that shifts go by half a frame
STEPS_PER_FRAME = int(FEATURE_RATE / LIP_RATE)
MAX_SHIFT = 15  # frames either way
NUM_SHIFTS = 2 * STEPS_PER_FRAME * MAX_SHIFT + 1
MIN_OVERLAP = 0.6  # of the mouth's frames must be heard at a shift for it to be considered
AWAY = 3 * STEPS_PER_FRAME  # half frames from the best shift, where the evidence against it is read
IN_SYNC_CONFIDENCE = 6.0  # confidence per root of a second of what in_sync
MEL_DIM = 160  # two columns of 80 bands


@dataclass(frozen=True, kw_only=True)
class Synchrony:
    """What a sync network found.

    Attributes:
        offset_s: by which the picture comes after the sound.
        confidence: how much better the best shift is than the typical other one, in natural logarithms of the odds.
        evidence: [NUM_SHIFTS] for the sound moved by -15 to 15 frames against the picture, same unit; minus
            infinity where too little would be heard.
        seen_s: seconds of the mouth that this rests on.
    """

    offset_s: float
    confidence: float
    evidence: np.ndarray
    seen_s: float = 1.0

    @property
    def in_sync(self) -> bool:
        """Whether the sound may be taken for the face's own: chance peaks grow with the root of the length."""
        return self.confidence >= IN_SYNC_CONFIDENCE * self.seen_s**0.5


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Mouths and sounds in one space.

    Attributes:
        mouth: [B, T', E] about its mean, T' = T - 2 * margin; 0 where not usable.
        usable: [B, T'] 1 where all that an embedding looked at was seen.
        sound: [B, 2 * T' + NUM_SHIFTS - 1, E] from 15 frames before the first embedding of the mouth.
        heard: [B, 2 * T' + NUM_SHIFTS - 1] 1 where there is sound.
    """

    mouth: Tensor
    usable: Tensor
    sound: Tensor
    heard: Tensor


class SyncNetwork(nn.Module):
    """Embed mouth and sound, frame by frame, so that what happens together points the same way.

    The mouth is seen as geometry, about its mean over the clip: who speaks does not matter. Its convolutions do not
    look beyond the ends of a clip, where a beginning would be recognised by its edge.

    Source: Chung and Zisserman 2016 (SyncNet), the two streams; van den Oord et al. 2018, the contrast.
    Ours: geometry instead of pixels, and evidence that adds up over a clip instead of distances of single windows.
    """

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
        """Frames at either end of a clip that are seen, but have no embedding."""
        return 2 * self.config.lip_layers

    def embed_sound(self, values: Tensor) -> Tensor:
        """Embed [B, N, C] features at 50 Hz: [B, N, E]."""
        x = self.audio_input((values - self.audio_mean) / self.audio_deviation).transpose(1, 2)
        for layer in self.audio_layers:
            x = x + layer(F.gelu(x))
        return self.audio_output(x.transpose(1, 2))

    def embed_lips(self, lips: Tensor) -> Tensor:
        """Embed [B, T, L] of `see_lips`: [B, T - 2 * margin, E]."""
        x = self.lip_input((lips / self.lip_deviation).clamp(-5, 5)).transpose(1, 2)
        for layer in self.lip_layers:
            x = x[:, :, 2:-2] + layer(F.gelu(x))
        return self.lip_output(x.transpose(1, 2))

    def embed(self, lips: Tensor, seen: Tensor, sound: Tensor, heard: Tensor) -> Embedded:
        """Embed mouths and the sounds around them.

        Args:
            lips: [B, T, L]
            seen: [B, T] bool.
            sound: [B, 2 * T + NUM_SHIFTS - 1, C] features at 50 Hz that begin 15 frames before the mouth.
            heard: [B, 2 * T + NUM_SHIFTS - 1] bool.
        """
        usable = seen.unfold(1, 2 * self.margin + 1, 1).all(-1).float()  # every frame that an embedding looked at
        inner = slice(STEPS_PER_FRAME * self.margin, -STEPS_PER_FRAME * self.margin)
        mouth = self.embed_lips(lips)
        mean = (mouth * usable[..., None]).sum(1, keepdim=True) / usable.sum(1).clamp(min=1)[:, None, None]
        return Embedded(
            mouth=(mouth - mean) * usable[..., None],
            usable=usable,
            sound=self.embed_sound(sound)[:, inner] * self.scale.exp(),
            heard=heard[:, inner].float(),
        )


def evidence_of(embedded: Embedded) -> Tensor:
    """Weigh every shift of the sounds against the mouths.

    Returns:
        [B, NUM_SHIFTS], up to a constant the log odds of the sound moved by -15 to 15 frames, by half frames; minus
        infinity where too little is heard.
    """
    mouth, usable = embedded.mouth, embedded.usable
    index = STEPS_PER_FRAME * torch.arange(mouth.shape[1])[:, None] + torch.arange(NUM_SHIFTS)
    index = index.expand(len(mouth), -1, -1)
    heard = embedded.heard[:, None].expand(-1, mouth.shape[1], -1).gather(2, index)
    products = (mouth @ embedded.sound.transpose(1, 2)).gather(2, index)
    overlap, count = (usable[..., None] * heard).sum(1), usable.sum(1)[:, None]
    score = (products * heard).sum(1) / overlap.clamp(min=1) * count
    return score.masked_fill(overlap < MIN_OVERLAP * count.clamp(min=1), float("-inf"))


def see_lips(expression: np.ndarray, valid: np.ndarray, template: np.ndarray, face_model: FaceModel) -> np.ndarray:
    """Describe a mouth over time, about its mean.

    Args:
        expression: [T, K or more] coefficients; those of speech come first.
        valid: [T] bool, frames to be trusted.
        template: [V, 3] IOD.

    Returns:
        [T, K + 2] speech coefficients, and openness and spread in IOD.
    """
    speech = expression[:, : face_model.num_speech]
    vertices = face_model.vertices(template, speech)
    lips = np.concatenate([speech, lip_aperture(vertices)[:, None], mouth_width(vertices)[:, None]], 1)
    return (lips - lips[valid].mean(0)).astype(np.float32)


def measure_synchrony(
    network: SyncNetwork, features: SpeechFeatures, geometry: FaceGeometry, face_model: FaceModel
) -> Synchrony | None:
    """Find how far a clip's picture is from its own sound.

    Args:
        features: of the clip's sound, such as the network hears.
        geometry: of the clip.

    Returns:
        None where the face, or the sound, is there for too short a time.
    """
    if geometry.valid.sum() < 2:
        return None
    lips = see_lips(geometry.expression, geometry.valid, geometry.template, face_model)
    return synchrony_of(network, features, lips, geometry.valid, geometry.times)


@torch.inference_mode()
def synchrony_of(
    network: SyncNetwork, features: SpeechFeatures, lips: np.ndarray, valid: np.ndarray, times: np.ndarray
) -> Synchrony | None:
    """The same for a mouth [T, L] of `see_lips`, valid [T] bool, at times [T] s of any rate."""
    grid = np.arange(times[0], times[-1] + 1e-6, 1 / LIP_RATE)
    rows = np.interp(grid, times, np.arange(len(times)))
    seen = valid[np.floor(rows).astype(int)] & valid[np.ceil(rows).astype(int)]
    if len(grid) < 2 * network.margin + 10 or seen.sum() < 10:
        return None
    moments = grid[0] - MAX_SHIFT / LIP_RATE + np.arange(2 * len(grid) + NUM_SHIFTS - 1) / FEATURE_RATE
    heard = (moments >= 0) & (moments < features.duration)
    sound = sample_rows(features.values, torch.from_numpy(moments * features.rate)).float()
    lips_at_grid = sample_rows(torch.from_numpy(lips), torch.from_numpy(rows))
    seen_and_heard = torch.from_numpy(seen)[None], sound[None], torch.from_numpy(heard)[None]
    evidence = evidence_of(network.embed(lips_at_grid[None], *seen_and_heard))[0].numpy()
    if np.isfinite(evidence).sum() <= 2 * AWAY:
        return None
    return replace(read_evidence(evidence), seen_s=float(seen.sum()) / LIP_RATE)


def read_evidence(evidence: np.ndarray) -> Synchrony:
    """Find the best shift of [NUM_SHIFTS], between half frames by a parabola."""
    best = int(np.argmax(evidence))
    place = float(best)
    if 0 < best < len(evidence) - 1 and np.isfinite(evidence[[best - 1, best + 1]]).all():
        before, here, after = evidence[best - 1 : best + 2]
        place += 0.5 * (before - after) / min(before - 2 * here + after, -1e-9)
    away = evidence[np.abs(np.arange(len(evidence)) - best) > AWAY]
    away = away[np.isfinite(away)]
    shift_s = (place - (NUM_SHIFTS - 1) / 2) / FEATURE_RATE  # of the sound; the picture's is the other way
    confidence = float(evidence[best] - np.median(away)) if len(away) else 0.0
    return Synchrony(offset_s=-float(shift_s), confidence=confidence, evidence=evidence)


def mel_features(waveform: np.ndarray) -> SpeechFeatures:
    """Hear a log-mel spectrogram, two columns side by side at 50 Hz: values [N, 160]."""
    sound = normalise_level(torch.from_numpy(np.ascontiguousarray(waveform, np.float32)))
    count = max(1, -(-len(sound) // SAMPLES_PER_FEATURE))
    padded = F.pad(sound, (0, count * SAMPLES_PER_FEATURE - len(sound)))
    mel = log_mel(padded, torch.from_numpy(mel_bands()))
    return SpeechFeatures(values=mel.T.reshape(count, MEL_DIM).contiguous(), level_db=level_db(sound, count))


def load_sync_network(folder: Path, name: str = "sync") -> SyncNetwork:
    """Load a sync network: "sync" hears what stage 1 hears, "sync_judge" is the judge.

    Raises:
        CheckpointError: its weights are missing or do not fit.
    """
    network = SyncNetwork(load_config(SyncConfig, folder / f"{name}.json"))
    load_into(network, folder / f"{name}.safetensors")
    return network.eval()
