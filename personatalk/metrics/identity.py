"""How far apart two rows of faces are by their embeddings."""

from __future__ import annotations

import numpy as np


def identity_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean Euclidean distance of embeddings [N, 128], row by row."""
    return float(np.linalg.norm(first - second, axis=-1).mean())
