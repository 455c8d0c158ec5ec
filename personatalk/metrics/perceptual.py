"""Frozen image networks that judge pictures: LPIPS on AlexNet, and EfficientNet-Lite0 features."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.checkpoints import DEFAULT_FOLDER, load_frozen

LPIPS_FILES = ("lpips_alexnet.safetensors",)
EFFICIENTNET_FILES = ("efficientnet_lite0.safetensors",)


class Lpips(nn.Module):
    """Learned perceptual distance between two images, version 0.1 on AlexNet.

    Source: Zhang et al. 2018 (arXiv 1801.03924), equation 1; weights: LPIPS project, BSD-2.
    """

    shift: Tensor
    scale: Tensor
    WIDTHS = (64, 192, 384, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        kernels, strides, paddings = (11, 5, 3, 3, 3), (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
        inputs = (3, *self.WIDTHS[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, s, p)
            for i, o, k, s, p in zip(inputs, self.WIDTHS, kernels, strides, paddings, strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in self.WIDTHS)
        # the mean and deviation of ImageNet, for images in [-1, 1]
        self.register_buffer("shift", torch.tensor((-0.030, -0.088, -0.188)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor((0.458, 0.448, 0.450)).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, *paths: Path) -> Lpips:
        """Build the network with its weights, frozen; those that ship unless paths are given.

        Raises:
            CheckpointError: a file is missing or does not fit.
        """
        return load_frozen(cls(), paths or [DEFAULT_FOLDER / name for name in LPIPS_FILES], _lpips_name)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the five layers [B, C, h, w] of images [B, 3, H, W] in [0, 1]; H and W at least 31."""
        x = (images * 2 - 1 - self.shift) / self.scale
        layers = []
        for index, conv in enumerate(self.convs):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(conv(x))
            layers.append(x)
        return layers

    def forward(self, first: Tensor, second: Tensor, weight: Tensor | None = None) -> Tensor:
        """Measure how different two images look.

        Args:
            first: [B, 3, H, W] in [0, 1]; H and W at least 31.
            second: [B, 3, H, W] in [0, 1].
            weight: [B, 1, H, W] how much a place counts, 1 on average; all alike without it.

        Returns:
            [B] at least 0; 0 where the two are equal.
        """
        return self.compare(self.features(first), self.features(second), weight)

    def compare(self, first: list[Tensor], second: list[Tensor], weight: Tensor | None = None) -> Tensor:
        """Measure as `forward` how different [B] two images are by what `features` returned for each."""
        distance = first[0].new_zeros(len(first[0]))
        for head, a, b in zip(self.heads, first, second, strict=True):
            difference = head((_unit_channels(a) - _unit_channels(b)).square())
            if weight is not None:
                difference = difference * F.adaptive_avg_pool2d(weight, difference.shape[-2:])
            distance = distance + difference.mean((1, 2, 3))
        return distance


class EfficientNetLite0(nn.Module):
    """ImageNet features, light enough to serve as a training loss on a CPU.

    Source: EfficientNet (arXiv 1905.11946) and its "lite" edition: no squeeze and excitation, ReLU6, stem and head of
        fixed width; weights Apache-2.0.
    """

    # (repeats, kernel, stride, expansion, width)
    STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
              (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip
    STAGE_STRIDES = (2, 4, 8, 16, 16, 32, 32)
    STEM_WIDTH, HEAD_WIDTH = 32, 1280

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ConvNorm(3, self.STEM_WIDTH, kernel=3, stride=2)
        stages, width = [], self.STEM_WIDTH
        for repeats, kernel, stride, expansion, out in self.STAGES:
            blocks = []
            for index in range(repeats):
                blocks.append(_InvertedResidual(width, out, kernel, stride if index == 0 else 1, expansion))
                width = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = _ConvNorm(width, self.HEAD_WIDTH, kernel=1)

    @classmethod
    def load(cls, *paths: Path) -> EfficientNetLite0:
        """Build the network with its weights, frozen; those that ship unless paths are given.

        Raises:
            CheckpointError: a file is missing or does not fit.
        """
        return load_frozen(cls(), paths or [DEFAULT_FOLDER / name for name in EFFICIENTNET_FILES], _efficientnet_name)

    def features(self, images: Tensor, max_stride: int = 8) -> list[Tensor]:
        """Return one feature map a stage, stopping early so that a loss stays cheap.

        Args:
            images: [B, 3, H, W] in [0, 1].
            max_stride: stages coarser than this are not computed: 2, 4, 8, 16 or 32.

        Returns:
            [B, C, H / stride, W / stride] for each stage; at most 7.
        """
        x = self.stem((images * 255 - 127) / 128)
        layers = []
        for stage, stride in zip(self.stages, self.STAGE_STRIDES, strict=True):
            if stride > max_stride:
                break
            x = stage(x)
            layers.append(x)
        return layers

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled features [B, 1280] of images [B, 3, H, W] in [0, 1]."""
        return self.head(self.features(images, max_stride=32)[-1]).mean((2, 3))


class _ConvNorm(nn.Module):
    """Convolution with TensorFlow's "same" padding, batch norm, ReLU6 by choice."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self.kernel, self.stride, self.act = kernel, stride, act

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(F.pad(x, self._padding(x.shape[-1]) + self._padding(x.shape[-2]))))
        return F.relu6(x) if self.act else x

    def _padding(self, size: int) -> tuple[int, int]:
        total = max(0, (-(-size // self.stride) - 1) * self.stride + self.kernel - size)
        return total // 2, total - total // 2


class _InvertedResidual(nn.Module):
    """EfficientNet's block: widen, filter each channel, narrow, add."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _ConvNorm(inputs, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _ConvNorm(width, width, kernel, stride=stride, groups=width)
        self.project = _ConvNorm(width, outputs, 1, act=False)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


def _unit_channels(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _lpips_name(name: str) -> str:
    name = re.sub(r"backbone\.Conv_(\d)\.", r"convs.\1.", name)
    return re.sub(r"head\.(\d)\.Conv_0\.", r"heads.\1.", name).replace("kernel", "weight")


def _efficientnet_name(name: str) -> str | None:
    """Name a weight of the PyPI package's state dict as here; None for the classifier, which is left out."""
    if name.startswith("_fc."):
        return None
    for theirs, ours in (
        ("_conv_stem", "stem.conv"),
        ("_bn0", "stem.norm"),
        ("_conv_head", "head.conv"),
        ("_bn1", "head.norm"),
    ):
        if name.startswith(theirs + "."):
            return ours + name[len(theirs) :]
    _, index, layer, leaf = name.split(".")
    stage, block = _stage_and_block(int(index))
    # a block that does not widen has no first convolution, but its norms keep their numbers
    part = {"_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
            "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm"}[layer]  # fmt: skip
    return f"stages.{stage}.{block}.{part}.{leaf}"


def _stage_and_block(index: int) -> tuple[int, int]:
    for stage, (repeats, *_) in enumerate(EfficientNetLite0.STAGES):
        if index < repeats:
            return stage, index
        index -= repeats
    raise ValueError(f"EfficientNet-Lite0 has no block {index} past its last")
