"""The inside of the mouth where no reference shows it: teeth, tongue and shadow, painted by a small network.

Attention takes every pixel from the references. A person whose mouth never opens as far as stage 1 asks gives none for
the gap between the lips: the lip line is stretched over it. There, and only there, a network paints: it sees the
rendered lips and skin around the gap, what the references gave inside of it, and the shape of the lips. The person's
own teeth win wherever a reference shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.checkpoints import load_config, load_into
from personatalk.face_rendering.colour_transfer import soften
from personatalk.face_rendering.renderer import Rendering, Target
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.face_model import INNER_LIPS, smoothstep
from personatalk.geometry.mesh import MAP_STRIDE, NUM_MAP_CHANNELS, FaceMesh
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.unet import UNet, upsample, zero_parameters

ROWS, COLUMNS = slice(16, 112), slice(40, 152)  # px of the window: what the network looks at
MAP_ROWS, MAP_COLUMNS = slice(4, 28), slice(10, 38)  # the same places of the geometry map
LOWER_INNER_LIP = INNER_LIPS[:11]  # from the person's right corner of the mouth to the left one
UPPER_INNER_LIP = (INNER_LIPS[0], *reversed(INNER_LIPS[10:]))
TOUCHING_IOD = 0.01  # a gap so small shows nothing
MARGIN_PX = 3  # of the window, by which lips are painted around the gap
# shares of a gap that references do not show, from which painting sets in, and is whole: measured, .1 and .35 make dubs
# with open references worse and those with shut ones no better
MISSING = 0.25, 0.6
OPEN_IOD = 0.015, 0.04  # gaps from which painting sets in, and is whole
NUM_GAP_MAPS = 4
HALF_WIDTH_IOD = 0.3  # of a mouth; makes coordinates about 1 at its corners
MIDDLE = 0.3  # of colours; where the network's output begins
SHARPENING = 0.8  # share of the finest detail that is added once more


@dataclass(frozen=True, kw_only=True)
class MouthInteriorConfig:
    """Sizes of the network.

    Attributes:
        widths: channels at 1/4, 1/8 and 1/16 of the window.
        fine_width: channels at 1/2 of it.
    """

    widths: tuple[int, int, int] = (48, 80, 112)
    fine_width: int = 24


@dataclass(frozen=True, kw_only=True)
class MouthGap:
    """The gap between the lips of one target, on ROWS and COLUMNS of the window.

    Attributes:
        maps: [4, 96, 112]: where the network paints, 0 or 1; from corner to corner, -1 to 1; from the upper to the
            lower lip, 0 to 1; which share of the gap the references do not show, 0 to 1.
        share: [96, 112] in [0, 1], how far what is painted replaces what was rendered.
    """

    maps: np.ndarray
    share: np.ndarray


class MouthInterior(UNet):
    """Paints the inside of a mouth: a U-Net over the mouth's part of the window.

    Args:
        config: sizes.

    Ours: the paper does not say what happens where no reference shows the inside of the mouth.
    """

    def __init__(self, config: MouthInteriorConfig) -> None:
        pixels, half = 3 + NUM_GAP_MAPS, config.fine_width
        super().__init__(pixels * MAP_STRIDE**2 + NUM_MAP_CHANNELS, config.widths)
        self.config = config
        self.half_in = nn.Conv2d(config.widths[0] + pixels * 4, half, 3, padding=1)
        self.half_out = nn.Conv2d(half, 12, 3, padding=1)
        zero_parameters(self.half_out)

    def forward(self, image: Tensor, maps: Tensor, geometry: Tensor) -> Tensor:
        """Paint mouths.

        Args:
            image: [B, 3, 96, 112] in [0, 1], rendered, ROWS and COLUMNS of the window.
            maps: [B, 4, 96, 112] of `MouthGap`.
            geometry: [B, 8, 24, 28], MAP_ROWS and MAP_COLUMNS of the geometry map.

        Returns:
            [B, 3, 96, 112], about in [0, 1]; right where the first map is 1.
        """
        seen = torch.cat([image, maps], 1)
        fine = self.through(self.enter(torch.cat([F.pixel_unshuffle(seen, MAP_STRIDE), geometry], 1)))
        halved = F.pixel_unshuffle(seen, 2)
        half = F.silu(self.half_in(torch.cat([upsample(F.silu(fine), halved.shape[-2:]), halved], 1)))
        return MIDDLE + F.pixel_shuffle(self.half_out(half), 2)


def load_mouth_interior(checkpoints: Path) -> MouthInterior:
    """Load the network.

    Raises:
        CheckpointError: weights or configuration are missing or do not fit.
    """
    network = MouthInterior(load_config(MouthInteriorConfig, checkpoints / "mouth_interior.json"))
    load_into(network, checkpoints / "mouth_interior.safetensors")
    return network.eval()


def gap_profile(vertices: np.ndarray) -> np.ndarray:
    """Gaps between the inner lips from corner to corner: vertices [..., V, 3] -> [..., 11], same unit."""
    upper, lower = vertices[..., list(UPPER_INNER_LIP), :], vertices[..., list(LOWER_INNER_LIP), :]
    return np.linalg.norm(upper - lower, axis=-1)


def missing_share(gaps: np.ndarray, reference_gaps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Which share of a gap the references do not show.

    Args:
        gaps: [11] IOD, of the target.
        reference_gaps: [R, 11] IOD.
        weights: [R] of the references, sum to 1.

    Returns:
        [11] in [0, 1]; at the corners that of the places beside them.
    """
    shown = weights @ reference_gaps
    missing = np.clip(1 - (shown + TOUCHING_IOD) / (gaps + TOUCHING_IOD), 0, 1)
    missing[0], missing[-1] = missing[1], missing[-2]
    return missing.astype(np.float32)


def is_worth_painting(gaps: np.ndarray, missing: np.ndarray) -> bool:
    """Whether anything of a gap [11] IOD is to be painted, of which a share [11] is missing."""
    return bool(((missing > MISSING[0]) & (gaps > OPEN_IOD[0])).any())


def mouth_gap(mesh: FaceMesh, projected: np.ndarray, gaps: np.ndarray, missing: np.ndarray) -> MouthGap | None:
    """Draw the gap between the lips.

    Args:
        mesh: the face mesh.
        projected: [N, 3] px of the window, the target's vertices and border.
        gaps: [11] IOD, of the target.
        missing: [11] of `missing_share`.

    Returns:
        None where the lips hide it.
    """
    attributes = np.zeros((len(projected), 4), np.float32)
    opened = gaps.copy()
    opened[0], opened[-1] = opened[1], opened[-2]
    need = smoothstep(missing, *MISSING) * smoothstep(opened, *OPEN_IOD)
    for lip, height in ((UPPER_INNER_LIP, 0.0), (LOWER_INNER_LIP, 1.0)):
        points = list(lip)
        attributes[points, 0] = mesh.canonical[points, 0] / HALF_WIDTH_IOD
        attributes[points, 1] = height
        attributes[points, 2] = missing
        attributes[points, 3] = need
    attributes[[LOWER_INNER_LIP[0], LOWER_INNER_LIP[-1]], 1] = 0.5
    shift = np.array([COLUMNS.start, ROWS.start, 0], np.float32)
    height, width = ROWS.stop - ROWS.start, COLUMNS.stop - COLUMNS.start
    index, barycentric = rasterize(projected - shift, mesh.triangles, height, width)
    inside = (index >= 0) & mesh.is_mouth_triangle[index]
    if not inside.any():
        return None
    across, down, unseen, wanted = interpolate(index, barycentric, mesh.triangles, attributes) * inside
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN_PX + 1,) * 2)
    hole = cv2.dilate(inside.astype(np.float32), kernel)
    unseen = cv2.dilate(unseen, kernel)
    share = cv2.blur(cv2.dilate(wanted, kernel), (MARGIN_PX, MARGIN_PX)) * hole
    return MouthGap(maps=np.stack([hole, across, down, unseen]), share=share)


def paint_interior(network: MouthInterior, rendering: Rendering, target: Target, gap: MouthGap) -> Rendering:
    """Paint the mouth of one rendered window, batch of one; everything is on the network's device.

    Args:
        network: paints.
        rendering: without an interior.
        target: that was rendered.
        gap: of the target.
    """
    faces = rendering.faces
    composed = torch.lerp(target.image, faces, target.mask)[..., ROWS, COLUMNS].clamp(0, 1)
    maps = torch.from_numpy(gap.maps)[None].to(faces)
    painted = sharpen(network(composed, maps, target.geometry[..., MAP_ROWS, MAP_COLUMNS]).float(), maps[:, :1])
    interior, share = in_window(painted).clamp(0, 1), in_window(torch.from_numpy(gap.share)[None, None].to(faces))
    return replace(rendering, faces=torch.lerp(faces, interior, share), interior=interior, interior_share=share)


def sharpen(painted: Tensor, hole: Tensor) -> Tensor:
    """Strengthen the finest detail of painted mouths by unsharp masking.

    Ours: teeth that are never seen are painted as the mean of what they may be, and so too soft.

    Args:
        painted: [B, 3, h, w].
        hole: [B, 1, h, w] 1 where the network paints, else 0; what lies outside has no say and stays.
    """
    softened = soften(painted * hole) / soften(hole).clamp(min=1e-3)
    return painted + SHARPENING * hole * (painted - softened)


def in_window(crop: Tensor) -> Tensor:
    """Put [B, C, 96, 112], ROWS and COLUMNS of the window, back into it, 0 around it: [B, C, H, W]."""
    return F.pad(crop, (COLUMNS.start, WINDOW_WIDTH - COLUMNS.stop, ROWS.start, WINDOW_HEIGHT - ROWS.stop))
