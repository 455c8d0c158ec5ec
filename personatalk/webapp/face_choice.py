"""The choice of one face of several: the first frame with its faces numbered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from personatalk.geometry.tracking import MediaPipeTracker
from personatalk.media.still import first_frame

MAX_WIDTH_PX = 960  # of the picture shown
BOX_COLOUR, TEXT_COLOUR = (0, 150, 136), (255, 255, 255)


def find_faces(clip: Path) -> tuple[np.ndarray, np.ndarray]:
    """Find the faces in a clip's first frame, the largest first.

    Returns:
        picture: [H, W, 3] uint8, the frame at no more than MAX_WIDTH_PX, its faces numbered from 1.
        boxes: [N, 4] left, top, right, bottom; shares of the frame's width and height.
    """
    frame = first_frame(clip)
    height, width = frame.shape[:2]
    with MediaPipeTracker() as tracker:
        boxes = tracker.detect(frame) / (width, height, width, height)
    return _with_numbers(frame, boxes), boxes


def _with_numbers(frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = min(1.0, MAX_WIDTH_PX / width)
    picture = Image.fromarray(frame).resize((round(width * scale), round(height * scale)))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(14, picture.width // 30))
    for number, box in enumerate(boxes, start=1):
        left, top, right, bottom = box * np.tile(picture.size, 2)
        draw.rectangle((left, top, right, bottom), outline=BOX_COLOUR, width=3)
        label = draw.textbbox((left, top), f" {number} ", font=font)
        draw.rectangle(label, fill=BOX_COLOUR)
        draw.text((left, top), f" {number} ", fill=TEXT_COLOUR, font=font)
    return np.asarray(picture)


def centre(box: np.ndarray, width: int, height: int) -> tuple[float, float]:
    """Middle of a box, px in a frame of this size."""
    left, top, right, bottom = box
    return float((left + right) / 2 * width), float((top + bottom) / 2 * height)


def nearest_face(boxes: np.ndarray, x: float, y: float) -> int:
    """Which box lies nearest to a point, all in shares of width and height."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return int(np.linalg.norm(middles - (x, y), axis=1).argmin())
