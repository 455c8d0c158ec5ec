"""What a researcher looks at: a run recorded on disk, and pictures, tables and files made from it."""

from __future__ import annotations

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
