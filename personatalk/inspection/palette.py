"""The colours that tell references apart, in whatever is drawn of them."""

from __future__ import annotations

import numpy as np

# Okabe and Ito's colours, told apart by colour-blind readers too; uint8 RGB
PALETTE = np.array(
    ((0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233), (240, 228, 66),
     (120, 120, 120)), np.uint8,
)  # fmt: skip


def mix_colours(weights: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Colour every place by whom it was taken from, mixed where several gave.

    Args:
        weights: [R, h, w] share of each reference.
        colours: [R, 3].

    Returns:
        [h, w, 3] float, in the colours' unit.
    """
    return np.einsum("rhw,rc->hwc", weights, colours.astype(np.float32))
