"""MediaPipe's graphs, started without the notes that its native code writes to standard error.

MediaPipe 0.10.14 announces each network that it loads: once TensorFlow Lite's XNNPACK delegate, then one warning of
`inference_feedback_manager.cc` for each model without a signature, which all face and hand models are. Neither
TensorFlow Lite's logger nor Abseil's listens to an environment variable or can be reached from Python
(GLOG_minloglevel, TF_CPP_MIN_LOG_LEVEL and ABSL_MIN_LOG_LEVEL change nothing; the library exports no symbol).
All of these lines are written while a graph opens its nodes. So a graph is started and waited for in here, and only
the known lines of this short time are dropped; whatever else is written to standard error in it is passed on.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mediapipe.python.solution_base import SolutionBase

S = TypeVar("S", bound="SolutionBase")

STDERR = 2  # the file descriptor, which native code writes to
KNOWN_NOTES = re.compile(
    rb"(INFO: Created TensorFlow Lite XNNPACK delegate for CPU"
    rb"|WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|W\d+ \S+ +\d+ inference_feedback_manager\.cc:\d+\] Feedback manager requires a model with a single signature)"
    rb"[^\n]*\n"
)
_ONE_AT_A_TIME = threading.Lock()  # the descriptor belongs to the whole process


def open_graph(create: Callable[[], S]) -> S:
    """Create a MediaPipe solution and wait until its networks are loaded.

    Args:
        create: makes the solution.
    """
    # deprecated by protobuf, called by MediaPipe for each result; this message alone is hidden
    warnings.filterwarnings("ignore", message=r"SymbolDatabase\.GetPrototype\(\) is deprecated", category=UserWarning)
    with _known_notes_dropped():
        solution = create()
        _wait_until_loaded(solution)
    return solution


def restart_graph(solution: SolutionBase) -> None:
    """Let a solution forget the images before; it loads its networks anew."""
    with _known_notes_dropped():
        solution.reset()
        _wait_until_loaded(solution)


def _wait_until_loaded(solution: SolutionBase) -> None:
    graph = getattr(solution, "_graph", None)
    if graph is not None:
        graph.wait_until_idle()


@contextmanager
def _known_notes_dropped() -> Iterator[None]:
    """Hold standard error back, then pass on all of it but KNOWN_NOTES."""
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as held_back:
        try:
            stderr = os.dup(STDERR)
        except OSError:  # the process has no standard error
            yield
            return
        os.dup2(held_back.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(stderr, STDERR)
            os.close(stderr)
            held_back.seek(0)
            os.write(STDERR, KNOWN_NOTES.sub(b"", held_back.read()))
