"""Training of the face model and of both stages."""

from __future__ import annotations

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
