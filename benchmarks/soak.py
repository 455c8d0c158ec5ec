"""The page's memory over many dubs: a server of its own, one dub after another, its size after each.

python -m benchmarks.soak [--runs 100]

Returns 0 where the page stays under 4 GB and, from a tenth of the runs on, grows by at most 5 %. Reads /proc: on Linux.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file

from benchmarks.samples import EXAMPLE_CLIP, EXAMPLE_SPEECH, ROOT

MAX_BYTES, MAX_GROWTH = 4e9, 1.05
WARM_SHARE = 0.1  # of the runs, after which nothing should grow
ENDING_S = 60.0  # that a server which was told to end may take


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return 0 if memory stayed within its bounds."""
    parser = argparse.ArgumentParser(description="The page's memory over many dubs.")
    parser.add_argument("--runs", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--clip", type=Path, default=EXAMPLE_CLIP)
    parser.add_argument("--speech", type=Path, default=EXAMPLE_SPEECH)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (process, address):
        client = Client(address, verbose=False, download_files=str(Path(folder) / "downloads"))
        sizes = []
        for run in range(1, args.runs + 1):
            client.predict(handle_file(args.clip), handle_file(args.speech), True, api_name="/dub")
            sizes.append(size_of_tree(process.pid))
            print(f"run {run:4}: {sizes[-1] / 2**20:7.0f} MiB", flush=True)
    growth = growth_of(np.array(sizes))
    print(f"largest {max(sizes) / 2**20:.0f} MiB, growth {growth:.3f} (bound {MAX_GROWTH})")
    return 0 if max(sizes) < MAX_BYTES and growth <= MAX_GROWTH else 1


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve the page in a process of its own: the process, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "app.py", "--cache", str(folder / "cache")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = next((found[0] for line in process.stdout if (found := re.search(r"http://\S+", line))), None)
        if address is None:
            raise SystemExit("the page ended before it printed its address")
        yield process, address
    finally:
        process.terminate()
        process.wait(ENDING_S)


def size_of_tree(root: int) -> int:
    """Bytes that a process and all that descend from it hold; what they share counts once."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has just ended
                continue
            children.setdefault(parent, []).append(int(entry.name))
    todo, total = [root], 0
    while todo:
        process = todo.pop()
        todo += children.get(process, [])
        total += proportional_size(process)
    return total


def proportional_size(process: int) -> int:
    """Bytes that a process holds, of what is shared its share; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def growth_of(sizes: np.ndarray) -> float:
    """Size at the end over that after the first runs, both read off a line through all but the first tenth."""
    kept = sizes[int(WARM_SHARE * len(sizes)) :]
    if len(kept) < 2:
        return 1.0
    slope, start = np.polyfit(np.arange(len(kept)), kept, 1)
    return float((start + slope * (len(kept) - 1)) / start)


if __name__ == "__main__":
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    sys.exit(main())
