"""All pictures, meshes and tables of a run, written into a folder."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from personatalk.inspection.attention import attention_colours, attention_over_time_picture, attention_picture
from personatalk.inspection.drawing import caption, tiles
from personatalk.inspection.figures import figures, stage_table
from personatalk.inspection.geometry import curves_picture, geometry_picture, save_mesh
from personatalk.inspection.glb import geometry_glb
from personatalk.inspection.prior import prior_picture
from personatalk.inspection.recording import Inspection
from personatalk.inspection.references import (
    compare_strategies,
    reference_gallery,
    reference_timeline,
    strategy_picture,
)
from personatalk.inspection.styles import aperture_picture, style_map_picture, style_on_face

GALLERY_COLUMNS, GALLERY_WIDTH, GALLERY_COLUMN_LETTERS = 4, 288, 29


def write_sheets(inspection: Inspection, folder: Path, t: int | None = None) -> list[Path]:
    """Write pictures, meshes and tables of a run.

    Args:
        inspection: a recorded run.
        folder: created if it does not exist.
        t: frame of the pictures that show one; the middle of the run where None.

    Returns:
        what was written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    t = inspection.num_frames // 2 if t is None else t
    pictures: dict[str, Callable[[], np.ndarray]] = {
        "geometry": lambda: geometry_picture(inspection, t),
        "curves": lambda: curves_picture(inspection, t),
        "style_map": lambda: style_map_picture(inspection),
        "style_on_face": lambda: style_on_face(inspection),
        "lip_aperture": lambda: aperture_picture(inspection, t),
        "reference_timeline": lambda: reference_timeline(inspection),
        "reference_strategies": lambda: strategy_picture(inspection),
        "lip_references": lambda: gallery_sheet(inspection, "lip"),
        "face_references": lambda: gallery_sheet(inspection, "face"),
        "lip_attention": lambda: attention_picture(inspection, t, "lip"),
        "face_attention": lambda: attention_picture(inspection, t, "face"),
        "attention_colours": lambda: attention_colours(inspection, t),
        "texture_prior": lambda: prior_picture(inspection, t),
        "attention_over_time": lambda: attention_over_time_picture(inspection, t),
    }
    written = []
    for name, draw in pictures.items():
        written.append(folder / f"{name}.png")
        cv2.imwrite(str(written[-1]), cv2.cvtColor(draw(), cv2.COLOR_RGB2BGR))
    tables = {
        "stages": stage_table(inspection),
        "figures": [asdict(figure) for figure in figures(inspection)],
        "strategies": compare_strategies(inspection),
    }
    written.append(folder / "tables.json")
    written[-1].write_text(json.dumps(tables, indent=2) + "\n")
    written.append(geometry_glb(inspection, folder / "geometry.glb", textured=True))
    written += [save_mesh(inspection, t, folder / name) for name in ("face.ply", "geometry.npz")]
    return written


def gallery_sheet(inspection: Inspection, kind: str) -> np.ndarray:
    """Lay a gallery out as one picture: [H, W, 3] uint8."""
    shown = []
    for picture, text in reference_gallery(inspection, kind):
        height = picture.shape[0] * GALLERY_WIDTH // picture.shape[1]
        small = cv2.resize(picture, (GALLERY_WIDTH, height), interpolation=cv2.INTER_AREA)
        shown.append(caption(small, "\n".join(textwrap.wrap(text, GALLERY_COLUMN_LETTERS))))
    return tiles(shown, GALLERY_COLUMNS)
