"""Training samples of the mouth interior: open mouths, and what frames with less open ones give for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from personatalk.face_rendering.mouth_interior import COLUMNS, ROWS, gap_profile, missing_share, mouth_gap
from personatalk.face_rendering.reference_selection import is_far
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture
from personatalk.training.corpus import Clip
from personatalk.training.face_rendering.dataset import ClipFrames, clips_by_person

OPEN_IOD = 0.03  # lip aperture from which a mouth is worth painting
OPENEST_SHARE = 0.75  # of the samples come from the more open half of a clip's open mouths
SHUT_SHARE = 0.6  # of the samples see only the fifth of the clip's frames whose mouths are least open
SHUT_QUANTILE = 0.2
WARPED_SHARE = 0.35  # of the samples see the face around the mouth as another frame has it, as in a dub
MIRRORED_SHARE = 0.5
MIRRORED_MAPS = (0, 2)  # channels of the geometry map that point across: canonical x, displacement x
ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True)
class InteriorBatch:
    """Mouths to paint, and the truth.

    Attributes:
        image: [B, 3, H, W] in [0, 1], windows with the gap as another frame has it.
        maps: [B, 4, 96, 112] of `MouthGap`.
        geometry: [B, 8, h, w] geometry maps.
        truth: [B, 3, H, W] in [0, 1].
    """

    image: Tensor
    maps: Tensor
    geometry: Tensor
    truth: Tensor


class InteriorDataset:
    """Training samples, one for each (step, place in the batch).

    Args:
        corpus: folder that `preprocess` filled.
        clips: to draw from; those without windows, or whose mouths stay shut, are left out.
        mesh: the face mesh.
        is_varied: mirrored, and with faces warped whole, as for training.
    """

    def __init__(self, corpus: Path, clips: list[Clip], mesh: FaceMesh, *, is_varied: bool = True) -> None:
        self.mesh, self.is_varied = mesh, is_varied
        self.by_person = clips_by_person(corpus, clips)
        self.persons = sorted(self.by_person)
        self.load = lru_cache(maxsize=400)(lambda name: ClipFrames(corpus, name, mesh, has_prior=False))

    def batch_at(self, step: int, size: int, seed: int = 0) -> InteriorBatch:
        """Build the batch of a step; the same step gives the same batch."""
        rng = np.random.default_rng((seed, step))
        rows = [self.sample(rng) for _ in range(size)]
        columns = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
        image, maps, geometry, truth = columns
        return InteriorBatch(image=image, maps=maps, geometry=geometry, truth=truth)

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Draw a person, a clip, an open mouth and another frame: image, maps, geometry and truth, without the batch.

        Raises:
            ValueError: no open mouth is found.
        """
        for _ in range(ATTEMPTS):
            person = self.persons[rng.integers(len(self.persons))]
            names = self.by_person[person]
            clip = self.load(names[rng.integers(len(names))])
            frames = self.draw(clip, rng)
            if frames is not None and (made := self.sample_of(clip, *frames, rng)) is not None:
                return made
        raise ValueError(f"no open mouth in {ATTEMPTS} clips; train on people who speak")

    def draw(self, clip: ClipFrames, rng: np.random.Generator) -> tuple[int, int] | None:
        """Draw an open mouth of a clip and a frame to take its gap from; None where there is none."""
        valid, times = clip.valid, clip.geometry.times
        aperture = lip_aperture(clip.head_vertices)
        opened = valid[aperture[valid] >= OPEN_IOD]
        if not len(opened):
            return None
        if rng.random() < OPENEST_SHARE:
            opened = opened[aperture[opened] >= np.median(aperture[opened])]
        target = int(rng.choice(opened))
        others = valid[is_far(np.abs(times[valid] - times[target]))]
        if not len(others):
            return None
        if rng.random() < SHUT_SHARE:
            others = others[aperture[others] <= np.quantile(aperture[others], SHUT_QUANTILE)]
        return target, int(rng.choice(others))

    def sample_of(
        self, clip: ClipFrames, target: int, other: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, ...] | None:
        """Build the sample of a target whose gap another frame gives; None where the lips hide the gap."""
        mesh, pose = self.mesh, clip.pose(target)
        projected, places = mesh.project(pose), mesh.project(clip.pose(other))
        gaps, given = gap_profile(clip.head_vertices[target]), gap_profile(clip.head_vertices[[other]])
        gap = mouth_gap(mesh, projected, gaps, missing_share(gaps, given, np.ones(1)))
        if gap is None:
            return None
        grid = mesh.correspondence(projected, places[None, :, :2], WINDOW_HEIGHT, WINDOW_WIDTH)[0]
        x, y = np.moveaxis(grid - 0.5, -1, 0).astype(np.float32)
        truth = np.asarray(clip.windows[target])
        warped = cv2.remap(clip.windows[other], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        place = np.zeros(truth.shape[:2], np.float32)
        if self.is_varied and rng.random() < WARPED_SHARE:
            place = mesh.mask(mesh.project(pose.at_rest()), pose.template, WINDOW_HEIGHT, WINDOW_WIDTH)
        place[ROWS, COLUMNS] = np.maximum(place[ROWS, COLUMNS], gap.maps[0])
        place = (place * (grid[..., 0] > -1e3))[..., None]
        image = truth + place * (warped.astype(np.float32) - truth)
        made = [
            image.transpose(2, 0, 1).astype(np.float32) / 255,
            gap.maps,
            mesh.geometry_map(pose, projected),
            truth.transpose(2, 0, 1).astype(np.float32) / 255,
        ]
        if self.is_varied and rng.random() < MIRRORED_SHARE:
            made = [np.ascontiguousarray(part[..., ::-1]) for part in made]
            made[1][1] *= -1
            made[2][list(MIRRORED_MAPS)] *= -1
        return tuple(made)
