"""python -m personatalk, and the command `personatalk`."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from personatalk.cli.main import main


def run() -> int:
    """Run the command line as its own process."""
    signal.signal(signal.SIGTERM, _interrupt)
    return main()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Being asked to end is like being interrupted, so that no unfinished file stays behind."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(run())
