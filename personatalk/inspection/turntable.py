"""The faces as a short film that turns them, for viewers without WebGL, drawn by the own rasterizer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from personatalk.geometry.face_model import NUM_VERTICES
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.inspection.drawing import caption, heat, shade
from personatalk.inspection.film import write_film
from personatalk.inspection.geometry import skin_triangles
from personatalk.inspection.glb import eye_triangles, painting, texture_coordinates
from personatalk.inspection.portrait import PORTRAIT_HEIGHT, PORTRAIT_WIDTH
from personatalk.inspection.recording import Inspection
from personatalk.inspection.styles import SHOWN_MOTION

SURFACES = ("texture", "wireframe", "expression", "grey")
SIDE_PX, PX_PER_IOD, MIDDLE = 320, 150.0, (0.0, 0.38)  # IOD: what of the head lies in the picture's middle
TURN_DEG, TURN_S = 55.0, 4.0  # to each side, and for there and back
MAX_S, MAX_FPS = 8.0, 25.0
WHITE = 255


def turntable(inspection: Inspection, path: Path, *, surface: str = "texture") -> Path:
    """Write template, estimated and driven face beside each other, turning and speaking, as MP4 without sound.

    Args:
        inspection: a recorded run.
        path: to write, whatever its suffix.
        surface: one of SURFACES: painted with the clip, lines, coloured by how far each vertex is from rest, or grey.
    """
    times = inspection.times
    step = max(1, round(1 / MAX_FPS / max(1e-6, float(np.median(np.diff(times)))))) if len(times) > 1 else 1
    positions = np.flatnonzero(times < MAX_S)[::step]
    fps = len(positions) / max(1e-6, float(times[positions[-1]] - times[0]) + step * inspection.posed.frame_s)
    return write_film(path, _pictures(inspection, positions, surface), fps)


def _pictures(inspection: Inspection, positions: np.ndarray, surface: str) -> Iterator[np.ndarray]:
    painter = _Painter(inspection, surface)
    template = inspection.posed.template
    for t in positions.tolist():
        yaw = TURN_DEG * math.sin(2 * math.pi * float(inspection.times[t]) / TURN_S)
        faces = (
            ("template", template),
            ("estimated", inspection.source_vertices[t]),
            ("driven", inspection.driven_vertices[t]),
        )
        yield np.concatenate([caption(painter.draw(vertices, yaw), name) for name, vertices in faces], 1)


class _Painter:
    """Draws faces of one run from any side."""

    def __init__(self, inspection: Inspection, surface: str) -> None:
        if surface not in SURFACES:
            raise ValueError(f"{surface}: a surface is one of {SURFACES}")
        self._surface, self._template = surface, inspection.posed.template
        self._skin = skin_triangles(inspection)
        if surface == "texture":
            self._portrait = painting(inspection)
            self._place = texture_coordinates(inspection) * (PORTRAIT_WIDTH, PORTRAIT_HEIGHT)
            self._skin = np.ascontiguousarray(np.concatenate([self._skin, eye_triangles()]).astype(self._skin.dtype))

    def draw(self, vertices: np.ndarray, yaw_deg: float) -> np.ndarray:
        """A face [V, 3] IOD, turned: [320, 320, 3] uint8 on white."""
        turn = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
        turned = (vertices[:NUM_VERTICES] - (*MIDDLE, 0)) @ turn.T
        projected = np.ascontiguousarray(turned * PX_PER_IOD + (SIDE_PX / 2, SIDE_PX / 2, 0), np.float32)
        grey, alpha = shade(projected, self._skin, SIDE_PX, SIDE_PX)
        if self._surface == "wireframe":
            return self._lines(projected)
        light = grey.mean(-1, keepdims=True) / np.float32(WHITE)
        painted = grey.astype(np.float32)
        if self._surface == "texture":
            painted = self._textured(projected) * (0.45 + 0.6 * light)
        if self._surface == "expression":
            painted = self._heated(projected, vertices) * (0.5 + 0.6 * light)
        return (WHITE + alpha[..., None] * (np.clip(painted, 0, WHITE) - WHITE)).round().astype(np.uint8)

    def _carried(self, projected: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values of the vertices [V, C] at each pixel: [C, H, W]."""
        index, barycentric = rasterize(projected, self._skin, SIDE_PX, SIDE_PX)
        return interpolate(index, barycentric, self._skin, np.ascontiguousarray(values, np.float32))

    def _textured(self, projected: np.ndarray) -> np.ndarray:
        x, y = self._carried(projected, self._place)
        return cv2.remap(self._portrait, x - np.float32(0.5), y - np.float32(0.5), cv2.INTER_LINEAR).astype(np.float32)

    def _heated(self, projected: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        moved = np.linalg.norm(vertices - self._template, axis=-1)[:NUM_VERTICES, None] / SHOWN_MOTION
        return heat(self._carried(projected, moved)[0]).astype(np.float32)

    def _lines(self, projected: np.ndarray) -> np.ndarray:
        """The edges of the triangles that are turned to the viewer."""
        picture = np.full((SIDE_PX, SIDE_PX, 3), WHITE, np.uint8)
        corners = projected[self._skin][..., :2]
        a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        sides = np.sign(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
        seen = corners[sides == np.sign(np.median(sides))]
        cv2.polylines(picture, list(np.round(seen * 16).astype(np.int32)), True, (40, 90, 90), 1, cv2.LINE_AA, 4)
        return picture
