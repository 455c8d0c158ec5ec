"""Stage 2: the dual-attention face renderer, and what puts its faces back into the frames."""

from __future__ import annotations

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
