"""The occluder network: which pixels of a window show something that stands in front of the face.

It looks at one frame, so it needs no other of the clip: what is there from the first frame to the last is found as
well as what passes, and a hand as well as a cup, though it has the face's own colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.checkpoints import load_config, load_into
from personatalk.geometry.mesh import NUM_MAP_CHANNELS
from personatalk.unet import UNet

STRIDE = 2  # px of the half window that one place of the network's maps covers
MIDDLE = 0.5  # of colours


@dataclass(frozen=True, kw_only=True)
class OccluderConfig:
    """Sizes of the network.

    Attributes:
        widths: channels at 1/2, 1/4 and 1/8 of the half window.
    """

    widths: tuple[int, int, int] = (24, 48, 96)


class OccluderNetwork(UNet):
    """Tells occluders from faces, pixel by pixel: a U-Net over half the renderer's window.

    Args:
        config: sizes.

    Ours: trained on faces with things drawn over them (`training/occlusion`), since no clips with true masks exist.
    Random shapes and textures teach that whatever is no face is an occluder (as in arXiv 2205.06218).
    """

    def __init__(self, config: OccluderConfig) -> None:
        super().__init__(3 * STRIDE**2 + NUM_MAP_CHANNELS, config.widths)
        self.config = config
        self.leave = nn.Conv2d(config.widths[0], STRIDE**2, 3, padding=1)

    def forward(self, windows: Tensor, geometry: Tensor) -> Tensor:
        """Judge windows.

        Args:
            windows: [B, 3, 80, 96] in [0, 1].
            geometry: [B, 8, 40, 48] geometry maps.

        Returns:
            [B, 1, 80, 96] logits, above 0 where something stands in front of the face.
        """
        pixels = F.pixel_unshuffle(windows - MIDDLE, STRIDE)
        fine = self.through(self.enter(torch.cat([pixels, geometry.to(pixels.dtype)], 1)))
        return F.pixel_shuffle(self.leave(F.silu(fine)), STRIDE)


def load_occluder_network(checkpoints: Path) -> OccluderNetwork:
    """Load the network, its weights in the channels-last format, which CPUs convolve faster.

    Raises:
        CheckpointError: weights or configuration are missing or do not fit.
    """
    network = OccluderNetwork(load_config(OccluderConfig, checkpoints / "occluder.json"))
    load_into(network, checkpoints / "occluder.safetensors")
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def occluder_probability(network: OccluderNetwork, window: np.ndarray, geometry: np.ndarray) -> np.ndarray:
    """Judge one window.

    Args:
        network: judges.
        window: [80, 96, 3] uint8 RGB.
        geometry: [8, 40, 48] geometry map of the face in the window.

    Returns:
        [80, 96] float32 in [0, 1], the probability that something stands in front of the face.
    """
    image = torch.from_numpy(window.transpose(2, 0, 1).astype(np.float32) / 255)
    return torch.sigmoid(network(image[None], torch.from_numpy(geometry)[None]))[0, 0].numpy()
