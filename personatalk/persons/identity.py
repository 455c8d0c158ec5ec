"""Which of the faces that were followed are the same person, and which are lit alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.distance import cdist

from personatalk.persons.embedding import FaceEmbedder, embed
from personatalk.persons.faces import NEAR, FaceRun, decode_chip

SAME_PERSON = 0.55  # mean distance of embeddings up to which two faces are one person; dlib says .6 for two pictures
SURELY_ANOTHER = 0.75  # beyond it even a face at the same place in the same shot is another's
MAX_CHIPS = 5  # of a run that are embedded
SAME_PLACE_S = 1.0  # s between two runs of a shot that may be one face, lost for a moment
LIGHT_PX = 8  # side of the small pictures by which light is compared
SAME_LIGHT = 12.0  # Lab, root mean square of the difference between two faces of one person


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run within one shot, and what tells who it is.

    Attributes:
        run: of the face.
        shot: number of the shot.
        embeddings: [N, 128] of its pictures; of none where it is too short to have one.
    """

    run: FaceRun
    shot: int
    embeddings: np.ndarray


def look_at_runs(runs: Sequence[tuple[FaceRun, int]], load_embedder: Callable[[], FaceEmbedder]) -> list[Seen]:
    """Embed a few pictures of each run; of a single run none, since there is nobody to tell it from.

    Args:
        runs: each with the number of its shot.
        load_embedder: called where it is needed.
    """
    if len(runs) < 2:
        return [Seen(run=run, shot=shot, embeddings=np.zeros((0, 128), np.float32)) for run, shot in runs]
    embedder, seen = load_embedder(), []
    for run, shot in runs:
        chips = _pictures_of(run)
        embedded = embed(embedder, np.stack(chips)) if chips else np.zeros((0, 128), np.float32)
        seen.append(Seen(run=run, shot=shot, embeddings=embedded))
    return seen


def group_by_person(seen: Sequence[Seen], times: np.ndarray) -> list[list[Seen]]:
    """Tell persons apart: agglomerative clustering by the mean distance of embeddings (average linkage).

    Runs that are seen in the same frames are never one person. Runs at the same place of one shot, one soon after the
    other, are one person unless they look quite different.

    Args:
        seen: all runs.
        times: [T] s of the video's frames.

    Returns:
        the persons, each with its runs.
    """
    groups = [[item] for item in seen]
    if len(groups) < 2:
        return groups
    total, count = _distances(seen)
    shown = np.zeros((len(seen), len(times)), np.float32)
    for row, item in enumerate(seen):
        shown[row, item.run.frames] = 1
    meet = shown @ shown.T > 0
    follows = np.array([[_follows(a, b, times) or _follows(b, a, times) for b in seen] for a in seen], bool)
    follows = follows.reshape(len(seen), len(seen))
    while len(groups) > 1:
        mean = np.where(count > 0, total / np.maximum(count, 1), np.where(follows, SURELY_ANOTHER / 2, np.inf))
        unlike = np.where(meet, np.inf, mean / np.where(follows, SURELY_ANOTHER, SAME_PERSON))
        np.fill_diagonal(unlike, np.inf)
        first, second = sorted(int(i) for i in np.unravel_index(unlike.argmin(), unlike.shape))
        if unlike[first, second] >= 1:
            break
        groups[first] += groups.pop(second)
        total, count, meet, follows = (_merged(matrix, first, second) for matrix in (total, count, meet, follows))
    return groups


def _distances(seen: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray]:
    """[N, N] sums of the distances between the pictures of each two runs, and how many there are."""
    embeddings = np.concatenate([item.embeddings for item in seen])
    owner = np.repeat(np.arange(len(seen)), [len(item.embeddings) for item in seen])
    belongs = (np.arange(len(seen))[:, None] == owner).astype(np.float64)
    return belongs @ cdist(embeddings, embeddings) @ belongs.T, np.outer(belongs.sum(1), belongs.sum(1))


def _merged(matrix: np.ndarray, first: int, second: int) -> np.ndarray:
    """Add row and column `second` of a symmetric matrix [N, N] to `first`, and leave them out."""
    matrix = matrix.copy()
    matrix[first] += matrix[second]
    matrix[:, first] += matrix[:, second]
    return np.delete(np.delete(matrix, second, 0), second, 1)


def group_by_light(runs: Sequence[FaceRun]) -> list[int]:
    """Number the light of each run of one person: clustering by the greatest difference of their faces' colours.

    A run without a picture, which is very short, is lit like no other.
    """
    lights = [light_of(pictures) if (pictures := _pictures_of(run)) else None for run in runs]
    groups: list[list[int]] = []

    def is_alike(first: int, second: int) -> bool:
        light, other = lights[first], lights[second]
        return light is not None and other is not None and light_distance(light, other) < SAME_LIGHT

    for index in range(len(runs)):
        fitting = [group for group in groups if all(is_alike(index, other) for other in group)]
        if fitting:
            max(fitting, key=len).append(index)
        else:
            groups.append([index])
    number_of = {index: number for number, group in enumerate(groups) for index in group}
    return [number_of[index] for index in range(len(runs))]


def spread(items: Sequence[int], count: int) -> list[int]:
    """Choose at most `count` items, evenly."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(len(items), count)).astype(int))]


def _follows(first: Seen, second: Seen, times: np.ndarray) -> bool:
    """Whether a run begins where another of the same shot was lost a moment before."""
    last, begins = int(first.run.frames[-1]), int(second.run.frames[0])
    if first.shot != second.shot or not 0 < times[begins] - times[last] <= SAME_PLACE_S:
        return False
    before, after = first.run.box(last), second.run.box(begins)
    apart = np.linalg.norm((before[:2] + before[2:] - after[:2] - after[2:]) / 2)
    return bool(apart < NEAR * max(before[2] - before[0], after[2] - after[0]))


def light_of(chips: Sequence[np.ndarray]) -> np.ndarray:
    """[8, 8, 3] Lab: the colours in the middle of a face, the median of its pictures [150, 150, 3] uint8 RGB."""
    small = []
    for chip in chips:
        margin = len(chip) // 4
        middle = cv2.resize(chip[margin:-margin, margin:-margin], (LIGHT_PX, LIGHT_PX), interpolation=cv2.INTER_AREA)
        small.append(cv2.cvtColor(middle.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    return np.median(small, 0)


def light_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square of the Lab distance of two faces' colours [8, 8, 3]."""
    return float(np.sqrt(np.square(first - second).sum(-1).mean()))


def _pictures_of(run: FaceRun) -> list[np.ndarray]:
    return [decode_chip(run.chips[frame]) for frame in spread(sorted(run.chips), MAX_CHIPS)]
