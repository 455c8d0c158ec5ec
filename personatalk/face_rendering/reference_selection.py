"""Which frames the renderer may look at: lip references, face references."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from personatalk.geometry.face_model import smoothstep

MIN_GAP = 8  # frames; nearer ones would show the true mouth
NIL = 1e-5  # of the greatest prior weight: the network raises none by more than some ten times
FADE_GAP = 11  # frames; from here on a reference counts fully
LEAST_FACING = 0.2  # cosine up to which a target hardly shows its own skin
SHOWN = 0.1, 0.4  # shares of the target's cosine at which a reference shows nothing, and all
SELF_OCCLUSION_WEIGHT = 0.4  # IOD of lip shape that a mouth is worth of which nothing is seen
MAX_CANDIDATES = 400
LIP_FOCUS, FACE_FOCUS = 2.0, 1.0  # powers of the weights: measured, fewer references are sharper, more are calmer


def select_lip_references(
    available: np.ndarray,
    demanded: np.ndarray,
    count: int,
    *,
    strategy: str = "coverage",
    opening: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Choose the fixed set of lip references of a clip.

    Args:
        available: [N, D] descriptors of the frames there are.
        demanded: [M, D] descriptors of the mouths to be rendered.
        count: how many to choose; fewer are returned where there are fewer.
        strategy: "coverage" minimises the mean distance from each demanded mouth to its nearest reference;
            "paper" spaces them evenly by openness; "random"; "nearest" takes the frames nearest to the mean demand.
        opening: [N] IOD between the lips of the frames there are, for the strategy "paper".

    Returns:
        [R] indices into `available`, ascending.

    Ours: the paper says that lip references are chosen by content, not how; even spacing by openness is
        how IP_LAP does it.
    """
    count = min(count, len(available))
    if strategy == "random":
        return np.sort(np.random.default_rng(seed).choice(len(available), count, replace=False))
    if strategy == "paper":
        order = np.argsort(opening, kind="stable")
        return np.sort(order[np.linspace(0, len(order) - 1, count).astype(int)])
    if strategy == "nearest":
        return np.sort(np.argsort(np.linalg.norm(available - demanded.mean(0), axis=1), kind="stable")[:count])
    return _cover(available, demanded, count)


def _cover(available: np.ndarray, demanded: np.ndarray, count: int) -> np.ndarray:
    """Greedy facility location: each step takes the frame that lowers the mean nearest distance most."""
    candidates = np.unique(np.linspace(0, len(available) - 1, MAX_CANDIDATES).astype(int))
    wishes = np.unique(np.linspace(0, len(demanded) - 1, MAX_CANDIDATES).astype(int))
    distance = cdist(available[candidates], demanded[wishes])
    nearest = np.full(len(wishes), np.inf)
    chosen: list[int] = []
    for _ in range(count):
        cost = np.minimum(distance, nearest).mean(1)
        cost[chosen] = np.inf
        chosen.append(int(cost.argmin()))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return np.sort(candidates[chosen])


def self_occlusion(normals: np.ndarray, bank: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How much of what a target shows of the mouth is hidden in references, because the head was turned away.

    Args:
        normals: [P, 3] of the skin around the mouth, into the head, as long as 1.
        bank: [N, 3, 3] camera_from_head of the references.
        target: [3, 3] of the target.

    Returns:
        [N] in [0, 1]

    Ours: the paper does not speak of it.
    """
    normals = normals[normals @ target[2] > LEAST_FACING]
    if not len(normals):  # the back of a head
        return np.zeros(len(bank), np.float32)
    return 1 - smoothstep(bank[:, 2] @ normals.T / (normals @ target[2]), *SHOWN).mean(1)


def rank_lip_references(
    bank: np.ndarray, target: np.ndarray, gap: np.ndarray, count: int, hidden: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Pick the references of the bank that resemble a target, with weights that fade in and out.

    A reference's weight reaches zero where the next one would take its place, and where it comes too near
    in time, so that nothing jumps when the choice changes.

    Args:
        bank: [N, D] descriptors.
        target: [D].
        gap: [N] frames between target and each reference.
        count: K, how many.
        hidden: [N] of `self_occlusion`.

    Returns:
        indices [K] into the bank, log_weights [K].
    """
    distance = np.linalg.norm(bank - target, axis=1) + SELF_OCCLUSION_WEIGHT * hidden + 1e-4
    allowed = smoothstep(np.abs(gap).astype(np.float64), MIN_GAP - 1, FADE_GAP)
    order = np.argsort(np.where(allowed > 0, distance, np.inf), kind="stable")
    chosen = order[np.arange(count) % min(count, len(order))]
    beyond = (
        distance[order[count]] if len(order) > count and allowed[order[count]] > 0 else 1.5 * distance[chosen].max()
    )
    weight = allowed[chosen] * np.maximum(1 - (distance[chosen] / beyond) ** 2, 0)
    return chosen, LIP_FOCUS * np.log(weight + 2e-9).astype(np.float32)


def rank_face_references(gap: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pick the face references nearest in time, at least MIN_GAP frames away.

    Args:
        gap: [N] frames between target and each reference.
        count: K.

    Returns:
        indices [K], log_weights [K].
    """
    distance = np.abs(gap).astype(np.float64)
    allowed = smoothstep(distance, MIN_GAP - 1, FADE_GAP)
    order = np.argsort(np.where(allowed > 0, distance, np.inf), kind="stable")
    chosen = order[np.arange(count) % min(count, len(order))]
    beyond = (
        distance[order[count]] if len(order) > count and allowed[order[count]] > 0 else 1.5 * distance[chosen].max()
    )
    weight = allowed[chosen] * np.maximum(1 - (distance[chosen] / (beyond + 1e-6)) ** 2, 0)
    return chosen, FACE_FOCUS * np.log(weight + 2e-9).astype(np.float32)


def active_references(log_weights: np.ndarray) -> np.ndarray:
    """Say which references [K] have any say by their log-weights, so that no work is done for the others."""
    return np.flatnonzero(log_weights >= log_weights.max() + np.log(NIL))
