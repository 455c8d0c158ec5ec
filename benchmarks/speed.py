"""Time of a dub, stage by stage: against the video's duration, copying the video, and Wav2Lip's network alone.

python -m benchmarks.speed [clip.mp4] [speech.wav] [--seconds 5] [--json speed.json]
python -m benchmarks.speed --seconds 6 --most 1.3    exits with 1 where a dub takes more than 1.3 times that network

`benchmarks.speed_table` does it for many sizes, lengths and numbers of cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.references import copy_ms, wav2lip_ms
from benchmarks.samples import CHECKPOINTS, EXAMPLE_CLIP, EXAMPLE_SPEECH, build_clip, build_speech


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(arguments)
    from personatalk import load_pipeline
    from personatalk.memory import peak_memory_mb

    started = time.perf_counter()
    pipeline = load_pipeline(args.checkpoints)
    loading = time.perf_counter() - started
    networks = {} if args.alone else network_times(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        clip, speech = inputs(args, Path(folder))
        references = {} if args.alone else {"copy_ms": copy_ms(clip), "wav2lip_ms": wav2lip_ms()}
        runs = [dub(pipeline, clip, speech, Path(folder) / "out.mp4") for _ in range(args.runs)]
    fastest = min(runs, key=lambda run: run["total_s"])
    report = summarise(fastest, references, args.runs) | {"load_s": loading, "networks_ms": networks}
    report["peak_mib"] = peak_memory_mb()
    print_report(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    if args.most and report["over_wav2lip"] > args.most:
        print(f"a dub has become slower: more than {args.most:g} times Wav2Lip's network", file=sys.stderr)
        return 1
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Time of a dub, stage by stage.")
    parser.add_argument(
        "clip", type=Path, nargs="?", default=EXAMPLE_CLIP, help="clip of a face (default: the example in assets/)"
    )
    parser.add_argument(
        "speech",
        type=Path,
        nargs="?",
        default=EXAMPLE_SPEECH,
        help="sound to dub it with (default: an example in assets/)",
    )
    parser.add_argument("--seconds", type=float, help="place the clip in a 1280x720 picture and loop it for so long")
    parser.add_argument("--width", type=int, default=1280, help="px, with --seconds")
    parser.add_argument("--height", type=int, default=720, help="px, with --seconds")
    parser.add_argument("--runs", type=int, default=2, help="the fastest of so many is reported (default: %(default)s)")
    parser.add_argument("--most", type=float, help="times Wav2Lip's network that a dub may take of processor time")
    parser.add_argument("--alone", action="store_true", help="measure no reference beside it")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="folder of the weights")
    return parser.parse_args(arguments)


def inputs(args: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Return clip and speech as given, or built to the length asked for."""
    if not args.seconds:
        return args.clip, args.speech
    clip = build_clip(args.clip, folder / "clip.mp4", seconds=args.seconds, width=args.width, height=args.height)
    return clip, build_speech(args.speech, folder / "speech.wav", seconds=args.seconds)


def dub(pipeline, clip: Path, speech: Path, output: Path) -> dict:
    """Run once and return the figures of the run."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = pipeline.dub(clip, speech, output)
    total, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    return {
        "total_s": total,
        "cpu_s": cpu,
        "num_frames": result.num_frames,
        "fps": result.fps,
        "precision": result.report["precision"],
        "stages_s": dict(result.timings),
        "stages_processor_s": result.report["processor_s"],
    }


def network_times(pipeline) -> dict[str, float]:
    """Time stage 2's networks alone on one core, ms a frame by number format; painting a mouth comes on top."""
    import torch

    from personatalk.face_rendering.precision import seconds_a_frame, seconds_a_mouth

    times = {}
    for precision in (torch.float32, torch.bfloat16):
        name = str(precision).removeprefix("torch.")
        times[name] = 1000 * seconds_a_frame(pipeline.renderer, precision)
        times[f"{name}, painting a mouth"] = 1000 * seconds_a_mouth(pipeline.interior, precision)
    return times


def summarise(run: dict, references: dict[str, float], num_runs: int) -> dict:
    """Add what follows from the times of a run, and the references that it is held against."""
    duration = run["num_frames"] / run["fps"]
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "best_of": num_runs,
        **run,
        **references,
        "over_wav2lip": 1000 * run["cpu_s"] / run["num_frames"] / references["wav2lip_ms"] if references else None,
        "video_s": duration,
        "frames_per_second": run["num_frames"] / run["total_s"],
        "times_video_duration": run["total_s"] / duration,
    }


def print_report(report: dict) -> None:
    """Print a table of stages and the totals."""
    machine = f"{report['cores']} cores, {report['precision']}"
    print(f"{report['num_frames']} frames, {report['video_s']:.2f} s of video, {machine}")
    print(f"{'load':<24}{report['load_s']:8.2f} s")
    processor = report["stages_processor_s"] | {"total": report["cpu_s"]}
    for name, seconds in (report["stages_s"] | {"total": report["total_s"]}).items():
        ms, processor_ms = (1000 * value / report["num_frames"] for value in (seconds, processor[name]))
        print(f"{name:<24}{seconds:8.2f} s {ms:8.1f} ms a frame, of processor time {processor_ms:8.1f}")
    if report["over_wav2lip"]:
        copy, wav2lip = report["copy_ms"], report["wav2lip_ms"]
        print(f"processor time of reading and writing the video {copy:.1f} ms, of Wav2Lip's network {wav2lip:.1f} ms")
        print(f"processor time of a dub over that of Wav2Lip's network {report['over_wav2lip']:.2f}")
        networks = ", ".join(f"{name} {ms:.1f}" for name, ms in report["networks_ms"].items())
        print(f"stage 2's networks alone, one core: {networks} ms a frame")
    rate, share = report["frames_per_second"], report["times_video_duration"]
    print(f"{rate:.1f} frames a second, {share:.2f} x the video's duration")


if __name__ == "__main__":
    sys.exit(main())
