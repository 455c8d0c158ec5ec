"""A small U-Net over a window, and what it is built of; the networks of occlusion and of stage 2 are such."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def zero_parameters(layer: nn.Module) -> None:
    """Let a layer start with no effect: all its weights and biases are zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def upsample(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize [B, C, h, w] bilinearly."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        zero_parameters(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, h, w] for the same."""
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class UNet(nn.Module):
    """Three levels, 1/4, 1/8 and 1/16 of the window, down and up again; networks add what enters and what leaves.

    Args:
        num_in: channels of what `enter`, a 1x1 convolution at 1/4 of the window, takes.
        widths: channels of the three levels.
    """

    def __init__(self, num_in: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.enter = nn.Conv2d(num_in, fine, 1)
        self.fine_in = ResidualBlock(fine)
        self.down1 = nn.Conv2d(fine, middle, 2, stride=2)
        self.middle_in = ResidualBlock(middle)
        self.down2 = nn.Conv2d(middle, coarse, 2, stride=2)
        self.coarse = nn.Sequential(ResidualBlock(coarse), ResidualBlock(coarse))
        self.up2 = nn.Conv2d(coarse, middle, 1)
        self.middle_out = ResidualBlock(middle)
        self.up1 = nn.Conv2d(middle, fine, 1)
        self.fine_out = ResidualBlock(fine)

    def through(self, entered: Tensor) -> Tensor:
        """Take what `enter` gave, [B, C, h, w], down to 1/4 of its size and up again: the same shape."""
        fine = self.fine_in(entered)
        middle = self.middle_in(self.down1(fine))
        coarse = self.coarse(self.down2(middle))
        middle = self.middle_out(middle + upsample(self.up2(coarse), middle.shape[-2:]))
        return self.fine_out(fine + upsample(self.up1(middle), fine.shape[-2:]))
