"""Faults by the hundred: mutated files, killed runs, full disks and hostile requests, with what became of each.

python -m benchmarks.faults files [--count 1000] [--seed 0] [--keep FOLDER]
python -m benchmarks.faults kills [--count 20]
python -m benchmarks.faults disks [--count 10]
python -m benchmarks.faults requests [--count 100]
    each with [--json faults.json]

files: small files of many containers are damaged at random: bits, cut-off ends, blocks of zeros, noise, repeated or
missing blocks. Each is probed, read and written again in a process of its own, which may die.
kills: dubs with --resume get SIGKILL at random moments and go on; the last file is compared with an undisturbed run's.
disks: nothing more can be written from a moment on, at moments spread over a dub, which goes on after each.
requests: a page of its own gets wrong types, paths outside, huge numbers and missing files, and must still dub after.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.resampler import AudioResampler

from personatalk.errors import CancelledError, MediaError, WorkerDiedError
from personatalk.media import VideoWriter, probe_video, read_audio, read_frames, what_is_lost
from personatalk.memory import peak_memory_mb
from personatalk.worker import Worker

FORMS = {
    "mp4": ("libx264", "aac"), "mov": ("libx264", "pcm_s16le"), "mkv": ("libx264", "flac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "libmp3lame"), "ts": ("libx264", "aac"), "flv": ("flv1", "libmp3lame"), "ogg": (None, "libopus"),
    "mp3": (None, "libmp3lame"), "wav": (None, "pcm_s16le"), "m4a": (None, "aac"), "flac": (None, "flac"),
}  # fmt: skip
NUM_FRAMES, SIZE, FPS, RATE = 12, 64, 25, 48000
HEADER_BYTES = 2048  # where most decoders' faults lie; half of all mutations fall there
SLOW_S = 20.0  # that a file may take
OUTCOMES = ("read", "refused", "exception", "died", "slow")

Mutation = Callable[[bytearray, np.random.Generator], bytearray]


COUNTS = {"files": 1000, "kills": 20, "disks": 10, "requests": 100}


def main(arguments: list[str] | None = None) -> int:
    """Try faults of one kind and count; returns 1 if anything came of them that must not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=COUNTS, nargs="?", default="files")
    parser.add_argument("--count", type=int, help=f"how many; by default {COUNTS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that ended in something worse")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    count = args.count or COUNTS[args.what]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.what == "files":
            report = _files(folder, count, args.seed, args.keep)
        elif args.what == "requests":
            report = _requests(folder, count, args.seed)
        else:
            report = _interruptions(args.what, folder, count, args.seed)
    for line in report["worse"]:
        print(line)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(bool(report["worse"]))


def _files(folder: Path, count: int, seed: int, keep: Path | None) -> dict[str, Any]:
    counts, worse, peak_mb = measure(folder, count, seed, keep=keep)
    print(f"{'':6s}" + "".join(f"{outcome:>11s}" for outcome in OUTCOMES))
    for form, outcomes in sorted(counts.items()):
        print(f"{form:6s}" + "".join(f"{outcomes[outcome]:11d}" for outcome in OUTCOMES))
    total = sum(counts.values(), Counter())
    print(f"{'all':6s}" + "".join(f"{total[outcome]:11d}" for outcome in OUTCOMES))
    print(f"largest memory of a process: {peak_mb:.0f} MB")
    return {"counts": counts, "total": total, "peak_mb": peak_mb, "worse": worse}


def _interruptions(what: str, folder: Path, count: int, seed: int) -> dict[str, Any]:
    # here, as in `_requests`: the processes that read mutated files import this module, and need none of it
    from benchmarks.interruptions import measure_full_disks, measure_kills
    from personatalk.pipeline import load_pipeline

    if what == "kills":
        counts = measure_kills(folder, count, seed)
    else:
        counts = measure_full_disks(load_pipeline(), folder, count)
    print(", ".join(f"{name.replace('_', ' ')}: {number}" for name, number in counts.items()))
    worse = [f"{name}: {counts[name]}" for name in ("half_files", "different", "left") if counts[name]]
    if counts.get("sentences", 0) != counts.get("moments", 0):
        worse.append("not every full disk ended in a sentence")
    return {"counts": counts, "worse": worse}


def _requests(folder: Path, count: int, seed: int) -> dict[str, Any]:
    from app import launch
    from benchmarks.hostile_requests import Page, measure_requests
    from benchmarks.interruptions import short_inputs
    from personatalk.webapp import build_demo
    from personatalk.webapp.jobs import open_workplaces

    demo = build_demo(open_workplaces("cpu"), cache=folder / "cache")
    _, url, _ = launch(demo, host="127.0.0.1", port=None, block=False)
    page = Page(url, *short_inputs(folder))
    try:
        counts, worse = measure_requests(page, count, seed)
        print(", ".join(f"{outcome.replace('_', ' ')}: {counts[outcome]}" for outcome in counts))
        outcome, words = page.call("preview", page.good)
        print(f"a good request after them: {outcome}")
        if outcome != "accepted" or not page.is_there():
            worse.append(f"the page does not work any more: {words}")
    finally:
        page.close()
        demo.close()
    return {"counts": counts, "worse": worse}


def measure(
    folder: Path, count: int, seed: int, *, keep: Path | None = None
) -> tuple[dict[str, Counter], list[str], float]:
    """Try `count` mutated files.

    Returns:
        how often each form came to each outcome, a line for each that was worse than a refusal, and the largest
        memory that a process took, MB.
    """
    random = np.random.default_rng(seed)
    originals = {form: write_original(folder / f"original.{form}", *codecs) for form, codecs in FORMS.items()}
    counts: dict[str, Counter] = defaultdict(Counter)
    worse, peak_mb = [], 0.0
    worker = Worker(Path)
    try:
        for number in range(count):
            form = list(FORMS)[number % len(FORMS)]
            path = folder / f"mutated.{form}"
            path.write_bytes(mutated(originals[form].read_bytes(), random))
            outcome, words, memory_mb = attempt(worker, path)
            counts[form][outcome] += 1
            peak_mb = max(peak_mb, memory_mb)
            if outcome in OUTCOMES[2:]:
                worse.append(f"{number} {form} {outcome}: {words}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed}_{number}.{form}").write_bytes(path.read_bytes())
    finally:
        worker.close()
    return counts, worse, peak_mb


def attempt(worker: Worker, path: Path) -> tuple[str, str, float]:
    """Read a file in another process; returns outcome, words of what happened, and the process's largest memory, MB."""
    deadline = time.monotonic() + SLOW_S
    try:
        return worker.call(read_everything, path, should_stop=lambda: time.monotonic() > deadline)
    except WorkerDiedError as error:
        return "died", str(error), 0.0
    except CancelledError:
        return "slow", f"more than {SLOW_S:.0f} s", 0.0


def read_everything(_: object, path: Path, **__: object) -> tuple[str, str, float]:
    """Probe a file, read its frames and sound, and write both again; it is read if any of that can be done."""
    outcome, words = "refused", ""
    for step in (_probe, _read_sound, _write_again):
        try:
            step(path)
            outcome = "read"
        except MediaError as error:
            if "\n" in (words := str(error)):
                return "exception", f"a refusal of several lines: {words!r}", _memory_mb()
        except Exception as error:  # exactly what is looked for
            return "exception", f"{step.__name__.strip('_')}: {type(error).__name__}: {error}", _memory_mb()
    return outcome, words, _memory_mb()


def mutated(original: bytes, random: np.random.Generator) -> bytes:
    """Damage a file in one to three ways."""
    data = bytearray(original)
    for _ in range(random.integers(1, 4)):
        data = MUTATIONS[random.integers(len(MUTATIONS))](data, random)
    return bytes(data)


def _place(data: bytearray, random: np.random.Generator) -> int:
    end = min(len(data), HEADER_BYTES) if random.random() < 0.5 else len(data)
    return int(random.integers(max(1, end)))


def _flip_bits(data: bytearray, random: np.random.Generator) -> bytearray:
    for _ in range(random.integers(1, 33)):
        data[_place(data, random)] ^= 1 << int(random.integers(8))
    return data


def _set_bytes(data: bytearray, random: np.random.Generator) -> bytearray:
    """Put in the values that break lengths and counts."""
    for _ in range(random.integers(1, 5)):
        place = _place(data, random)
        data[place : place + 4] = random.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"])
    return data


def _cut_off(data: bytearray, random: np.random.Generator) -> bytearray:
    return data[: max(16, _place(data, random))]


def _blank(data: bytearray, random: np.random.Generator) -> bytearray:
    place, length = _place(data, random), int(random.integers(1, 2048))
    data[place : place + length] = bytes(min(length, len(data) - place))
    return data


def _noise(data: bytearray, random: np.random.Generator) -> bytearray:
    place, length = _place(data, random), int(random.integers(1, 1024))
    data[place : place + length] = random.bytes(min(length, len(data) - place))
    return data


def _repeat(data: bytearray, random: np.random.Generator) -> bytearray:
    place, length = _place(data, random), int(random.integers(1, 4096))
    return data[:place] + data[place : place + length] * 2 + data[place + length :]


def _leave_out(data: bytearray, random: np.random.Generator) -> bytearray:
    place, length = _place(data, random), int(random.integers(1, 1024))
    return data[:place] + data[place + length :] if len(data) > length + 16 else data


MUTATIONS: tuple[Mutation, ...] = (_flip_bits, _set_bytes, _cut_off, _blank, _noise, _repeat, _leave_out)


def write_original(path: Path, video_codec: str | None, audio_codec: str) -> Path:
    """Write half a second of moving pattern and tone."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Original"
        sound = cast(av.AudioStream, container.add_stream(audio_codec, rate=RATE, layout="mono"))
        if video_codec:
            video = cast(av.VideoStream, container.add_stream(video_codec, rate=FPS))
            video.width = video.height = SIZE
            video.pix_fmt, video.gop_size = "yuv420p", 4
            for packet in _pictures(video):
                container.mux(packet)
        for packet in _tone(sound):
            container.mux(packet)
    return path


def _pictures(stream: av.VideoStream) -> Iterator[av.Packet]:
    y, x = np.mgrid[:SIZE, :SIZE]
    for index in range(NUM_FRAMES):
        image = np.stack((4 * (x + index), 4 * y, 2 * (x + y)), -1).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _tone(stream: av.AudioStream) -> Iterator[av.Packet]:
    samples = 0.3 * np.sin(np.arange(RATE // 2) / 20)[None].astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    size = stream.codec_context.frame_size or None
    resampler = AudioResampler(format=stream.codec_context.format, layout="mono", rate=RATE, frame_size=size)
    for piece in [frame, None]:
        for part in resampler.resample(piece):
            yield from stream.encode(part)
    yield from stream.encode(None)


def _probe(path: Path) -> None:
    probe_video(path)
    what_is_lost(path, path)


def _read_sound(path: Path) -> None:
    waveform = read_audio(path)
    if not (np.isfinite(waveform).all() and np.abs(waveform).max(initial=0) <= 1):
        raise AssertionError("the waveform is not in [-1, 1]")


def _write_again(path: Path) -> None:
    output = path.with_name("again.mp4")
    sound = path if probe_video(path).has_audio else None
    with VideoWriter(output, path, audio=sound) as writer:
        for frame in read_frames(path):
            writer.write(frame.image, frame.pts)
    if not list(read_frames(output)):
        raise AssertionError("the output has no frames")
    output.unlink()


def _memory_mb() -> float:
    """Largest memory of this process, MB; `getrusage` would count that of the process that started it too."""
    return float(peak_memory_mb() or 0)


if __name__ == "__main__":
    raise SystemExit(main())
