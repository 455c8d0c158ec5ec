"""Where a dub's processor time goes, function by function, over all threads.

python -m benchmarks.hot_functions [clip.mp4] [speech.wav] [--seconds 8] [--most 60]    (pip install yappi)

Threads of the video codecs are not Python's, so their time is missing; watching slows what is called often.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.samples import CHECKPOINTS, EXAMPLE_CLIP, EXAMPLE_SPEECH, ROOT, build_clip, build_speech


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Where a dub's processor time goes.")
    parser.add_argument("clip", type=Path, nargs="?", default=EXAMPLE_CLIP)
    parser.add_argument("speech", type=Path, nargs="?", default=EXAMPLE_SPEECH)
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of the 720p clip that is built (default: %(default)s)"
    )
    parser.add_argument("--most", type=int, default=60, help="functions to print (default: %(default)s)")
    args = parser.parse_args(arguments)
    import yappi  # pyright: ignore[reportMissingImports]

    from personatalk import load_pipeline

    pipeline = load_pipeline(CHECKPOINTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = build_clip(args.clip, folder / "clip.mp4", seconds=args.seconds, width=1280, height=720)
        speech = build_speech(args.speech, folder / "speech.wav", seconds=args.seconds)
        pipeline.dub(clip, speech, folder / "out.mp4")  # compiles, and fills the caches
        yappi.set_clock_type("cpu")
        yappi.start(builtins=True)
        started = time.process_time()
        result = pipeline.dub(clip, speech, folder / "out.mp4")
        spent = time.process_time() - started
        yappi.stop()
    print(f"{result.num_frames} frames, {1000 * spent / result.num_frames:.1f} ms of processor time a frame")
    print("ms a frame: with what it calls, itself; calls a frame")
    for found in sorted(yappi.get_func_stats(), key=lambda found: -found.ttot)[: args.most]:
        whole, own = (1000 * seconds / result.num_frames for seconds in (found.ttot, found.tsub))
        print(f"{whole:8.2f} {own:8.2f} {found.ncall / result.num_frames:8.1f}  {short_name(found.full_name)}")
    return 0


def short_name(name: str) -> str:
    """Drop the folders that tell nothing."""
    return name.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]


if __name__ == "__main__":
    sys.exit(main())
