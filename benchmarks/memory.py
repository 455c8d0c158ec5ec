"""Peak memory of a dub, of a clip and of one three times as long: it must not grow with the clip.

python -m benchmarks.memory [clip.mp4] [speech.wav]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.samples import CHECKPOINTS, EXAMPLE_CLIP, EXAMPLE_SPEECH, ROOT, build_clip, build_speech

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return 0 if memory stayed within the bound."""
    args = parse_arguments(arguments)
    with tempfile.TemporaryDirectory() as folder:
        peaks = [measure(args, seconds, Path(folder)) for seconds in (args.seconds, args.seconds * args.times)]
    ratio = peaks[1] / peaks[0]
    print(f"ratio {ratio:.3f} (bound {args.bound:.2f})")
    return 0 if ratio <= args.bound else 1


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Peak memory of a dub, of a clip and of one three times as long: it must not grow with the clip."
    )
    parser.add_argument(
        "clip",
        type=Path,
        nargs="?",
        default=EXAMPLE_CLIP,
        help="small clip of a face (default: the example in assets/)",
    )
    parser.add_argument(
        "speech",
        type=Path,
        nargs="?",
        default=EXAMPLE_SPEECH,
        help="sound to dub it with (default: an example in assets/)",
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="length of the shorter clip, s (default: %(default)s)"
    )
    parser.add_argument("--times", type=float, default=3.0, help="the longer one is so many times as long")
    parser.add_argument("--width", type=int, default=1280, help="px")
    parser.add_argument("--height", type=int, default=720, help="px")
    parser.add_argument("--bound", type=float, default=1.15, help="largest ratio that passes (default: %(default)s)")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="folder of the weights")
    args = parser.parse_args(arguments)
    args.clip, args.speech = args.clip.resolve(), args.speech.resolve()
    args.checkpoints = args.checkpoints.resolve()
    return args


def measure(args: argparse.Namespace, seconds: float, folder: Path) -> float:
    """Dub a clip of a given length in a process of its own and return its peak memory, bytes."""
    clip = build_clip(args.clip, folder / "clip.mp4", seconds=seconds, width=args.width, height=args.height)
    speech = build_speech(args.speech, folder / "speech.wav", seconds=seconds)
    started = time.perf_counter()
    output = folder / "out.mp4"
    dub = [sys.executable, "-m", "personatalk", "dub", str(clip), str(speech), "-o", str(output), "--quiet"]
    peak = peak_memory([*dub, "--checkpoints", str(args.checkpoints)])
    took = time.perf_counter() - started
    size = f"{args.width}x{args.height}"
    print(f"{seconds:6.0f} s of {size}: peak {peak / 2**20:7.0f} MiB, took {took:6.1f} s", flush=True)
    return peak


def peak_memory(command: list[str]) -> float:
    """Run a command and return the largest resident size that it or one of its children had, bytes.

    Raises:
        SystemExit: the command failed; its last line says why.
    """
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdout=messages, stderr=subprocess.STDOUT, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        messages.seek(0)
        lines = messages.read().decode(errors="replace").strip().splitlines()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {(lines or ['no message'])[-1]}")
    return usage.ru_maxrss * RSS_UNIT


if __name__ == "__main__":
    sys.exit(main())
