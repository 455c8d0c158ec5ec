"""The geometry of a face over a video, and of one face in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

PER_FRAME = ("expression", "rotation", "translation", "scale", "valid", "times", "shot", "light")
WHOLE_IMAGE = np.eye(2, 3, dtype=np.float32)  # target_from_image of the frame itself


@dataclass(frozen=True, kw_only=True)
class FaceGeometry:
    """The geometry of one face over a video.

    Image points are scale * (rotation @ head point)[:2] + translation (scaled orthography).

    Attributes:
        template: [V, 3] IOD, head space: this person at rest.
        expression: [T, Ke] coefficients of the face model.
        rotation: [T, 3, 3] camera_from_head.
        translation: [T, 2] px, where the origin of head space falls.
        scale: [T] px per IOD.
        valid: [T] bool: the face was found and the fit is sound.
        times: [T] s.
        shot: [T] number of each frame's shot, -1 within a dissolve or fade; left out, all is one shot.
        light: [T] number of what is lit alike: frames may be references of each other; left out, all of them.
    """

    template: np.ndarray
    expression: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    scale: np.ndarray
    valid: np.ndarray
    times: np.ndarray
    shot: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    light: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self) -> None:
        for name in ("shot", "light"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.valid), int))

    def __len__(self) -> int:
        return len(self.valid)

    def at(self, frames: np.ndarray | slice) -> FaceGeometry:
        """The geometry of some frames."""
        return replace(self, **{name: getattr(self, name)[frames] for name in PER_FRAME})

    def project(self, head_points: np.ndarray, frames: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Carry head-space points into the image.

        Args:
            head_points: [T, N, 3] or [N, 3] IOD.
            frames: which frames' poses to use.

        Returns:
            [T, N, 3] px; z in px relative to the origin of head space.
        """
        turned = head_points @ np.swapaxes(self.rotation[frames], -1, -2) * self.scale[frames][:, None, None]
        turned[..., :2] += self.translation[frames][:, None]
        return turned.astype(np.float32)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next, the median."""
        return float(np.median(np.diff(self.times))) if len(self) > 1 else 1 / 25

    def frames_in(self, seconds: float) -> int:
        """How many frames a time lasts, at least one."""
        return max(1, round(seconds / self.frame_s))

    def pose(self, frame: int, vertices: np.ndarray, target_from_image: np.ndarray = WHOLE_IMAGE) -> FramePose:
        """A face of given vertices [V, 3] IOD in the pose of a frame, and the picture that it is projected into."""
        return FramePose(vertices=vertices, geometry=self, frame=frame, target_from_image=target_from_image)

    def save(self, path: Path) -> None:
        """Write all arrays to an .npz file."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> FaceGeometry:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__ if name in arrays})


@dataclass(frozen=True, kw_only=True)
class FramePose:
    """One face in one frame, and the picture that it is projected into.

    Attributes:
        vertices: [V, 3] IOD, head space.
        geometry: of the clip; gives template and pose.
        frame: index of the pose.
        target_from_image: [2, 3], of a window or a crop; the identity for the frame itself.
    """

    vertices: np.ndarray
    geometry: FaceGeometry
    frame: int
    target_from_image: np.ndarray

    @property
    def template(self) -> np.ndarray:
        """[V, 3] IOD, the person at rest."""
        return self.geometry.template

    @property
    def zoom(self) -> float:
        """Pixels of the target for one of the image."""
        return float(np.sqrt(abs(np.linalg.det(self.target_from_image[:, :2]))))

    @property
    def scale(self) -> float:
        """Pixels of the target per IOD."""
        return float(self.geometry.scale[self.frame]) * self.zoom

    def at_rest(self) -> FramePose:
        """The template in the same pose."""
        return replace(self, vertices=self.template)

    def into(self, target_from_image: np.ndarray) -> FramePose:
        """The same face, projected into another picture."""
        return replace(self, target_from_image=target_from_image)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Carry points of head space [N, 3] IOD into the target: [N, 3] px, z relative to the origin of head space."""
        image = self.geometry.project(points, slice(self.frame, self.frame + 1))[0]
        affine = self.target_from_image
        flat = image[:, :2] @ affine[:, :2].T + affine[:, 2]
        return np.concatenate([flat, image[:, 2:] * np.float32(self.zoom)], 1).astype(np.float32)
