"""How well faces are told apart by identity, and how far the light of one face differs, on clips of known persons.

python -m benchmarks.persons CLIPS --manifest TABLE [--persons 45]

The table is that of training (docs/training.md): of each person that has clips, two are looked at, and every two clips
are compared as two shots of a video would be.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from personatalk.geometry.tracking import MediaPipeTracker
from personatalk.media import read_frames
from personatalk.persons.embedding import FaceEmbedder, cut_face_chip, embed
from personatalk.persons.identity import SAME_LIGHT, SAME_PERSON, light_distance, light_of

NUM_FRAMES, STRIDE = 45, 10  # of a clip that are read, from one picture to the next
THRESHOLDS = (0.5, SAME_PERSON, 0.6, 0.65)


@dataclass(frozen=True, kw_only=True)
class Face:
    """A clip's face: whose it is, embeddings [N, 128], light [8, 8, 3]."""

    person: str
    embeddings: np.ndarray
    light: np.ndarray


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How well faces are told apart, on clips of known persons.")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=45)
    args = parser.parse_args(arguments)
    random, clips_of = np.random.default_rng(1), defaultdict(list)
    with args.manifest.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            clips_of[row["person"]].append(row["file"])
    several = [person for person, names in sorted(clips_of.items()) if len(names) > 1]
    embedder, faces = FaceEmbedder.load(), []
    for person in random.choice(several, min(args.persons, len(several)), replace=False):
        for name in random.choice(clips_of[person], 2, replace=False):
            chips = chips_of(args.clips / name)
            if len(chips) >= 3:
                faces.append(Face(person=person, embeddings=embed(embedder, chips), light=light_of(list(chips))))
    report(faces)
    return 0


def chips_of(clip: Path) -> np.ndarray:
    """[N, 150, 150, 3] uint8, some pictures of a clip's face."""
    chips = []
    with MediaPipeTracker() as tracker:
        for frame in islice(read_frames(clip), 0, NUM_FRAMES, STRIDE):
            landmarks = tracker.track(frame.image)
            if landmarks is not None:
                chips.append(cut_face_chip(frame.image, landmarks))
    return np.array(chips)


def report(faces: list[Face]) -> None:
    """Print how often persons are confused or not recognised at each threshold."""
    pairs = list(combinations(faces, 2))
    distance = np.array([cdist(a.embeddings, b.embeddings).mean() for a, b in pairs])
    same = np.array([a.person == b.person for a, b in pairs])
    print(f"{same.sum()} pairs of clips of one person, {(~same).sum()} of two")
    for threshold in THRESHOLDS:
        missed, confused = (distance[same] >= threshold).mean(), (distance[~same] < threshold).mean()
        print(f"threshold {threshold:.2f}: not recognised {missed:.3f}, confused {confused:.4f}")
    light = np.array([light_distance(a.light, b.light) for a, b in pairs])[same]
    alike = (light < SAME_LIGHT).mean()
    print(f"light of one person in two clips: median {np.median(light):.1f}, nearer than {SAME_LIGHT:g}: {alike:.2f}")


if __name__ == "__main__":
    sys.exit(main())
