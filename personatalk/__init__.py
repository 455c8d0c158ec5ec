"""PersonaTalk: visual dubbing in a person's own way of speaking and with that person's own face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personatalk.errors import PersonaTalkError

if TYPE_CHECKING:
    from personatalk.options import DubbingOptions
    from personatalk.pipeline import DubbingPipeline, DubbingResult, load_pipeline

__all__ = ["DubbingOptions", "DubbingPipeline", "DubbingResult", "PersonaTalkError", "load_pipeline"]


def __getattr__(name: str) -> object:
    """Import the heavy parts when they are first asked for."""
    if name in ("DubbingPipeline", "DubbingResult", "load_pipeline"):
        from personatalk import pipeline

        return getattr(pipeline, name)
    if name == "DubbingOptions":
        from personatalk.options import DubbingOptions

        return DubbingOptions
    raise AttributeError(f"module 'personatalk' has no attribute {name!r}")
