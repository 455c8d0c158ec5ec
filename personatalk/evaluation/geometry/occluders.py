"""Synthetic occluders with known masks: hands, microphones, cups, captions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SIDE, MIDDLE = 288, 144  # px
PX_PER_IOD = 120.0
STAYING = "staying microphone"  # from the first frame to the last
PASSING = ("passing hand", "passing finger")  # again and again, so fast that they are blurred
KINDS = ("hand", "fist", "finger", "microphone", "cup", "caption", STAYING, *PASSING)
ENTERS, STAYS, LEAVES, GONE = 0.35, 0.42, 0.58, 0.65  # shares of the clip
# where each comes from and where it stays, IOD from the middle of the mouth; x to the right, y down
PATHS = {
    "hand": ((1.6, 1.3), (0.35, 0.25)),
    "fist": ((-0.2, 2.2), (-0.1, 0.65)),
    "finger": ((-1.5, 1.2), (-0.15, 0.2)),
    "microphone": ((0.3, 2.4), (0.1, 0.75)),
    "cup": ((-1.6, 1.5), (-0.05, 0.4)),
    "caption": ((0.0, 0.6), (0.0, 0.6)),
}
PASS_FRAMES, PASS_EVERY = 8, 25  # frames that a pass takes, and from one to the next
PASS_FROM, PASS_TO = np.array((-2.2, 0.5)), np.array((2.4, -0.1))
EXPOSED, NUM_EXPOSED = 0.5, 6  # share of a frame's time that it is exposed for, in so many steps
# bars that hands are made of, from the back to the front: start, end and width, IOD from the middle of the sprite
BARS = {
    "finger": [((-0.9, 0.55), (0.15, -0.1), 0.2)],
    "fist": [
        ((-0.32, 0.7), (0.32, 0.7), 0.7),
        *(((0.22 * i - 0.33, 0.35), (0.22 * i - 0.33, 0.0), 0.24) for i in range(4)),
    ],
    "hand": [
        ((0.35, 0.6), (0.75, 0.9), 0.75),
        *(((0.3 + 0.1 * i, 0.8 - 0.28 * i), (-0.62 + 0.08 * i, 0.3 - 0.3 * i), 0.2) for i in range(4)),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Occluder:
    """An occluder that enters the picture, stays a while in front of the face, moving a little, and leaves.

    Some are there all the time, some pass by.

    Attributes:
        kind: one of KINDS.
        sprite: [S, S, 4] float32, RGB in [0, 255] and opacity in [0, 1].
        mouth: [2] px of the picture, around which it moves.
        scale: px per IOD.
        num_frames: of the clip.
    """

    kind: str
    sprite: np.ndarray
    mouth: np.ndarray
    scale: float
    num_frames: int

    def presence(self, frame: float) -> float:
        """Progress of its entrance, 0 outside, 1 in front of the face; of what passes, that of its pass."""
        if self.kind == STAYING:
            return 1.0
        if self.kind in PASSING:
            progress = (frame + 1 - self.num_frames * ENTERS) % PASS_EVERY / PASS_FRAMES
            return progress if progress < 1 else 0.0
        share = (frame + 0.5) / self.num_frames
        if self.kind == "caption":
            return float(ENTERS <= share < GONE)
        return float(np.clip(min((share - ENTERS) / (STAYS - ENTERS), (GONE - share) / (GONE - LEAVES)), 0, 1))

    def place(self, frame: float) -> np.ndarray:
        """Where its middle is, [2] IOD from the middle of the mouth."""
        presence = self.presence(frame)
        if self.kind in PASSING:
            return PASS_FROM + presence * (PASS_TO - PASS_FROM)
        start, end = np.array(PATHS[self.kind.split()[-1]])
        sway = 0 if self.kind == "caption" else 0.04 * np.array((np.sin(frame / 5), np.cos(frame / 7)))
        return start + presence * (end - start) + sway

    def draw_at(self, frame: int, image: np.ndarray) -> None:
        """Draw it into a whole frame [H, W, 3] uint8, in place."""
        self.draw(image, frame)

    def draw(self, image: np.ndarray, frame: int, target_from_image: np.ndarray | None = None) -> np.ndarray:
        """Draw it into a frame.

        Args:
            image: [H, W, 3] uint8, drawn into.
            frame: which of the clip's frames.
            target_from_image: [2, 3], where the image is a window of the frame.

        Returns:
            [H, W] opacity in [0, 1]
        """
        size = image.shape[:2]
        if self.presence(frame) == 0:
            return np.zeros(size, np.float32)
        moments = np.arange(NUM_EXPOSED) * EXPOSED / NUM_EXPOSED if self.kind in PASSING else np.zeros(1)
        drawn = [self.drawn_at(frame + moment, size, target_from_image) for moment in moments.tolist()]
        warped = np.stack(drawn).mean(0)
        opacity = warped[..., 3]
        mixed = image + opacity[..., None] * (warped[..., :3] / np.maximum(opacity, 1e-3)[..., None] - image)
        image[...] = np.clip(np.where(opacity[..., None] > 1e-3, mixed, image) + 0.5, 0, 255).astype(np.uint8)
        return opacity

    def drawn_at(self, moment: float, size: tuple[int, int], target_from_image: np.ndarray | None) -> np.ndarray:
        """Draw it alone at a moment, in frames: [H, W, 4], RGB times opacity, and opacity."""
        centre = self.mouth + self.scale * self.place(moment)
        gain = self.scale / PX_PER_IOD
        affine = np.array([[gain, 0, centre[0] - gain * SIDE / 2], [0, gain, centre[1] - gain * SIDE / 2]])
        if target_from_image is not None:
            affine = target_from_image[:, :2] @ affine + np.array([[0, 0, 1]]) * target_from_image[:, 2:]
        affine[:, 2] += affine[:, :2].sum(1) * 0.5 - 0.5  # OpenCV counts from the centre of the first pixel
        return cv2.warpAffine(self.sprite, affine, size[::-1], flags=cv2.INTER_AREA)


def make_sprite(kind: str, skin: np.ndarray, seed: int) -> np.ndarray:
    """Draw the picture of an occluder.

    Args:
        kind: one of KINDS.
        skin: [3] RGB of the person; hands have it, darker or lighter.
        seed: of its colour and texture.

    Returns:
        [288, 288, 4] float32: RGB times opacity, and opacity.
    """
    random, kind = np.random.default_rng(seed), kind.split()[-1]
    if kind in BARS:
        texture, opacity = _paint_hand(kind, skin, random)
    else:
        texture, opacity = {"microphone": _paint_microphone, "cup": _paint_cup, "caption": _paint_caption}[kind](random)
    opacity = cv2.GaussianBlur(opacity, (0, 0), 1.0)
    return np.dstack([np.clip(texture, 0, 255) * opacity[..., None], opacity]).astype(np.float32)


def _paint_hand(kind: str, skin: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    opacity, shade = np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    for start, end, width in BARS[kind]:
        bar, (a, b) = np.zeros_like(opacity), ((MIDDLE + PX_PER_IOD * np.array((start, end))).astype(int))
        cv2.line(bar, a.tolist(), b.tolist(), 1, int(width * PX_PER_IOD), cv2.LINE_AA)
        inside = cv2.distanceTransform((bar > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / (width * PX_PER_IOD / 2)
        shade = np.where(bar > 0.5, 0.6 + 0.4 * np.sqrt(np.clip(inside, 0, 1)), shade)  # round, darker at its edge
        opacity = np.maximum(opacity, bar)
    fine, coarse = (cv2.GaussianBlur(random.normal(size=opacity.shape), (0, 0), size) for size in (3, 14))
    noise = fine + 3 * coarse
    return skin * random.uniform(0.75, 1.15) * (shade * (1 + 0.04 * noise / noise.std()))[..., None], opacity


def _paint_microphone(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    opacity, columns = np.zeros((SIDE, SIDE), np.float32), np.arange(SIDE)
    cv2.ellipse(opacity, (MIDDLE, MIDDLE), (36, 43), 0, 0, 360, 1, -1, cv2.LINE_AA)
    cv2.line(opacity, (MIDDLE, MIDDLE), (MIDDLE + 10, SIDE), 1, 26, cv2.LINE_AA)
    grain = 1.1 - 0.3 * np.abs(columns - MIDDLE) / 48 + 0.12 * random.normal(size=opacity.shape)
    return random.choice((25, 60, 120)) * np.repeat(grain[..., None], 3, -1), opacity


def _paint_cup(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    opacity = np.zeros((SIDE, SIDE), np.float32)
    cv2.rectangle(opacity, (MIDDLE - 54, MIDDLE - 66), (MIDDLE + 54, MIDDLE + 84), 1, -1)
    colour = np.array(random.choice([(235, 235, 230), (180, 40, 40), (40, 80, 160)]))
    shade = 1 - 0.35 * ((np.arange(SIDE) - MIDDLE) / 54) ** 2 + 0.01 * random.normal(size=opacity.shape)
    return colour * shade[..., None], opacity


def _paint_caption(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    opacity, texture = np.zeros((SIDE, SIDE), np.float32), np.full((SIDE, SIDE, 3), 20, np.uint8)
    opacity[MIDDLE - 24 : MIDDLE + 24, 10:-10] = 1
    place, font = (24, MIDDLE + 14), cv2.FONT_HERSHEY_DUPLEX
    cv2.putText(texture, random.choice(("AS HE SAID", "ON THE DAY")), place, font, 1.3, (240,) * 3, 3, cv2.LINE_AA)
    return texture, opacity
