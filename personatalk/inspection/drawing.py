"""Drawing for the inspection: colours, captions, tiles, shaded meshes, curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from personatalk.geometry.rasterizer import interpolate, rasterize

SOURCE_COLOUR, DRIVEN_COLOUR, GREY = "#0072B2", "#D55E00", "#787878"
FONT_PX = 20
LIGHT = np.array((-0.35, -0.5, -0.8), np.float32) / np.float32(1.0062)  # towards the light; z away from the camera
SKIN = np.array((214, 214, 222), np.float32)
Colour: TypeAlias = Sequence[int] | np.ndarray  # RGB, 0 to 255


def heat(values: np.ndarray) -> np.ndarray:
    """Colour values in [0, 1] from dark blue to yellow: [...] -> [..., 3] uint8."""
    return (colormaps["cividis"](np.clip(values, 0, 1))[..., :3] * 255).astype(np.uint8)


def caption(picture: np.ndarray, text: str, colour: Colour | None = None) -> np.ndarray:
    """Put lines of text under a picture, with a bar of a colour between the two if one is given."""
    lines = text.split("\n")
    height, width = picture.shape[:2]
    strip = Image.new("RGB", (width, (FONT_PX + 5) * len(lines) + 4), "white")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(FONT_PX)
    for number, line in enumerate(lines):
        draw.text((4, 2 + number * (FONT_PX + 5)), line, "black", font)
    bar = np.full((0 if colour is None else 6, width, 3), 0 if colour is None else colour, np.uint8)
    return np.concatenate([picture, bar, np.asarray(strip)])


def tiles(pictures: Sequence[np.ndarray], columns: int, gap: int = 6) -> np.ndarray:
    """Lay pictures out in rows on white; smaller ones are filled up with white."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) - gap, min(columns, len(pictures)) * (width + gap) - gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def mark(picture: np.ndarray, x: float, y: float, colour: Colour = (255, 255, 255)) -> np.ndarray:
    """Draw a ring with a cross around a position, px."""
    picture = np.ascontiguousarray(picture.copy())
    centre = (int(round((x - 0.5) * 16)), int(round((y - 0.5) * 16)))
    for thickness, shade in ((6, (0, 0, 0)), (2, [int(c) for c in colour])):
        cv2.circle(picture, centre, 14 * 16, shade, thickness, cv2.LINE_AA, 4)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            start, end = ((centre[0] + 16 * r * dx, centre[1] + 16 * r * dy) for r in (4, 22))
            cv2.line(picture, start, end, shade, thickness, cv2.LINE_AA, 4)
    return picture


def shade(projected: np.ndarray, triangles: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a mesh in grey, with diffuse light.

    Args:
        projected: [N, 3] px, z away from the camera.
        triangles: [F, 3].
        height: px.
        width: px.

    Returns:
        picture [height, width, 3] uint8, alpha [height, width] in [0, 1].
    """
    index, barycentric = rasterize(np.ascontiguousarray(projected, np.float32), triangles, height, width)
    normals = interpolate(index, barycentric, triangles, vertex_normals(projected, triangles))
    normals /= np.maximum(np.linalg.norm(normals, axis=0), 1e-6)
    light = 0.35 + 0.65 * np.clip(np.einsum("chw,c->hw", normals, LIGHT), 0, 1)
    return np.clip(light[..., None] * SKIN * 1.15, 0, 255).astype(np.uint8), (index >= 0).astype(np.float32)


def vertex_normals(projected: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[N, 3] normals towards the camera, weighted by the triangles' areas."""
    a, b, c = (projected[triangles[:, corner]] for corner in range(3))
    flat = np.cross(b - a, c - a)
    flat *= -np.sign(flat[:, 2:] + 1e-12)
    normals = np.zeros((len(projected), 3), np.float32)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], flat)
    return normals


def blend(picture: np.ndarray, over: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay one picture over another: [H, W, 3] each, alpha [H, W] in [0, 1]."""
    return (picture + alpha[..., None] * (over.astype(np.float32) - picture)).round().astype(np.uint8)


def outline(picture: np.ndarray, points: np.ndarray, colour: Colour, thickness: int = 2) -> np.ndarray:
    """Draw closed lines: points [L, P, 2] px."""
    picture = np.ascontiguousarray(picture)
    fixed = np.round((points - 0.5) * 16).astype(np.int32)
    cv2.polylines(picture, list(fixed), True, [int(c) for c in colour], thickness, cv2.LINE_AA, 4)
    return picture


def new_figure(rows: int, *, width: float = 8.0, height: float = 1.9) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels above each other, sizes in inches of 100 px, without pyplot's global state."""
    figure = Figure(figsize=(width, height * rows + 0.4), dpi=100, layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for panel in panels:
        panel.grid(True, color="#e4e4e4", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, list(panels)


def legend_above(panel: Axes) -> None:
    """Put a panel's legend above it, where it hides no curve."""
    panel.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=6, fontsize=9, frameon=False, borderpad=0, handlelength=1.5
    )


def to_picture(figure: Figure) -> np.ndarray:
    """Draw a figure: [H, W, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
