"""Whether two pictures show the same person: dlib's face embedding."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.checkpoints import DEFAULT_FOLDER, load_frozen
from personatalk.media.picture import Pixels

# in two files because the host takes none over 10 MB
FACE_FILES = ("dlib_face_resnet_1.safetensors", "dlib_face_resnet_2.safetensors")

CHIP_PX = 150
# where dlib puts the outer and inner corner of either eye and the base of the nose, in sides of an unpadded chip
CHIP_TEMPLATE = np.array(
    ((0.8596, 0.2135), (0.6461, 0.2290), (0.1206, 0.2137), (0.3341, 0.2291), (0.4901, 0.6278)), np.float32
)
CHIP_LANDMARKS = (263, 362, 33, 133, 2)  # the same five points in MediaPipe's mesh
CHIP_PADDING = 0.25


class FaceEmbedder(nn.Module):
    """dlib's face recognition network: two pictures of one person lie closer than .6.

    Source: dlib (dlib_face_recognition_resnet_model_v1, public domain), as converted by face-api (MIT).
    """

    mean: Tensor
    BLOCKS = (("conv32_1", 32, 32), ("conv32_2", 32, 32), ("conv32_3", 32, 32),
              ("conv64_down", 32, 64), ("conv64_1", 64, 64), ("conv64_2", 64, 64), ("conv64_3", 64, 64),
              ("conv128_down", 64, 128), ("conv128_1", 128, 128), ("conv128_2", 128, 128),
              ("conv256_down", 128, 256), ("conv256_1", 256, 256), ("conv256_2", 256, 256),
              ("conv256_down_out", 256, 256))  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.conv32_down = _ConvScale(3, 32, kernel=7, stride=2)
        for name, inputs, outputs in self.BLOCKS:
            self.add_module(name, _FaceBlock(inputs, outputs, down="down" in name))
        self.fc = nn.Linear(256, 128, bias=False)
        self.register_buffer("mean", torch.tensor((122.782, 117.001, 104.298)).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, *paths: Path) -> FaceEmbedder:
        """Build the network with its weights, frozen; those that ship unless paths are given.

        Raises:
            CheckpointError: a file is missing or does not fit.
        """
        return load_frozen(cls(), paths or [DEFAULT_FOLDER / name for name in FACE_FILES], _face_name)

    def forward(self, chips: Tensor) -> Tensor:
        """Embed aligned faces.

        Args:
            chips: [B, 3, 150, 150] RGB in [0, 1], cut by `cut_face_chip`.

        Returns:
            [B, 128]; compare by Euclidean distance.
        """
        x = F.relu(self.conv32_down((chips * 255 - self.mean) / 255))
        x = F.max_pool2d(x, 3, 2)
        for name, *_ in self.BLOCKS:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


def cut_face_chip(image: Pixels, landmarks: np.ndarray) -> np.ndarray:
    """Cut the upright face that `FaceEmbedder` expects.

    Args:
        image: uint8 [H, W, 3] RGB.
        landmarks: [478, 2 or more] px in the image.

    Returns:
        uint8 [150, 150, 3] RGB.

    Ours: dlib's five points are taken from MediaPipe's mesh.
    """
    affine = chip_from_image(landmarks)
    affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5  # cv2 counts from the middle of the first pixel
    return cv2.warpAffine(np.asarray(image), affine, (CHIP_PX, CHIP_PX), flags=cv2.INTER_LINEAR)


def chip_from_image(landmarks: np.ndarray) -> np.ndarray:
    """Find the similarity that takes a picture into the chip: [2, 3], first pixel centres at .5.

    Args:
        landmarks: [478, 2 or more] px in the image.
    """
    target = (CHIP_TEMPLATE + CHIP_PADDING) / (1 + 2 * CHIP_PADDING) * CHIP_PX
    return _similarity(landmarks[list(CHIP_LANDMARKS), :2].astype(np.float64), target)


def embed(embedder: FaceEmbedder, chips: np.ndarray) -> np.ndarray:
    """[N, 128] of chips uint8 [N, 150, 150, 3]."""
    device = next(embedder.parameters()).device
    with torch.no_grad():
        return embedder(torch.from_numpy(chips).to(device).permute(0, 3, 1, 2).float() / 255).cpu().numpy()


class _ConvScale(nn.Module):
    """Convolution, then a scale and a bias for each channel."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0)
        self.weights = nn.Parameter(torch.ones(outputs))
        self.biases = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.weights.view(-1, 1, 1) + self.biases.view(-1, 1, 1)


class _FaceBlock(nn.Module):
    """dlib's residual block; where it halves the picture, the shortcut is averaged and padded with zeros."""

    def __init__(self, inputs: int, outputs: int, *, down: bool) -> None:
        super().__init__()
        self.conv1 = _ConvScale(inputs, outputs, stride=2 if down else 1)
        self.conv2 = _ConvScale(outputs, outputs)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            y = F.pad(y, (0, x.shape[-1] - y.shape[-1], 0, x.shape[-2] - y.shape[-2]))
        return F.relu(x + y)


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fit target = s R source + t in the least-squares sense; [N, 2] each, returns [2, 3]."""
    a, b = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean()).real
    shift = b.mean() - turn * a.mean()
    return np.array(((turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)))


def _face_name(name: str) -> str:
    if name == "fc":
        return "fc.weight"
    return name.replace(".conv.filters", ".conv.weight").replace(".scale.", ".")
