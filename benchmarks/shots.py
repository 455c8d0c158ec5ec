"""Shot detection on made transitions and on what must not be taken for one.

python -m benchmarks.shots [--clips FOLDER [--manifest TABLE]] [--count 60] [--json shots.json]

Clips of talking people are joined by cuts, dissolves and fades, or changed by flashes, pans, zooms and the like, then
encoded, read again and searched. Without a folder of clips the two of the examples serve.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.samples import ROOT
from personatalk.media import read_frames
from personatalk.media.shots import ShotDetector, Shots

WIDTH, HEIGHT = 320, 240  # px
CANVAS = 1.6  # times that, to pan and zoom in
FPS = 25
SECONDS = 1.6  # of each side of a transition
CRF = "26"
TOLERANCE = 3  # frames outside of a dissolve or fade; a cut must be exact to one frame

Frames = list[np.ndarray]
Randomness = np.random.Generator


@dataclass(kw_only=True)
class Tally:
    """What one kind of sample gave.

    Attributes:
        samples: how many.
        found: boundaries that are there and were found.
        false: boundaries that are not there.
        seconds: of video.
        failures: names of the clips, and what was found in them.
    """

    samples: int = 0
    found: int = 0
    false: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def cut(before: Frames, after: Frames, random: Randomness) -> tuple[Frames, int, int]:
    """Join without transition; returns frames, last one before and first one after."""
    return before + after, len(before) - 1, len(before)


def dissolve(before: Frames, after: Frames, random: Randomness) -> tuple[Frames, int, int]:
    """Mix over 0.3 to 1.2 s."""
    length = int(random.integers(8, 31))
    shares = np.linspace(0, 1, length + 2)[1:-1]
    mixed = [
        cv2.addWeighted(first, 1 - share, second, share, 0)
        for first, second, share in zip(before[-length:], after[:length], shares, strict=True)
    ]
    start = len(before) - length
    return before[:-length] + mixed + after[length:], start - 1, start + length


def fade(before: Frames, after: Frames, random: Randomness) -> tuple[Frames, int, int]:
    """Fade to black or white and back within 0.1 to 0.5 s each, with up to 0.5 s between."""
    length, hold = int(random.integers(3, 13)), int(random.integers(1, 13))
    blank = np.full_like(before[0], random.choice([0, 0, 255]))
    gone = [cv2.addWeighted(frame, 1 - (i + 1) / length, blank, (i + 1) / length, 0) for i, frame in
            enumerate(before[-length:])]  # fmt: skip
    come = [cv2.addWeighted(frame, i / length, blank, 1 - i / length, 0) for i, frame in enumerate(after[:length])]
    start = len(before) - length
    frames = before[:-length] + gone + [blank] * hold + come + after[length:]
    return frames, start - 1, start + 2 * length + hold


def plain(frames: Frames, random: Randomness) -> Frames:
    """Leave the clip as it is."""
    return frames


def flash(frames: Frames, random: Randomness) -> Frames:
    """Let a photographer's flash go off, one to four frames long."""
    start, length = int(random.integers(10, len(frames) - 15)), int(random.integers(1, 5))
    lit = [cv2.convertScaleAbs(frame, alpha=random.uniform(1, 1.8), beta=random.uniform(60, 180)) for frame in
           frames[start : start + length]]  # fmt: skip
    return frames[:start] + lit + frames[start + length :]


def black_frames(frames: Frames, random: Randomness) -> Frames:
    """Lose the picture for one to six frames."""
    start, length = int(random.integers(10, len(frames) - 15)), int(random.integers(1, 7))
    return frames[:start] + [np.zeros_like(frames[0])] * length + frames[start + length :]


def pan(frames: Frames, random: Randomness) -> Frames:
    """Pan over the clip, to and fro, at up to 1.2 picture widths per second."""
    speed = random.uniform(0.1, 1.2) * WIDTH / FPS
    way = (CANVAS - 1) * WIDTH
    return [
        _window(frame, 1.0, abs((index * speed) % (2 * way) - way) / way, 0.5) for index, frame in enumerate(frames)
    ]


def zoom(frames: Frames, random: Randomness) -> Frames:
    """Zoom in or out by up to 1.6 within the clip."""
    scales = np.linspace(1, random.uniform(1.2, CANVAS), len(frames))
    return [
        _window(frame, scale, 0.5, 0.5) for frame, scale in zip(frames, scales[:: random.choice([1, -1])], strict=True)
    ]


def shake(frames: Frames, random: Randomness) -> Frames:
    """Hold the camera badly: jumps of up to 5 % of the picture from frame to frame."""
    return [_window(frame, 1.0, *np.clip(random.normal(0.5, 0.06, 2), 0, 1)) for frame in frames]


def exposure(frames: Frames, random: Randomness) -> Frames:
    """Change the exposure by up to two thirds within 0.2 s, as automatic cameras do, and take it back slowly."""
    gain = np.interp(np.arange(len(frames)), [0, 20, 25, len(frames)], [1, 1, random.choice([0.4, 1.6]), 1])
    levels = np.arange(256) / 255
    curves = (255 * (1 - np.exp(-2 * factor * levels)) / (1 - np.exp(-2 * max(factor, 1))) for factor in gain)
    return [cv2.LUT(frame, curve.astype(np.uint8)) for frame, curve in zip(frames, curves, strict=True)]


def passing(frames: Frames, random: Randomness) -> Frames:
    """Let something dark or bright, as wide as a quarter to the half of the picture, pass within 0.4 s."""
    picture_height, picture_width = frames[0].shape[:2]
    width, length = random.uniform(0.25, 0.5) * picture_width, int(random.integers(5, 11))
    start, colour = int(random.integers(10, len(frames) - 20)), random.integers(20, 220, 3).tolist()
    frames = [frame.copy() for frame in frames]
    for index in range(length):
        centre = -width / 2 + (picture_width + width) * (index + 0.5) / length
        axes = (int(width / 2), int(0.6 * picture_height))
        cv2.ellipse(frames[start + index], (int(centre), picture_height // 2), axes, 0, 0, 360, colour, -1)
    return frames


TRANSITIONS = {"cut": cut, "dissolve": dissolve, "fade": fade}
CHANGES = {
    "plain": plain, "flash": flash, "black frames": black_frames, "pan": pan, "zoom": zoom, "shake": shake,
    "exposure": exposure, "passing object": passing,
}  # fmt: skip


class Clips:
    """Clips to take pieces from.

    Args:
        paths: of the files.
        persons: of files by name; without it, every file shows another person.
        random: chooses.
    """

    def __init__(self, paths: list[Path], persons: dict[str, str], random: Randomness) -> None:
        self._paths, self._persons, self._random = paths, persons, random

    def piece(self, other_than: str | None = None, source: str | None = None) -> tuple[str, Frames]:
        """Read a piece of a clip, on a larger canvas.

        Args:
            other_than: name of a clip whose person must not be seen.
            source: beginning of the file's name.
        """
        wanted = round(SECONDS * FPS)
        while True:
            path = self._paths[self._random.integers(len(self._paths))]
            if other_than and self._person(path.name) == self._person(other_than):
                continue
            if source and not path.name.startswith(source):
                continue
            frames = [_fitted(frame.image) for frame, _ in zip(read_frames(path), range(wanted), strict=False)]
            if len(frames) == wanted:
                return path.name, frames

    def neighbour_of(self, name: str) -> str | None:
        """Return the beginning of the names of files from the same source, if it shows several persons."""
        source = name.split("_")[0] + "_"
        persons = {self._person(path.name) for path in self._paths if path.name.startswith(source)}
        return source if len(persons) > 1 else None

    def _person(self, name: str) -> str:
        return self._persons.get(name, name)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of .mp4 files, each one shot of a talking person")
    parser.add_argument("--manifest", type=Path, help="table (TSV) with the columns file and person")
    parser.add_argument("--skip", type=Path, help="names of files with cuts of their own, one a line")
    parser.add_argument("--count", type=int, default=60, help="samples of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    tallies = measure(_clips(args), args.count, np.random.default_rng(args.seed))
    print_table(tallies)
    if args.json:
        args.json.write_text(json.dumps({name: vars(tally) for name, tally in tallies.items()}, indent=2) + "\n")
    return 0


def measure(clips: Clips, count: int, random: Randomness) -> dict[str, Tally]:
    """Make, encode and search samples of every kind."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.mp4"
        for _ in range(count):
            name, before = clips.piece()
            for source in {None, clips.neighbour_of(name)}:
                other, after = clips.piece(other_than=name, source=source)
                for kind, join in TRANSITIONS.items():
                    frames, last, first = join(_cropped(before), _cropped(after), random)
                    shots = search(path, frames)
                    kind = f"{kind}, same source" if source else kind
                    _count_transition(tallies[kind], shots, last, first, f"{name} {other}")
            for kind, change in CHANGES.items():
                back_and_forth = before + before[::-1]
                frames = _cropped(change(back_and_forth, random))
                shots = search(path, frames)
                tally = tallies[kind]
                tally.samples += 1
                tally.seconds += len(frames) / FPS
                tally.false += len(shots.first) - 1
                if len(shots.first) > 1:
                    tally.failures.append(f"{name} {shots.first[1:].tolist()}")
    return tallies


def search(path: Path, frames: Frames) -> Shots:
    """Encode frames, read them again and find their shots."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": CRF, "preset": "veryfast"}
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    detector = ShotDetector(FPS)
    for frame in read_frames(path):
        detector.add(frame.pixels)
    return detector.finish()


def time_of_a_frame(height: int = 1080, width: int = 1920, count: int = 200) -> float:
    """Measure the detector alone: ms per frame."""
    random = np.random.default_rng(0)
    field_of_noise = cv2.GaussianBlur(random.integers(0, 255, (height, width + 4 * count, 3), np.uint8), (0, 0), 20)
    frames = [np.ascontiguousarray(field_of_noise[:, 4 * index : 4 * index + width]) for index in range(20)]
    detector = ShotDetector(FPS)
    detector.add(frames[0])
    detector.add(frames[1])
    started = time.process_time()
    for index in range(count):
        detector.add(frames[index % len(frames)])
    return 1000 * (time.process_time() - started) / count


def print_table(tallies: dict[str, Tally]) -> None:
    """Print recall, false boundaries and time."""
    print(f"{'kind':24s} samples  found  false")
    for kind, tally in tallies.items():
        found = f"{tally.found / tally.samples:.3f}" if kind.split(",")[0] in TRANSITIONS else ""
        print(f"{kind:24s} {tally.samples:7d}  {found:>5s}  {tally.false:5d}")
        for failure in tally.failures[:5]:
            print(f"    {failure}")
    made = [tally for kind, tally in tallies.items() if kind.split(",")[0] in TRANSITIONS]
    quiet = [tally for kind, tally in tallies.items() if kind in CHANGES]
    minutes = sum(tally.seconds for tally in quiet) / 60
    false = sum(tally.false for tally in quiet)
    print(f"recall {sum(t.found for t in made) / sum(t.samples for t in made):.3f}")
    print(f"false boundaries in {minutes:.1f} min: {false}, in 10 min: {10 * false / minutes:.2f}")
    print(f"{time_of_a_frame():.2f} ms of one core for a frame of 1080p")


def _count_transition(tally: Tally, shots: Shots, last: int, first: int, names: str) -> None:
    slack = 1 if first == last + 1 else TOLERANCE
    hits = [
        (end, start)
        for end, start in zip(shots.last[:-1], shots.first[1:], strict=True)
        if last - slack <= end <= first + slack and last - slack <= start <= first + slack
    ]
    tally.samples += 1
    tally.seconds += shots.num_frames / FPS
    tally.found += len(hits) == 1
    tally.false += len(shots.first) - 1 - len(hits)
    if len(hits) != 1 or len(shots.first) != 2:
        tally.failures.append(f"{names} {last}-{first}: {shots.last[:-1].tolist()} {shots.first[1:].tolist()}")


def _clips(args: argparse.Namespace) -> Clips:
    paths = sorted((args.clips or ROOT / "assets").glob("*.mp4"))
    skipped = set(args.skip.read_text().split()) if args.skip else set()
    persons: dict[str, str] = {}
    if args.manifest:
        with args.manifest.open(newline="") as file:
            persons = {row["file"]: row["person"] for row in csv.DictReader(file, delimiter="\t")}
    return Clips([path for path in paths if path.name not in skipped], persons, np.random.default_rng(args.seed + 1))


def _fitted(image: np.ndarray) -> np.ndarray:
    """Scale a frame so that it covers the canvas."""
    width, height = round(CANVAS * WIDTH), round(CANVAS * HEIGHT)
    scale = max(width / image.shape[1], height / image.shape[0])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)[top : top + height, left : left + width]


def _window(canvas: np.ndarray, scale: float, x: float, y: float) -> np.ndarray:
    """Cut a window out of the canvas: `scale` 1 as large as the picture, more is nearer; x and y from 0 to 1."""
    width, height = WIDTH / scale, HEIGHT / scale
    left, top = x * (canvas.shape[1] - width), y * (canvas.shape[0] - height)
    matrix = np.array(((scale, 0, -left * scale), (0, scale, -top * scale)))
    return cv2.warpAffine(canvas, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def _cropped(frames: Frames) -> Frames:
    """Scale frames that are still as large as the canvas to the picture."""
    return [
        frame
        if frame.shape[:2] == (HEIGHT, WIDTH)
        else cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for frame in frames
    ]


if __name__ == "__main__":
    raise SystemExit(main())
