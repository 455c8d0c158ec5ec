"""The driven mesh over the video, drawn by pyrender where there is a graphics card, else by the own rasterizer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from personatalk.geometry.face_model import NUM_VERTICES
from personatalk.inspection.drawing import SKIN, blend, outline, shade
from personatalk.inspection.geometry import LIP_LINES, MESH_ALPHA, skin_triangles
from personatalk.inspection.palette import PALETTE
from personatalk.inspection.recording import Inspection
from personatalk.media import VideoWriter, probe_video, read_frames

Shader = Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]
DEPTH_PX = 10_000.0
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")

logger = logging.getLogger(__name__)


def geometry_overlay(
    inspection: Inspection, video: Path, path: Path, *, which: str = "driven", has_opengl: bool | None = None
) -> Path:
    """Write the video with a mesh over every frame.

    Args:
        inspection: a recorded run.
        video: the dubbed video, T frames.
        path: .mp4 to write.
        which: "driven" or "source", whose geometry is drawn.
        has_opengl: draw with pyrender, or with the own rasterizer; None takes pyrender where there is a graphics
            card: measured, OpenGL in software takes twice the own rasterizer's time.
    """
    # an OpenGL context can be used only by the thread that made it
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_write, inspection, Path(video), Path(path), which, has_opengl).result()


def _write(inspection: Inspection, video: Path, path: Path, which: str, has_opengl: bool | None) -> Path:
    vertices = inspection.driven_vertices if which == "driven" else inspection.source_vertices
    colour = PALETTE[3] if which == "driven" else PALETTE[0]
    triangles, posed = skin_triangles(inspection), inspection.posed
    draw = OpenGlShader() if has_opengl or (has_opengl is None and has_graphics_card()) else shade
    with VideoWriter(path, source=video, audio=video if probe_video(video).has_audio else None) as writer:
        for t, frame in enumerate(read_frames(video)):
            image = frame.image
            if t < inspection.num_frames and posed.valid[t]:
                projected = inspection.mesh.project(posed.pose(t, vertices[t]))[:NUM_VERTICES]
                face, alpha = draw(projected, triangles, *image.shape[:2])
                image = blend(image, face, MESH_ALPHA * alpha)
                for line in LIP_LINES:
                    image = outline(image, projected[None, list(line), :2], colour)
            writer.write(image, frame.pts)
    return path


class OpenGlShader:
    """Draws a mesh as `drawing.shade` does, with pyrender; for one thread only."""

    def __init__(self) -> None:
        os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
        # pyrender 0.1.45 uses a name that NumPy 2 dropped
        np.infty = np.inf  # pyright: ignore[reportAttributeAccessIssue]
        import pyrender

        self._pyrender = pyrender
        self._renderer: pyrender.OffscreenRenderer | None = None

    def __call__(
        self, projected: np.ndarray, triangles: np.ndarray, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw [N, 3] px: picture [height, width, 3] uint8, alpha [height, width] in [0, 1]."""
        pyrender = self._pyrender
        if self._renderer is None or (self._renderer.viewport_width, self._renderer.viewport_height) != (width, height):
            self._renderer = pyrender.OffscreenRenderer(width, height)
        scene = pyrender.Scene(bg_color=(0, 0, 0, 0), ambient_light=(0.2, 0.2, 0.2))
        # pixels to OpenGL: y up, z to the viewer, the origin in the middle
        points = (projected - (width / 2, height / 2, 0)) * (1, -1, -1)
        material = pyrender.MetallicRoughnessMaterial(
            baseColorFactor=(*(SKIN / 255), 1.0), metallicFactor=0.0, roughnessFactor=0.9, doubleSided=True
        )
        primitive = pyrender.Primitive(
            positions=points.astype(np.float32),
            indices=triangles.astype(np.uint32),
            material=material,
            normals=_normals(points, triangles),
            mode=4,
        )
        scene.add(pyrender.Mesh([primitive]))
        camera = pyrender.OrthographicCamera(width / 2, height / 2, znear=1.0, zfar=2 * DEPTH_PX)
        pose = np.eye(4)
        pose[2, 3] = DEPTH_PX
        scene.add(camera, pose=pose)
        light = np.eye(4)
        light[:3, 2] = (-0.35, 0.5, 0.8)
        scene.add(pyrender.DirectionalLight(intensity=1.8), pose=light)
        colour, depth = cast(Any, self._renderer.render(scene, flags=pyrender.RenderFlags.RGBA))
        return np.ascontiguousarray(colour[..., :3]), (depth > 0).astype(np.float32)

    def driver(self) -> str:
        """Name of the OpenGL driver; known once something was drawn."""
        from OpenGL import GL

        return cast(Any, GL.glGetString(GL.GL_RENDERER)).decode()


def has_graphics_card() -> bool:
    """Whether pyrender can draw here, and not in software; only to be asked in the thread that will draw."""
    try:
        shader = OpenGlShader()
        shader(np.array(((2, 2, 0), (12, 2, 0), (2, 12, 0)), np.float32), np.array([[0, 1, 2]]), 16, 16)
        return not any(name in shader.driver().lower() for name in SOFTWARE)
    except Exception as error:  # drivers fail in many ways
        logger.info("no OpenGL here (%s): the own rasterizer draws", error)
        return False


def _normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    flat = np.cross(b - a, c - a)
    flat *= np.sign(flat[:, 2:] + 1e-12)
    normals = np.zeros((len(points), 3), np.float32)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], flat)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
