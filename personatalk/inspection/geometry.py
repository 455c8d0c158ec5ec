"""Geometry: meshes over pictures, curves of pose and coefficients, meshes as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from personatalk.geometry.face_model import INNER_LIPS, NUM_VERTICES, OUTER_LIPS
from personatalk.inspection.drawing import (
    DRIVEN_COLOUR,
    GREY,
    SOURCE_COLOUR,
    Colour,
    blend,
    caption,
    legend_above,
    new_figure,
    outline,
    shade,
    tiles,
    to_picture,
)
from personatalk.inspection.palette import PALETTE
from personatalk.inspection.portrait import portrait_from_image
from personatalk.inspection.recording import Inspection

MESH_ALPHA = 0.8
SOURCE_RGB, DRIVEN_RGB = PALETTE[0], PALETTE[3]
LIP_LINES = (OUTER_LIPS, INNER_LIPS)
NUM_CURVES = 3  # coefficients shown, those of the largest deviation


def skin_triangles(inspection: Inspection) -> np.ndarray:
    """[F, 3] triangles of the skin, without those that fill the mouth: an open mouth is a hole."""
    mesh = inspection.mesh
    count = len(inspection.face_model.triangles)
    return np.ascontiguousarray(mesh.triangles[:count][~mesh.is_mouth_triangle[:count]])


def draw_mesh(picture: np.ndarray, projected: np.ndarray, triangles: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw a grey mesh over a picture, its lips outlined.

    Args:
        picture: [H, W, 3] uint8.
        projected: [V, 3] px.
        triangles: [F, 3].
        colour: of the lips' outline.
    """
    face, alpha = shade(projected, triangles, *picture.shape[:2])
    drawn = blend(picture, face, MESH_ALPHA * alpha)
    for line in LIP_LINES:
        drawn = outline(drawn, projected[None, list(line), :2], colour)
    return drawn


def geometry_pictures(inspection: Inspection, t: int) -> list[tuple[np.ndarray, str]]:
    """Show the face at t: the template, the geometry estimated from the source, the driven geometry, and the dub.

    Returns:
        pictures [480, 416, 3] uint8 with captions.
    """
    t = int(inspection.kept[inspection.row(t)])
    posed, triangles = inspection.posed, skin_triangles(inspection)
    affine = portrait_from_image(posed)[t]
    shown = []
    for name, vertices, colour in (
        ("template: neutral face of this person", posed.template, PALETTE[-1]),
        ("estimated from the source", inspection.source_vertices[t], SOURCE_RGB),
        ("driven by the speech", inspection.driven_vertices[t], DRIVEN_RGB),
    ):
        projected = inspection.mesh.project(posed.pose(t, vertices, affine))[:NUM_VERTICES]
        shown.append((draw_mesh(inspection.portrait(t, "source"), projected, triangles, colour), name))
    return [*shown, (inspection.portrait(t), f"the dub at {inspection.times[t]:.2f} s (frame {t})")]


def geometry_picture(inspection: Inspection, t: int) -> np.ndarray:
    """Lay the pictures of `geometry_pictures` out as one: [H, W, 3] uint8."""
    bars = (PALETTE[-1], SOURCE_RGB, DRIVEN_RGB, (0, 0, 0))
    pictures = geometry_pictures(inspection, t)
    return tiles([caption(*shown, bar) for shown, bar in zip(pictures, bars, strict=True)], 2)


def mouth_places(inspection: Inspection) -> np.ndarray:
    """[T, 3] px of the output: where the middle of the driven mouth is, x and y, and how wide it is."""
    lips = inspection.posed.project(inspection.driven_vertices[:, list(OUTER_LIPS)])[..., :2]
    low, high = lips.min(1), lips.max(1)
    return np.concatenate([(low + high) / 2, (high - low)[:, :1]], 1)


def pose_table(inspection: Inspection) -> dict[str, np.ndarray]:
    """Head pose over time: time_s, yaw_deg, pitch_deg, roll_deg, x_px, y_px, scale_px; [T] each.

    Yaw is positive where the head turns to the picture's right, pitch where it nods down, roll clockwise.
    """
    posed = inspection.posed
    yaw, pitch, roll = Rotation.from_matrix(posed.rotation).as_euler("YXZ", degrees=True).T
    return {
        "time_s": inspection.times,
        "yaw_deg": -yaw,
        "pitch_deg": pitch,
        "roll_deg": roll,
        "x_px": posed.translation[:, 0],
        "y_px": posed.translation[:, 1],
        "scale_px": posed.scale,
    }


def coefficient_table(inspection: Inspection) -> dict[str, np.ndarray]:
    """Speech coefficients over time, in standard deviations: time_s, driven_0 .., source_0 ..; [T] each."""
    count = inspection.face_model.num_speech
    table = {"time_s": inspection.times}
    for name, values in (("driven", inspection.posed.expression), ("source", inspection.source.expression)):
        values = values if name == "driven" else values[inspection.order]
        table |= {f"{name}_{number}": values[:, number] for number in range(count)}
    return table


def curves_picture(inspection: Inspection, t: int | None = None) -> np.ndarray:
    """Draw pose and the coefficients of the largest deviation over time; a line marks t.

    Returns:
        [H, W, 3] uint8
    """
    pose, coefficients = pose_table(inspection), coefficient_table(inspection)
    times = inspection.times
    largest = np.argsort(-inspection.posed.expression[:, : inspection.face_model.num_speech].std(0))[:NUM_CURVES]
    figure, panels = new_figure(2 + len(largest), height=1.5)
    for name, colour in (("yaw", "#0072B2"), ("pitch", "#E69F00"), ("roll", "#009E73")):
        panels[0].plot(times, pose[f"{name}_deg"], color=colour, label=name)
    panels[0].set_ylabel("turn, degrees")
    panels[1].plot(times, pose["scale_px"], color=GREY, label="distance of the outer eye corners")
    panels[1].set_ylabel("size, px")
    for panel, number in zip(panels[2:], largest, strict=True):
        panel.plot(times, coefficients[f"source_{number}"], color=SOURCE_COLOUR, label="source")
        panel.plot(times, coefficients[f"driven_{number}"], color=DRIVEN_COLOUR, label="driven")
        panel.set_ylabel(f"coefficient {number}")
    for panel in panels:
        if t is not None:
            panel.axvline(times[t], color="black", linewidth=1)
        legend_above(panel)
    panels[-1].set_xlabel("time, s")
    return to_picture(figure)


def save_mesh(inspection: Inspection, t: int, path: Path) -> Path:
    """Write geometry as a file.

    Args:
        inspection: a recorded run.
        t: frame, for .ply.
        path: .ply: the driven face at t, in head space (IOD, x right, y up, z to the viewer).
            .npz: everything of all frames, in the project's own head space (y down, z away).
    """
    path = Path(path)
    if path.suffix == ".ply":
        vertices = inspection.driven_vertices[t] * (1, -1, -1)
        trimesh.Trimesh(vertices, skin_triangles(inspection), process=False).export(path)
        return path
    if path.suffix != ".npz":
        raise ValueError(f"{path.name}: a mesh is written as .ply or .npz")
    posed = inspection.posed
    np.savez(
        path,
        driven_vertices=inspection.driven_vertices,
        source_vertices=inspection.source_vertices,
        template=posed.template,
        triangles=skin_triangles(inspection),
        expression=posed.expression,
        rotation=posed.rotation,
        translation=posed.translation,
        scale=posed.scale,
        valid=posed.valid,
        times=inspection.times,
    )
    return path
