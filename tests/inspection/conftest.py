"""The recorded run, as the inspection reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from personatalk.face_rendering.clip_renderer import RenderedFrame
from personatalk.inspection.recording import Inspection


@pytest.fixture(scope="session")
def recorded(recording: tuple[Path, dict[int, RenderedFrame]]) -> tuple[Inspection, dict[int, RenderedFrame]]:
    """The inspection of a run, and what was rendered at each position."""
    folder, seen = recording
    return Inspection.load(folder), seen


@pytest.fixture(scope="session")
def inspection(recorded) -> Inspection:
    return recorded[0]
