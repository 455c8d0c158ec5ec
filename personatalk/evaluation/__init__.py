"""Figures that say how good a result is, and the runs that take them."""

from __future__ import annotations

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
