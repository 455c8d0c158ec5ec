"""The page: a visitor dubs a clip in numbered steps; panels show geometry, style, references and attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)

if TYPE_CHECKING:
    from personatalk.webapp.layout import build_demo

__all__ = ["build_demo"]


def __getattr__(name: str) -> object:
    """Import the page, and Gradio with it, when it is first asked for: worker processes do without."""
    if name == "build_demo":
        from personatalk.webapp.layout import build_demo

        return build_demo
    raise AttributeError(f"module 'personatalk.webapp' has no attribute {name!r}")
