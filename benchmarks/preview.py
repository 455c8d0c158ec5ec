"""Time of a preview of one person of two, chosen by number, in a made clip of a given length, and of the search before.

Both by the clock and of the processor, all cores together: the second is the same on a busy machine.

python -m benchmarks.preview [--seconds 30]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.samples import EXAMPLE_CLIP, EXAMPLE_SPEECH, ROOT
from personatalk.media import read_frames
from personatalk.options import DubbingOptions
from personatalk.webapp.jobs import in_this_process, load_studio
from personatalk.webapp.limits import Limits
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import TimeEstimator

OTHER_CLIP = ROOT / "assets" / "rendered_head.mp4"
FPS = 25
WARMING_S = 2.0  # of a clip that is dubbed first, so that loading and compiling are not counted


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time of a preview of one person of two, chosen by number.")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip; default: %(default)s")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder, studio = Path(name), load_studio()
        places = in_this_process(studio.pipeline, studio.judge)
        sessions, estimator = Sessions(folder / "served", 3600), TimeEstimator(folder / "speed.json")
        service = DubbingService(*places, sessions, Limits(), estimator)
        for seconds in (WARMING_S, args.seconds):
            figures = measure(service, build_pair(folder / f"{seconds:g}.mp4", seconds), f"{seconds:g}")
    for what, (seconds, processor_s) in figures.items():
        print(f"{what:<34}{seconds:6.1f} s {processor_s:6.1f} s of the processor")
    return 0


def measure(service: DubbingService, clip: Path, session: str) -> dict[str, tuple[float, float]]:
    """Seconds, and of the processor, of the search for persons and of the preview of the one with less to see."""

    def clocks() -> np.ndarray:
        return np.array([time.monotonic(), time.process_time()])

    began = clocks()
    found = service.find_persons(clip, None, session, lambda *_: None)
    searched = clocks()
    options = DubbingOptions(face=found.usable[-1])
    asked = Request(clip=clip, speech=EXAMPLE_SPEECH, consent=True, options=options)
    service.preview(asked, session, lambda *_: None)
    spent = {"search for persons": searched - began, "preview of one of two": clocks() - searched}
    return {what: (float(passed[0]), float(passed[1])) for what, passed in spent.items()}


def build_pair(target: Path, seconds: float) -> Path:
    """Write two persons beside each other who speak back and forth, as an MP4 without sound."""
    pair = [[frame.image for frame in read_frames(clip)] for clip in (EXAMPLE_CLIP, OTHER_CLIP)]
    turns = [images + images[-2:0:-1] for images in pair]
    height = min(images[0].shape[0] for images in pair) // 2 * 2
    width = sum(images[0].shape[1] for images in pair) // 2 * 2
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "16", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(round(FPS * seconds)):
            both = np.concatenate([images[index % len(images)][:height] for images in turns], 1)
            image = np.ascontiguousarray(both[:, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return target


if __name__ == "__main__":
    sys.exit(main())
