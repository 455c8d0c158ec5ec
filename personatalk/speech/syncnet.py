"""SyncNet, to be used with the weights that its authors publish: offset, LSE-D and LSE-C of a face and its speech."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from python_speech_features import mfcc
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from personatalk.errors import CheckpointError
from personatalk.speech.features import SAMPLE_RATE

FRAME_RATE = 25.0  # Hz of the face crops
CROP_PX = 224
WINDOW_FRAMES = 5  # face crops of a window
COLUMNS_PER_FRAME = 4  # cepstra at 100 Hz
NUM_CEPSTRA = 13
MAX_SHIFT = 15  # frames in either direction
BATCH = 20  # windows embedded at once


@dataclass(frozen=True, kw_only=True)
class SyncNetResult:
    """What SyncNet measures on a video.

    Attributes:
        offset_s: by which the picture comes after the audio.
        distance: LSE-D, mean distance of the embeddings at the best shift; lower is better.
        confidence: LSE-C, median distance over the shifts less the smallest; higher is better.
    """

    offset_s: float
    distance: float
    confidence: float


class SyncNet(nn.Module):
    """The two streams of SyncNet, with the parameter names of its published weights.

    Source: Chung and Zisserman 2016, Out of time: automated lip sync in the wild; sizes as published with the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_block(nn.Conv2d(1, 64, 3, padding=1)),
            nn.MaxPool2d(1),
            *_block(nn.Conv2d(64, 192, 3, padding=1)),
            nn.MaxPool2d(3, (1, 2)),
            *_block(nn.Conv2d(192, 384, 3, padding=1)),
            *_block(nn.Conv2d(384, 256, 3, padding=1)),
            *_block(nn.Conv2d(256, 256, 3, padding=1)),
            nn.MaxPool2d(3, 2),
            *_block(nn.Conv2d(256, 512, (5, 4))),
        )
        self.netcnnlip = nn.Sequential(
            *_block(nn.Conv3d(3, 96, (WINDOW_FRAMES, 7, 7), (1, 2, 2))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(256, 512, (1, 6, 6))),
        )
        self.netfcaud, self.netfclip = (
            nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024)) for _ in range(2)
        )

    def embed_audio(self, windows: Tensor) -> Tensor:
        """Embed windows of cepstra [N, 1, 13, 20]: [N, 1024]."""
        return self.netfcaud(self.netcnnaud(windows).flatten(1))

    def embed_faces(self, windows: Tensor) -> Tensor:
        """Embed windows of face crops [N, 3, 5, 224, 224], BGR in [0, 255]: [N, 1024]."""
        return self.netfclip(self.netcnnlip(windows).flatten(1))


def _block(layer: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm3d
    return layer, norm(layer.out_channels), nn.ReLU()


def load_syncnet(path: Path) -> SyncNet:
    """Load SyncNet's weights, as published (a pickle, of which only tensors are read) or as safetensors.

    Raises:
        CheckpointError: the file is missing, is no file of weights, or does not fit.
    """
    network = SyncNet()
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(weights, strict=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no weights of SyncNet: {error}") from error
    return network.eval().requires_grad_(False)


def cepstra(waveform: np.ndarray) -> np.ndarray:
    """Mel cepstra of [S] samples at 16 kHz: [M, 13] at 100 Hz, the first of them the logarithm of the energy.

    SyncNet was trained on those of python_speech_features with its defaults, of 16-bit samples. Kaldi's, which
    torchaudio has, place the mel filters elsewhere and differ by as much as the values themselves.
    """
    return mfcc(waveform.astype(np.float64) * 32768, SAMPLE_RATE, numcep=NUM_CEPSTRA)


@torch.inference_mode()
def embed_streams(network: SyncNet, crops: np.ndarray, columns: np.ndarray) -> tuple[Tensor, Tensor]:
    """Embed every window of faces and audio.

    Args:
        crops: [T, 224, 224, 3] uint8 BGR at 25 Hz.
        columns: [M, 13] of `cepstra`.

    Returns:
        embeddings [N, 1024] of the faces and of the audio, one for each frame at which a window of both begins.
    """
    count = min(len(crops), len(columns) // COLUMNS_PER_FRAME) - WINDOW_FRAMES + 1
    faces, audio = [torch.zeros(0, 1024)], [torch.zeros(0, 1024)]
    for start in range(0, count, BATCH):
        indices = range(start, min(start + BATCH, count))
        windows = np.stack([crops[i : i + WINDOW_FRAMES] for i in indices])
        faces.append(network.embed_faces(torch.from_numpy(windows).permute(0, 4, 1, 2, 3).float()))
        windows = np.stack(
            [columns[COLUMNS_PER_FRAME * i : COLUMNS_PER_FRAME * (i + WINDOW_FRAMES)].T for i in indices]
        )
        audio.append(network.embed_audio(torch.from_numpy(windows)[:, None].float()))
    return torch.cat(faces), torch.cat(audio)


def compare_streams(faces: Tensor, audio: Tensor) -> SyncNetResult | None:
    """Find the shift at which the embeddings [N, E] are nearest; None where there are none."""
    if not len(faces):
        return None
    padded = nn.functional.pad(audio, (0, 0, MAX_SHIFT, MAX_SHIFT))
    shifted = padded.unfold(0, 2 * MAX_SHIFT + 1, 1).transpose(1, 2)  # [N, shifts, E]
    distances = (faces[:, None] - shifted + 1e-6).norm(dim=-1).mean(0)
    best = int(distances.argmin())
    return SyncNetResult(
        offset_s=(MAX_SHIFT - best) / FRAME_RATE,
        distance=float(distances[best]),
        confidence=float(distances.median() - distances[best]),
    )
