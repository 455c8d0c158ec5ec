"""Training samples of the occluder network: faces of the corpus with things drawn before them, and without."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.mesh import FaceMesh
from personatalk.occlusion.appearance import HEIGHT, WIDTH
from personatalk.training.corpus import Clip
from personatalk.training.face_rendering.dataset import ClipFrames, clips_by_person
from personatalk.training.occlusion.things import Random, draw_thing

THING_SHARE, SECOND_SHARE = 0.55, 0.2  # of the samples with something before the face, and with two things
OFFSET_PX, SCALES, TURN_DEGREES = 2.5, (0.93, 1.07), 3.0  # of the window, by which the fit may be wrong
CAST_SHARE, CAST_DEPTH, CAST_PX = 0.3, (0.1, 0.6), (2.0, 25.0)  # shadows on the face, which are no occluders
LIGHT_SHARE, COARSE_SHARE, NOISE_SHARE = 0.6, 0.3, 0.4
FACE_CHANNEL, MIRRORED = 6, (0, 2)  # of the geometry map; the latter point across
CHEEKS = (50, 280)  # vertices where the skin's colour is read
CLOTH_ROWS = 48  # px at the bottom of a window, which are seldom face


@dataclass(frozen=True, kw_only=True)
class OccluderBatch:
    """Windows, and what stands before the face in them.

    Attributes:
        windows: [B, 3, 80, 96] in [0, 1].
        geometry: [B, 8, 40, 48] geometry maps.
        truth: [B, 1, 80, 96] in [0, 1], how far a thing hides what is behind it.
        face: [B, 1, 80, 96] in [0, 1], where the face would be.
    """

    windows: Tensor
    geometry: Tensor
    truth: Tensor
    face: Tensor


class OccluderDataset:
    """Training samples, one for each (step, place in the batch).

    Args:
        corpus: folder that `preprocess` filled.
        clips: to draw from; those without windows are left out.
        mesh: the face mesh.
    """

    def __init__(self, corpus: Path, clips: list[Clip], mesh: FaceMesh) -> None:
        self.mesh = mesh
        self.by_person = clips_by_person(corpus, clips)
        self.persons = sorted(self.by_person)
        self.load = lru_cache(maxsize=400)(lambda name: ClipFrames(corpus, name, mesh, has_prior=False))

    def batch_at(self, step: int, size: int, seed: int = 0) -> OccluderBatch:
        """Build the batch of a step; the same step gives the same batch."""
        rng = np.random.default_rng((seed, step))
        columns = zip(*(self.sample(rng) for _ in range(size)), strict=True)
        windows, geometry, truth, face = (torch.from_numpy(np.stack(column)) for column in columns)
        return OccluderBatch(windows=windows, geometry=geometry, truth=truth, face=face)

    def draw(self, rng: Random) -> tuple[ClipFrames, int]:
        """Draw a person, a clip and a frame that shows the face."""
        names = self.by_person[self.persons[rng.integers(len(self.persons))]]
        clip = self.load(names[rng.integers(len(names))])
        return clip, int(rng.choice(clip.valid))

    def sample(self, rng: Random) -> tuple[np.ndarray, ...]:
        """Build a sample: window, geometry, truth and face, without the batch."""
        clip, frame = self.draw(rng)
        pose = clip.pose(frame)
        projected = self.mesh.project(pose)
        geometry = self.mesh.geometry_map(pose, projected)
        window, truth = np.asarray(clip.windows[frame]).astype(np.float32), np.zeros((WINDOW_HEIGHT, WINDOW_WIDTH))
        if rng.random() < CAST_SHARE:
            window *= 1 - _cast_shadow(rng)[..., None]
        if rng.random() < THING_SHARE:
            skin = _skin(window, projected)
            for _ in range(1 + (rng.random() < SECOND_SHARE)):
                other, number = self.draw(rng)
                thing, shadow = draw_thing(rng, skin, np.asarray(other.windows[number])[-CLOTH_ROWS:])
                window, truth = thing.before(window, shadow), np.maximum(truth, thing.opacity)
        drawn = np.dstack([vary(window, rng), truth]).astype(np.float32)
        size = WINDOW_WIDTH, WINDOW_HEIGHT
        drawn = cv2.warpAffine(drawn, _misfit(rng), size, borderMode=cv2.BORDER_REPLICATE)
        drawn = cv2.resize(drawn, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        window, truth = drawn[..., :3], drawn[..., 3]
        face = cv2.resize(geometry[FACE_CHANNEL], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        made = [
            (np.clip(window, 0, 255) / 255).transpose(2, 0, 1),
            geometry,
            truth[None],
            face[None],
        ]
        if rng.random() < 0.5:
            made = [part[..., ::-1].copy() for part in made]
            made[1][list(MIRRORED)] *= -1
        return tuple(part.astype(np.float32) for part in made)


def vary(window: np.ndarray, rng: Random) -> np.ndarray:
    """Vary light, sharpness and noise of a window [H, W, 3] in [0, 255]: float32."""
    if rng.random() < LIGHT_SHARE:
        window = 255 * (np.clip(window, 0, 255) / 255) ** rng.uniform(0.6, 1.6)
        window = window * rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
        slope = np.linspace(-1, 1, WINDOW_WIDTH)[None, :, None] * rng.uniform(-0.25, 0.25)
        window = window * (1 + slope)
    if rng.random() < COARSE_SHARE:
        window = cv2.GaussianBlur(window.astype(np.float32), (0, 0), rng.uniform(0.5, 3))
    if rng.random() < NOISE_SHARE:
        window = window + rng.normal(0, rng.uniform(1, 8), window.shape)
    return window.astype(np.float32)


def _cast_shadow(rng: Random) -> np.ndarray:
    """[H, W] in [0, 1], by how much a shadow of any shape darkens: a nose's, a hat's, a window frame's."""
    coarse = rng.normal(size=rng.integers(2, 6, 2)).astype(np.float32)
    shape = cv2.resize(coarse, (WINDOW_WIDTH, WINDOW_HEIGHT), interpolation=cv2.INTER_CUBIC) > rng.uniform(-0.5, 0.8)
    return rng.uniform(*CAST_DEPTH) * cv2.GaussianBlur(shape.astype(np.float32), (0, 0), rng.uniform(*CAST_PX))


def _misfit(rng: Random) -> np.ndarray:
    """[2, 3], a small similarity about the middle of the window."""
    middle = (WINDOW_WIDTH / 2, WINDOW_HEIGHT / 2)
    moved = cv2.getRotationMatrix2D(middle, rng.normal(0, TURN_DEGREES / 2), rng.uniform(*SCALES))
    moved[:, 2] += rng.normal(0, OFFSET_PX / 2, 2)
    return moved


def _skin(window: np.ndarray, projected: np.ndarray) -> np.ndarray:
    """[3] RGB of the cheeks in a window [H, W, 3]."""
    places = np.round(projected[list(CHEEKS), :2]).astype(int)
    patches = [window[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5].reshape(-1, 3) for x, y in places]
    pixels = np.concatenate(patches)
    return np.median(pixels, 0) if len(pixels) else np.array((150.0, 110.0, 90.0))
