"""python -m personatalk, and the command `personatalk`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from types import FrameType

from personatalk.cli.main import main


def run() -> int:
    """Run the command line as its own process."""
    signal.signal(signal.SIGTERM, _interrupt)
    _quieten_native_libraries()
    return main()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Being asked to end is like being interrupted, so that no unfinished file stays behind."""
    raise KeyboardInterrupt


def _quieten_native_libraries() -> None:
    """Keep standard error for our own sentences: the tracker's library writes its log there and has no switch."""
    warnings.filterwarnings("ignore", module="google.protobuf")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


if __name__ == "__main__":
    sys.exit(run())
