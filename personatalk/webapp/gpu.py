"""Spaces with a shared GPU lend it to marked functions only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable)
GPU_SECONDS = 120


def on_gpu(function: F) -> F:
    """Mark a function with `spaces.GPU` where the package is present, and leave it alone elsewhere."""
    try:
        import spaces
    except ImportError:
        return function
    return spaces.GPU(duration=GPU_SECONDS)(function)
