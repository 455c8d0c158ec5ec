"""The colours by which references are told apart, the same in every picture."""

from __future__ import annotations

import numpy as np

# the palette of Okabe and Ito, which colour-blind readers can tell apart; uint8 RGB
PALETTE = np.array(
    ((0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233), (240, 228, 66),
     (120, 120, 120)), np.uint8,
)  # fmt: skip


def mix_colours(weights: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Mix the references' colours at every position in proportion to their weights.

    Args:
        weights: [R, h, w] share of each reference.
        colours: [R, 3].

    Returns:
        [h, w, 3] float, in the colours' unit.
    """
    return np.einsum("rhw,rc->hwc", weights, colours.astype(np.float32))
