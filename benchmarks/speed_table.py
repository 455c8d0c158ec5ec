"""Time and memory of dubs by size of picture and face, length and number of cores, as a table, JSON and a plot.

python -m benchmarks.speed_table -o FOLDER [--rows 720p:270:10:2 4k:800:5:2 ...]

A row is picture:face px:seconds:cores. Beside the dubs stand the processor time of reading and writing the same video
with nothing done to it, that of Wav2Lip's network alone, and the time that the multiply-adds of stage 2's networks
would take at the rate at which this machine multiplies matrices.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.references import copy_ms, wav2lip_ms
from benchmarks.samples import CHECKPOINTS, EXAMPLE_CLIP, EXAMPLE_SPEECH, FACE_IN_CLIP, ROOT, build_clip, build_speech
from personatalk.concurrency import one_thread

PICTURES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
ROWS = (
    "360p:135:10:2", "720p:100:10:2", "720p:270:5:2", "720p:270:10:2", "720p:270:10:1", "720p:270:40:2",
    "1080p:100:10:2", "1080p:400:10:2", "1080p:600:10:2", "4k:400:5:2", "4k:800:5:2",
)  # fmt: skip
MATRIX, PASSES = 1024, 5
STAGES = ("listen", "track", "fit", "geometry", "references", "render")


@dataclass(frozen=True)
class Row:
    """What is dubbed: the picture's name, height of the face px, length s, number of cores."""

    picture: str
    face_px: int
    seconds: float
    cores: int

    @classmethod
    def parse(cls, text: str) -> Row:
        """Read "720p:270:10:2".

        Raises:
            ValueError: it says something else.
        """
        picture, face, seconds, cores = text.split(":")
        row = cls(picture=picture.lower(), face_px=int(face), seconds=float(seconds), cores=int(cores))
        if row.picture not in PICTURES or row.share > 1:
            raise ValueError(f"{text}: there is no such picture, or the face is too large for it")
        return row

    @property
    def share(self) -> float:
        """Height of the small clip over that of the picture, for its face to be so large."""
        return self.face_px / FACE_IN_CLIP / PICTURES[self.picture][1]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Time and memory of dubs by size, length and number of cores.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of speed.json, speed.md, speed.png")
    parser.add_argument("--rows", nargs="+", type=Row.parse, default=[Row.parse(text) for text in ROWS])
    parser.add_argument("--runs", type=int, default=2, help="the fastest of so many counts (default: %(default)s)")
    args = parser.parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    machine, rows = measure_machine(), []
    with tempfile.TemporaryDirectory() as folder:
        for row in args.rows:
            rows.append(asdict(row) | measure(row, args.runs, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
    report = {"machine": machine, "rows": rows}
    (args.output / "speed.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.output / "speed.md").write_text(table_of(report))
    plot(report, args.output / "speed.png")
    print(table_of(report))
    return 0


def measure(row: Row, runs: int, folder: Path) -> dict:
    """Dub a clip in a process of its own, on so many cores: what `benchmarks.speed --json` gives, copy and memory."""
    width, height = PICTURES[row.picture]
    clip = build_clip(
        EXAMPLE_CLIP, folder / "clip.mp4", seconds=row.seconds, width=width, height=height, share=row.share
    )
    speech, report = build_speech(EXAMPLE_SPEECH, folder / "speech.wav", seconds=row.seconds), folder / "report.json"
    command = [sys.executable, "-m", "benchmarks.speed", str(clip), str(speech), "--alone", "--runs", str(runs)]
    with on_cores(row.cores):
        subprocess.run([*command, "--json", str(report)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    found = json.loads(report.read_text())
    kept = ("precision", "num_frames", "total_s", "cpu_s", "frames_per_second", "stages_s", "stages_processor_s")
    return {name: found[name] for name in (*kept, "peak_mib")} | {"copy_ms": copy_ms(clip)}


class on_cores:
    """Lets what is started within compute on so many of this process's cores, where the system can."""

    def __init__(self, count: int) -> None:
        self.count, self.before = count, set()

    def __enter__(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            self.before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, sorted(self.before)[: self.count])

    def __exit__(self, *_: object) -> None:
        if self.before:
            os.sched_setaffinity(0, self.before)


def measure_machine() -> dict:
    """What the dubs are held against: Wav2Lip's network, and stage 2's multiply-adds at the machine's own rate."""
    from personatalk import load_pipeline
    from personatalk.face_rendering.precision import MIN_PAIRS, fastest_precision, seconds_a_frame

    renderer = load_pipeline(CHECKPOINTS).renderer
    precision = fastest_precision(renderer)
    with FlopCounterMode(display=False) as counter:
        seconds_a_frame(renderer, torch.float32)
    multiply_adds = counter.get_total_flops() / 2 / (MIN_PAIRS + 1)  # one pass is made before those that are timed
    rate = multiply_adds_a_second(precision)
    return {
        "precision": str(precision).removeprefix("torch."),
        "wav2lip_ms": wav2lip_ms(),
        "networks_ms": 1000 * seconds_a_frame(renderer, precision),
        "networks_multiply_adds": multiply_adds,
        "multiply_adds_a_second": rate,
        "networks_at_that_rate_ms": 1000 * multiply_adds / rate,
    }


@torch.inference_mode()
def multiply_adds_a_second(precision: torch.dtype) -> float:
    """How many this machine makes on one core in the product of two large matrices: the best of some passes."""
    first, second = (torch.rand(MATRIX, MATRIX).to(precision) for _ in range(2))
    seconds = []
    with one_thread():
        for _ in range(PASSES + 1):
            start = time.thread_time()
            torch.mm(first, second)
            seconds.append(time.thread_time() - start)
    return MATRIX**3 / min(seconds[1:])


def table_of(report: dict) -> str:
    """The report as a table in Markdown."""
    machine = report["machine"]
    needed, rate = (machine[name] / 1e9 for name in ("networks_multiply_adds", "multiply_adds_a_second"))
    lines = [
        f"For a frame, on one core: Wav2Lip's network {machine['wav2lip_ms']:.0f} ms; stage 2's networks "
        f"{machine['networks_ms']:.1f} ms in {machine['precision']}, {machine['networks_at_that_rate_ms']:.1f} if "
        f"their {needed:.2f} G multiply-adds were made at the rate of matrix products, {rate:.0f} G a second.",
        "",
        "| picture | face, px | length, s | cores | frames a second | "
        "wall time of a frame, ms: " + " · ".join(STAGES) + " | processor time, ms | read and write alone, ms | "
        "over Wav2Lip's network | peak memory, MiB |",
        "|---" * 10 + "|",
    ]
    for row in report["rows"]:
        stages = " · ".join(f"{1000 * row['stages_s'][name] / row['num_frames']:.1f}" for name in STAGES)
        processor_ms = 1000 * row["cpu_s"] / row["num_frames"]
        figures = (
            row["picture"], row["face_px"], f"{row['seconds']:g}", row["cores"], f"{row['frames_per_second']:.1f}",
            stages, f"{processor_ms:.1f}", f"{row['copy_ms']:.1f}", f"{processor_ms / machine['wav2lip_ms']:.2f}",
            "" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, figures))} |")
    return "\n".join(lines) + "\n"


def plot(report: dict, path: Path) -> None:
    """Draw the wall time of a frame, stage on stage, a bar for each row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = report["rows"]
    names = [f"{row['picture']}, face {row['face_px']} px, {row['seconds']:g} s, {row['cores']} cores" for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.4 * len(rows)), layout="constrained")
    left = [0.0] * len(rows)
    for name in STAGES:
        widths = [1000 * row["stages_s"][name] / row["num_frames"] for row in rows]
        axes.barh(names, widths, left=left, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.axvline(40, color="grey", linestyle=":", label="25 frames a second")
    axes.invert_yaxis()
    axes.set_xlabel("ms of wall time a frame")
    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
