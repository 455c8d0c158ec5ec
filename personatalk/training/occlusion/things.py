"""Things drawn in front of faces, of any shape and texture: what the occluder network learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_SCALE, WINDOW_WIDTH

SIZE = WINDOW_HEIGHT, WINDOW_WIDTH
FAR_PX = 260.0  # from anywhere in the window, outside of it
ANCHOR_PX, ANCHOR_SPREAD_PX = np.array((96.0, 78.0)), np.array((30.0, 30.0))  # where things stand: about the mouth
BELOW_SHARE = 0.75  # of the things come from below, the others from any side
DARK, PALE = (10, 70), (190, 250)  # grey levels of plain things
EDGE_PX = (0.5, 1.6)  # softness
MOTION_SHARE, MOTION_PX = 0.35, (3, 25)  # how many things move fast, and how far while a frame is exposed
SHADOW_SHARE, SHADOW = 0.4, (0.1, 0.45)

Random = np.random.Generator
Shape = tuple[np.ndarray, np.ndarray]  # where it is, [H, W] in [0, 1], and how light, [H, W] about 1


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A thing in front of a face.

    Attributes:
        colours: [H, W, 3] in [0, 255].
        opacity: [H, W] in [0, 1].
    """

    colours: np.ndarray
    opacity: np.ndarray

    def before(self, window: np.ndarray, shadow: np.ndarray | None = None) -> np.ndarray:
        """Draw it over a window [H, W, 3]; `shadow` [H, W] in [0, 1] darkens the face first. float32."""
        face = window.astype(np.float32)
        if shadow is not None:
            face = face * (1 - shadow)[..., None]
        return face + self.opacity[..., None] * (self.colours - face)


def draw_thing(rng: Random, skin: np.ndarray, cloth: np.ndarray) -> tuple[Thing, np.ndarray | None]:
    """Draw a thing and, of some, the shadow that it casts on the face.

    Args:
        rng: of everything.
        skin: [3] RGB of the face; hands have it, darker or lighter.
        cloth: [h, w, 3] RGB, a piece of another picture, some things' texture.
    """
    is_hand = rng.random() < 0.35
    shapes = [_hand if is_hand else SHAPES[rng.integers(len(SHAPES))]]
    if not is_hand and rng.random() < 0.25:
        shapes.append(SHAPES[rng.integers(len(SHAPES))])
    opacity, light = np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)
    for shape in shapes:
        where, lit = shape(rng)
        light = np.where(where > 0.5, lit, light)
        opacity = np.maximum(opacity, where)
    if is_hand:
        tone = skin * rng.uniform(0.65, 1.25) * rng.uniform(0.93, 1.07, 3)
        colours = tone * light[..., None] * (1 + 0.05 * _noise(rng, rng.uniform(2, 20)))[..., None]
    else:
        colours = _texture(rng, cloth) * light[..., None]
    colours = np.clip(colours, 0, 255).astype(np.float32)
    drawn = np.dstack([colours * opacity[..., None], opacity])
    drawn = cv2.GaussianBlur(drawn, (0, 0), rng.uniform(*EDGE_PX))
    if rng.random() < MOTION_SHARE:
        drawn = cv2.filter2D(drawn, -1, _streak(rng), borderType=cv2.BORDER_REPLICATE)
    opacity = np.clip(drawn[..., 3], 0, 1)
    shadow = None
    if rng.random() < SHADOW_SHARE:
        shift = np.array([[1, 0, rng.uniform(-12, 12)], [0, 1, rng.uniform(-10, 4)]])
        moved = cv2.warpAffine(opacity, shift, SIZE[::-1], borderMode=cv2.BORDER_REPLICATE)
        shadow = rng.uniform(*SHADOW) * cv2.GaussianBlur(moved, (0, 0), rng.uniform(2, 10))
    colours = drawn[..., :3] / np.maximum(opacity, 1e-3)[..., None]
    return Thing(colours=colours, opacity=opacity), shadow


def _anchor(rng: Random) -> np.ndarray:
    return ANCHOR_PX + ANCHOR_SPREAD_PX * rng.normal(size=2)


def _towards_outside(rng: Random) -> np.ndarray:
    """A direction [2] out of the window, downwards more often than not."""
    angle = rng.uniform(0.1, 0.9) * np.pi if rng.random() < BELOW_SHARE else rng.uniform(0, 2 * np.pi)
    return np.array((np.cos(angle), np.sin(angle)))


def _bar(opacity: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> np.ndarray:
    """Draw a thick line with round ends; returns how round it is, [H, W] about 1, 0 outside."""
    bar = np.zeros(SIZE, np.uint8)
    cv2.line(bar, _pixel(start), _pixel(end), (255,), max(2, round(width)), cv2.LINE_AA)
    np.maximum(opacity, bar.astype(np.float32) / 255, out=opacity)
    return _roundness(bar > 127, width / 2)


def _pixel(place: np.ndarray) -> tuple[int, int]:
    x, y = np.round(place).astype(int).tolist()
    return x, y


def _roundness(inside: np.ndarray, radius: float) -> np.ndarray:
    """[H, W], lighter in the middle of a region than at its edge; 0 outside."""
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3) / max(radius, 1.0)
    return np.where(inside, 0.6 + 0.45 * np.sqrt(np.clip(depth, 0, 1)), 0).astype(np.float32)


def _hand(rng: Random) -> Shape:
    """Fingers with a joint each, side by side on a palm that comes from outside."""
    opacity, light = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    tip, away = _anchor(rng), _towards_outside(rng)
    across = np.array((-away[1], away[0])) * rng.choice((-1, 1))
    width = WINDOW_SCALE * rng.uniform(0.13, 0.26)
    count, length = int(rng.integers(1, 6)), width * rng.uniform(2.5, 4.5)
    palm = tip + away * length * rng.uniform(0.7, 1.3) + across * width * rng.uniform(-1, 1)
    light = np.maximum(light, _bar(opacity, palm + away * width, palm + FAR_PX * away, width * rng.uniform(2, 4)))
    for finger in range(count):
        root = palm + across * width * 0.95 * (finger - (count - 1) / 2)
        end = tip + across * width * (finger - (count - 1) / 2) * rng.uniform(0.8, 1.3)
        end = end - away * width * rng.uniform(-1, 1)
        joint = (root + end) / 2 + across * width * rng.uniform(-0.5, 0.5)
        here = np.maximum(_bar(opacity, root, joint, width), _bar(opacity, joint, end, width * 0.9))
        light = np.where(here > 0, here, light)  # fingers in front of the palm, each before the last
    return opacity, np.where(light > 0, light, 1).astype(np.float32)


def _stick(rng: Random) -> Shape:
    """A handle that comes from outside, with a head at its end or none: a microphone, a spoon, a pen."""
    opacity = np.zeros(SIZE, np.float32)
    place, away = _anchor(rng), _towards_outside(rng)
    width = WINDOW_SCALE * rng.uniform(0.04, 0.4)
    light = _bar(opacity, place, place + FAR_PX * away, width)
    if rng.random() < 0.7:
        head = np.zeros(SIZE, np.uint8)
        radii = np.maximum(width * rng.uniform(0.6, 2, 2), WINDOW_SCALE * 0.08)
        turned = np.degrees(np.arctan2(away[1], away[0])) + rng.normal(0, 15)
        cv2.ellipse(head, _pixel(place), _pixel(radii), turned, 0, 360, (255,), -1, cv2.LINE_AA)
        opacity = np.maximum(opacity, head.astype(np.float32) / 255)
        light = np.maximum(light, _roundness(head > 127, float(radii.min())))
    return opacity, np.where(light > 0, light, 1).astype(np.float32)


def _wire(rng: Random) -> Shape:
    """A bent bar: a headset's arm, a cable, a straw; some with a ball at the end."""
    opacity = np.zeros(SIZE, np.float32)
    place, away = _anchor(rng), _towards_outside(rng)
    across = np.array((-away[1], away[0]))
    bend = place + away * rng.uniform(30, 90) + across * rng.uniform(-40, 40)
    width = WINDOW_SCALE * rng.uniform(0.03, 0.12)
    light = np.maximum(_bar(opacity, place, bend, width), _bar(opacity, bend, bend + FAR_PX * away, width))
    if rng.random() < 0.6:
        light = np.maximum(light, _bar(opacity, place, place + 1, width * rng.uniform(2, 4)))
    return opacity, np.where(light > 0, light, 1).astype(np.float32)


def _slab(rng: Random) -> Shape:
    """A turned rectangle: a cup, a book, a telephone, a sheet, a caption."""
    opacity = np.zeros(SIZE, np.uint8)
    middle = _anchor(rng) + _towards_outside(rng) * rng.uniform(0, 60)
    sides = WINDOW_SCALE * rng.uniform((0.3, 0.2), (2.2, 1.4))
    turned = rng.normal(0, 20) if rng.random() < 0.7 else rng.uniform(0, 180)
    corners = cv2.boxPoints((middle.tolist(), sides.tolist(), turned))
    cv2.fillConvexPoly(opacity, np.round(corners).astype(np.int32), 255, cv2.LINE_AA)
    slope = np.linspace(-1, 1, SIZE[1], dtype=np.float32)
    light = 1 - rng.uniform(0, 0.4) * slope**2 if rng.random() < 0.5 else 1 + rng.uniform(-0.3, 0.3) * slope
    return opacity.astype(np.float32) / 255, np.broadcast_to(light, SIZE).astype(np.float32)


def _blob(rng: Random) -> Shape:
    """A smooth shape of no kind, that reaches out of the window or not."""
    place = _anchor(rng)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 11))))
    radii = WINDOW_SCALE * rng.uniform(0.12, 0.7) * rng.uniform(0.5, 1.3, len(angles))
    corners = place + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    opacity = np.zeros(SIZE, np.uint8)
    if rng.random() < 0.7:
        corners = np.concatenate([corners, [place + FAR_PX * _towards_outside(rng)]])
        corners = cv2.convexHull(corners.astype(np.float32))[:, 0]
    cv2.fillPoly(opacity, [np.round(corners).astype(np.int32)], 255)
    opacity = cv2.GaussianBlur(opacity.astype(np.float32), (0, 0), rng.uniform(2, 8))
    light = _roundness(opacity > 127, WINDOW_SCALE * rng.uniform(0.1, 0.6))
    return np.clip((opacity - 112) / 31, 0, 1), np.where(light > 0, light, 1).astype(np.float32)


SHAPES: tuple[Callable[[Random], Shape], ...] = (_stick, _wire, _slab, _blob)


def _noise(rng: Random, size: float) -> np.ndarray:
    """[H, W] smooth noise of deviation 1, about `size` px coarse."""
    coarse = rng.normal(size=(max(2, int(SIZE[0] / size) + 2), max(2, int(SIZE[1] / size) + 2))).astype(np.float32)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def _texture(rng: Random, cloth: np.ndarray) -> np.ndarray:
    """[H, W, 3] RGB of anything but skin: a piece of a picture, or one colour or two in some pattern."""
    if rng.random() < 0.3:
        stretched = cv2.resize(cloth, SIZE[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        return stretched[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))] * rng.uniform(0.6, 1.4)
    first, second = _colour(rng), _colour(rng)
    pattern = rng.random()
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(3, 30)
    along = (np.cos(angle) * columns + np.sin(angle) * rows) / period
    if pattern < 0.5:
        share = np.zeros(SIZE, np.float32)
    elif pattern < 0.65:
        share = (np.sin(2 * np.pi * along) > rng.uniform(-0.8, 0.8)).astype(np.float32)
    elif pattern < 0.75:
        beside = (np.sin(angle) * columns - np.cos(angle) * rows) / period
        share = ((np.sin(2 * np.pi * along) > 0) ^ (np.sin(2 * np.pi * beside) > 0)).astype(np.float32)
    elif pattern < 0.9:
        share = (_noise(rng, rng.uniform(3, 40)) > rng.uniform(-0.5, 1.5)).astype(np.float32)
    else:
        share = np.clip((rows - rng.uniform(0, 80)) / rng.uniform(20, 120), 0, 1)
    colours = first + share[..., None] * (second - first)
    fine = rng.uniform(0, 0.1) * rng.normal(size=SIZE) + rng.uniform(0, 0.15) * _noise(rng, rng.uniform(4, 40))
    return colours * (1 + fine[..., None])


def _colour(rng: Random) -> np.ndarray:
    """[3] RGB: dark, pale or of any colour."""
    kind = rng.random()
    if kind < 0.35:
        return rng.uniform(*DARK) * rng.uniform(0.9, 1.1, 3)
    if kind < 0.5:
        return rng.uniform(*PALE) * rng.uniform(0.93, 1.05, 3)
    return rng.uniform(20, 240, 3)


def _streak(rng: Random) -> np.ndarray:
    """A kernel that smears along a line, as motion does while a frame is exposed."""
    side = int(rng.integers(*MOTION_PX)) | 1
    kernel = np.zeros((side, side), np.float32)
    angle, middle = rng.uniform(0, np.pi), side // 2
    reach = middle * np.array((np.cos(angle), np.sin(angle)))
    cv2.line(kernel, _pixel(middle - reach), _pixel(middle + reach), (1.0,))
    return kernel / kernel.sum()
