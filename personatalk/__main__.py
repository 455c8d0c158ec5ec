"""python -m personatalk."""

from __future__ import annotations

import sys

from personatalk.cli import main

if __name__ == "__main__":
    sys.exit(main())
