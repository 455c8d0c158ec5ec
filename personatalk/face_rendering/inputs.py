"""Frames and geometry to the renderer's inputs: the one place where targets and references are put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from personatalk.face_rendering.attention import References
from personatalk.face_rendering.renderer import Target
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.mesh import FaceMesh


@dataclass(frozen=True, kw_only=True)
class ReferenceFrame:
    """One reference frame, with what the renderer needs to know of it.

    Attributes:
        index: frame number in its clip.
        window: [160, 192, 3] uint8.
        projected: [N, 3] px of the window, vertices with rings.
        geometry_map: [8, 40, 48].
    """

    index: int
    window: np.ndarray
    projected: np.ndarray
    geometry_map: np.ndarray


def reference_frame(
    mesh: FaceMesh, geometry: FaceGeometry, head_vertices: np.ndarray, window_affine: np.ndarray, index: int,
    window: np.ndarray,
) -> ReferenceFrame:  # fmt: skip
    """Prepare a frame of a clip as a reference.

    Args:
        mesh: the face mesh.
        geometry: of the clip.
        head_vertices: [V, 3] IOD, of this frame.
        window_affine: [2, 3] window_from_image of this frame.
        index: frame number.
        window: [160, 192, 3] uint8.
    """
    projected = mesh.project(head_vertices, geometry, index, window_affine)
    return ReferenceFrame(
        index=index, window=window, projected=projected,
        geometry_map=mesh.geometry_map(projected, head_vertices, geometry.template),
    )  # fmt: skip


def make_target(
    mesh: FaceMesh, geometry: FaceGeometry, head_vertices: np.ndarray, window_affine: np.ndarray, index: int,
    window: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:  # fmt: skip
    """Prepare a frame to be rendered with given vertices; its own mouth is blacked out.

    Returns:
        image [3, H, W] in [0, 1], mask [1, H, W] and geometry [8, h, w], by name; projected vertices [N, 3] px.
    """
    projected = mesh.project(head_vertices, geometry, index, window_affine)
    projected_template = mesh.project(geometry.template, geometry, index, window_affine)
    mask = mesh.mask(projected_template, geometry.template, WINDOW_HEIGHT, WINDOW_WIDTH)
    image = window.transpose(2, 0, 1).astype(np.float32) / 255 * (mask == 0)
    maps = mesh.geometry_map(projected, head_vertices, geometry.template)
    return {"image": image, "mask": mask[None], "geometry": maps}, projected


def correspondences(mesh: FaceMesh, projected: np.ndarray, references: list[ReferenceFrame]) -> np.ndarray:
    """[R, H, W, 2] px: where each pixel of the target's window lies in each reference's window."""
    stacked = np.stack([reference.projected[:, :2] for reference in references])
    return mesh.correspondence(projected, stacked, WINDOW_HEIGHT, WINDOW_WIDTH)


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes, and wants its inputs."""
    return next(model.parameters()).device


def stack_targets(targets: list[dict[str, np.ndarray]], device: torch.device | str = "cpu") -> Target:
    """Batch what `make_target` returned."""
    return Target(**{name: torch.from_numpy(np.stack([t[name] for t in targets])).to(device) for name in targets[0]})


def images_of(references: list[ReferenceFrame], device: torch.device | str = "cpu") -> Tensor:
    """[R, 3, H, W] in [0, 1]."""
    stacked = np.stack([reference.window for reference in references])
    return torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float().div_(255)


def maps_of(references: list[ReferenceFrame], device: torch.device | str = "cpu") -> Tensor:
    """[R, 8, h, w]."""
    return torch.from_numpy(np.stack([reference.geometry_map for reference in references])).to(device)


def stack_references(features: Tensor, images: Tensor, grids: np.ndarray, log_weights: np.ndarray) -> References:
    """Batch references: features [B, R, D, h, w], images [B, R, 3, H, W], grids [B, R, H, W, 2], log_weights [B, R]."""
    return References(
        features=features,
        images=images,
        grids=torch.from_numpy(grids).to(images.device),
        log_weights=torch.from_numpy(log_weights).to(images.device),
    )
