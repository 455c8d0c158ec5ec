"""Frames and geometry to the renderer's inputs: the one way, for dubs, training and evaluation alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from personatalk.face_rendering.attention import References
from personatalk.face_rendering.renderer import Target
from personatalk.face_rendering.texture_prior import TexturePrior, empty_prediction
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.face_geometry import FramePose
from personatalk.geometry.mesh import FaceMesh


@dataclass(frozen=True, kw_only=True)
class ReferenceFrame:
    """One reference frame, with what the renderer needs to know of it.

    Attributes:
        index: frame number in its clip.
        window: [160, 192, 3] uint8.
        projected: [N, 3] px of the window, vertices and border.
        geometry_map: [8, 40, 48].
    """

    index: int
    window: np.ndarray
    projected: np.ndarray
    geometry_map: np.ndarray


@dataclass(frozen=True, kw_only=True)
class AttendedReferences:
    """The references that attend to one target.

    Attributes:
        lip: lip references.
        lip_log_weights: [K] prior of Lip-Attention.
        face: face references.
        face_log_weights: [M] prior of Face-Attention.
    """

    lip: list[ReferenceFrame]
    lip_log_weights: np.ndarray
    face: list[ReferenceFrame]
    face_log_weights: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PriorQuery:
    """What is asked of a clip's texture prior for one target.

    Attributes:
        prior: of the clip; None where there is none.
        mouth: [D] lip descriptor of the target.
        time: s of the target in the prior's clip.
    """

    prior: TexturePrior | None
    mouth: np.ndarray
    time: float


@dataclass(frozen=True, kw_only=True)
class FrameInputs:
    """What the renderer may know of one frame, encodings of references aside.

    Attributes:
        projected: [N, 3] px of the window, the driven face, vertices and border.
        image: [3, H, W] in [0, 1], the window with its own mouth blacked out.
        mask: [1, H, W] in [0, 1], the region to render.
        geometry: [8, h, w], the geometry map.
        prediction: [5, H / 2, W / 2] of the texture prior.
        references: that attend.
        grids: [R, H, W, 2] px, where each pixel of the window lies in each reference's window; lip references first.
    """

    projected: np.ndarray
    image: np.ndarray
    mask: np.ndarray
    geometry: np.ndarray
    prediction: np.ndarray
    references: AttendedReferences
    grids: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FrameBatch:
    """B frames for the renderer, encodings of references aside.

    Attributes:
        target: what is known of the frames.
        images: [B, R, 3, H, W] in [0, 1], references, lip references first.
        maps: [B, R, 8, h, w], their geometry maps.
        grids: [B, R, H, W, 2] px.
        log_weights: [B, R].
        num_lip: how many of the R are lip references.
    """

    target: Target
    images: Tensor
    maps: Tensor
    grids: Tensor
    log_weights: Tensor
    num_lip: int

    def to(self, device: torch.device | str) -> FrameBatch:
        """Move to a device."""
        tensors = ("images", "maps", "grids", "log_weights")
        target = {field.name: getattr(self.target, field.name) for field in fields(Target)}
        moved = replace(
            self.target, **{name: None if value is None else value.to(device) for name, value in target.items()}
        )
        return replace(self, target=moved, **{name: getattr(self, name).to(device) for name in tensors})

    def references(self, features: Tensor) -> tuple[References, References]:
        """Add the encodings [B, R, D, h, w] of the references: what Lip-Attention and Face-Attention look at."""
        lip, face = (
            References(
                features=features[:, part],
                images=self.images[:, part],
                grids=self.grids[:, part],
                log_weights=self.log_weights[:, part],
            )
            for part in (slice(None, self.num_lip), slice(self.num_lip, None))
        )
        return lip, face


def reference_frame(mesh: FaceMesh, pose: FramePose, window: np.ndarray) -> ReferenceFrame:
    """Prepare a frame of a clip as a reference.

    Args:
        mesh: the face mesh.
        pose: of the frame, its target the window.
        window: [160, 192, 3] uint8.
    """
    projected = mesh.project(pose)
    return ReferenceFrame(
        index=pose.frame, window=window, projected=projected, geometry_map=mesh.geometry_map(pose, projected)
    )


def frame_inputs(
    mesh: FaceMesh, pose: FramePose, window: np.ndarray, references: AttendedReferences, query: PriorQuery
) -> FrameInputs:
    """Prepare a frame to be rendered; its own mouth is blacked out before anything else sees it.

    Args:
        mesh: the face mesh.
        pose: of the driven face, its target the window.
        window: [160, 192, 3] uint8 of the frame.
        references: that attend.
        query: of the texture prior.
    """
    projected = mesh.project(pose)
    mask = mesh.mask(mesh.project(pose.at_rest()), pose.template, WINDOW_HEIGHT, WINDOW_WIDTH)
    image = window.transpose(2, 0, 1).astype(np.float32) / 255 * (mask == 0)
    prediction = empty_prediction()
    if query.prior is not None:
        prediction = query.prior.predict(pose, projected, image, query.mouth, query.time)
    places = np.stack([frame.projected[:, :2] for frame in (*references.lip, *references.face)])
    return FrameInputs(
        projected=projected,
        image=image,
        mask=mask[None],
        geometry=mesh.geometry_map(pose, projected),
        prediction=prediction,
        references=references,
        grids=mesh.correspondence(projected, places, WINDOW_HEIGHT, WINDOW_WIDTH),
    )


def stack_frames(frames: list[FrameInputs], device: torch.device | str = "cpu") -> FrameBatch:
    """Batch frames that have as many references each."""
    references = [(*frame.references.lip, *frame.references.face) for frame in frames]

    def stacked(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    return FrameBatch(
        target=Target(
            image=stacked([frame.image for frame in frames]),
            mask=stacked([frame.mask for frame in frames]),
            geometry=stacked([frame.geometry for frame in frames]),
            prior=stacked([frame.prediction for frame in frames]),
        ),
        images=torch.stack([images_of(row, device) for row in references]),
        maps=torch.stack([maps_of(row, device) for row in references]),
        grids=stacked([frame.grids for frame in frames]),
        log_weights=stacked(
            [np.concatenate([f.references.lip_log_weights, f.references.face_log_weights]) for f in frames]
        ),
        num_lip=len(frames[0].references.lip),
    )


def images_of(references: Sequence[ReferenceFrame], device: torch.device | str = "cpu") -> Tensor:
    """[R, 3, H, W] in [0, 1]."""
    stacked = np.stack([reference.window for reference in references])
    return torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float().div_(255)


def maps_of(references: Sequence[ReferenceFrame], device: torch.device | str = "cpu") -> Tensor:
    """[R, 8, h, w]."""
    return torch.from_numpy(np.stack([reference.geometry_map for reference in references])).to(device)


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes, and wants its inputs."""
    return next(model.parameters()).device
