"""The texture prior: what all references together predict of a frame, beside the result."""

from __future__ import annotations

import cv2
import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.inspection.attention import mask_of
from personatalk.inspection.drawing import caption, heat, tiles
from personatalk.inspection.recording import Inspection

TILE_WIDTH, TILE_HEIGHT = 1.5 * WINDOW_WIDTH, 1.5 * WINDOW_HEIGHT
NOTHING = "nothing was predicted: references of\nanother video, or too few frames"


def prior_pictures(inspection: Inspection, t: int) -> list[tuple[np.ndarray, str]]:
    """Show the source, the predicted texture, its uncertainty, and the result.

    Args:
        inspection: a recorded run.
        t: position of the frame; the nearest that was kept is shown.

    Returns:
        pictures [240, 288, 3] uint8 with captions; yellow is an uncertainty of one half or more.
    """
    t = int(inspection.kept[inspection.row(t)])
    source, result = (_tile(inspection.window(t, which)) for which in ("source", "dubbed"))
    shown = [(source, f"source of frame {t}")]
    prior = inspection.prior(t)
    if prior is None:
        shown.append((source, NOTHING))
    else:
        mask = _tile(mask_of(inspection, t) * _tile(prior[3], WINDOW_WIDTH, WINDOW_HEIGHT))[..., None]
        colours = _tile(prior[:3].transpose(1, 2, 0)) * 255
        grey = np.repeat(cv2.cvtColor(source, cv2.COLOR_RGB2GRAY)[..., None], 3, 2).astype(np.float32)
        for picture, text in (
            (colours, "predicted from all references,\nat half the renderer's size"),
            (heat(2 * _tile(prior[4])), "its uncertainty"),
        ):
            shown.append(((grey + mask * (picture - grey)).clip(0, 255).round().astype(np.uint8), text))
    return [*shown, (result, "result")]


def prior_picture(inspection: Inspection, t: int) -> np.ndarray:
    """Lay the pictures of `prior_pictures` out as one: [H, W, 3] uint8."""
    return tiles([caption(*shown) for shown in prior_pictures(inspection, t)], 2)


def _tile(picture: np.ndarray, width: float = TILE_WIDTH, height: float = TILE_HEIGHT) -> np.ndarray:
    return cv2.resize(picture, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
