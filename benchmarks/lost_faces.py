"""Where a face is while the tracker loses it: interpolated, and registered as a dub does, against the tracker itself.

python -m benchmarks.lost_faces CLIPS CORPUS --manifest MANIFEST

Stretches are taken out of the tracks of `preprocess` at random and filled in from both ends.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from personatalk.geometry.tracking import FaceTrack
from personatalk.media import read_frames
from personatalk.persons.faces import box_of
from personatalk.persons.lost_face import cut_patch, find_in_gap
from personatalk.training.corpus import read_manifest, read_track, spread_over_persons

MIN_SECONDS = 3.0
GAPS_S = (0.5, 1.0, 1.5, 2.0)
GAPS_PER_CLIP = 6
EYE_CORNERS = (33, 263)
UPPER_FACE = [33, 263, 133, 362, 168, 6, 1, 4]  # corners of the eyes, and the nose: speech does not move them


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(arguments)
    clips = [clip for clip in read_manifest(args.manifest, "val") if clip.is_long_enough(MIN_SECONDS)]
    generator = np.random.default_rng(0)
    results: dict[float, list[tuple[float, float]]] = {seconds: [] for seconds in GAPS_S}
    for clip in spread_over_persons(clips, args.limit):
        track = read_track(args.corpus, clip)
        if track is None:
            continue
        images = [frame.image for frame in read_frames(args.data / clip.file)]
        for seconds in GAPS_S:
            for _ in range(GAPS_PER_CLIP):
                errors = measure_gap(images, track, seconds, generator)
                if errors is not None:
                    results[seconds].append(errors)
    for seconds, errors in results.items():
        print(describe(seconds, np.array(errors)))
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Errors of the places given to a face while the tracker loses it.")
    parser.add_argument("data", type=Path, help="folder of the clips")
    parser.add_argument("corpus", type=Path, help="folder that `preprocess` filled")
    parser.add_argument("--manifest", type=Path, required=True, help="table of the clips")
    parser.add_argument("--limit", type=int, default=24, help="clips, spread over the persons (default: %(default)s)")
    return parser.parse_args(arguments)


def measure_gap(
    images: list[np.ndarray], track: FaceTrack, seconds: float, generator: np.random.Generator
) -> tuple[float, float] | None:
    """Take a stretch out of a track and fill it in.

    Returns:
        mean errors in % of the distance of the outer corners of the eyes: interpolated, and registered, which is not a
        number where registration refuses; None where no such stretch is known.
    """
    count = round(seconds / float(np.median(np.diff(track.times))))
    last_start = min(len(images), len(track)) - count - 2
    if last_start < 1:
        return None
    start = int(generator.integers(0, last_start))
    stretch = slice(start, start + count + 2)
    if not track.detected[stretch].all():
        return None
    true = track.landmarks[stretch]
    box = box_of(true[0])
    patches = [cut_patch(image, box) for image in images[stretch]]
    share = np.linspace(0, 1, count + 2)[1:-1, None, None]
    interpolated = (1 - share) * true[0] + share * true[-1]
    registered = find_in_gap(patches, box, true[0], true[-1])
    scale = 100 / np.linalg.norm(np.subtract(*true[0, EYE_CORNERS, :2]))

    def error(landmarks: np.ndarray) -> float:
        distances = np.linalg.norm((landmarks - true[1:-1])[:, UPPER_FACE, :2], axis=-1)
        return float(scale * distances.mean())

    return error(interpolated), float("nan") if registered is None else error(registered)


def describe(seconds: float, errors: np.ndarray) -> str:
    """Sum up errors [N, 2] of gaps of one length, over those that registration fills."""
    filled = np.isfinite(errors[:, 1])
    means, worst = errors[filled].mean(0), np.percentile(errors[filled], 95, axis=0)
    return (
        f"{seconds:.1f} s, {len(errors)} gaps, {filled.mean():.2f} of them filled; mean error (95th percentile), "
        f"% of the eyes' distance: interpolated {means[0]:.1f} ({worst[0]:.1f}), "
        f"registered {means[1]:.1f} ({worst[1]:.1f})"
    )


if __name__ == "__main__":
    sys.exit(main())
