"""The page: a visitor dubs a clip in numbered steps; panels show geometry, style, references and attention."""

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
from personatalk.webapp.layout import build_demo

__all__ = ["build_demo"]
