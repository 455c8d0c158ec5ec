"""What was measured of the clips' synchrony, kept beside the corpus and put in the place of the manifest's guess."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from personatalk.training.preprocess import Clip

OFFSETS_NAME = "offsets.tsv"


@dataclass(frozen=True, kw_only=True)
class MeasuredClip:
    """What was measured of a clip.

    Attributes:
        name: of the clip.
        offset: frames of 25 Hz by which the picture comes after the sound, to half a frame.
        in_sync: probability that the sound is the face's.
    """

    name: str
    offset: float
    in_sync: float


def write_offsets(rows: list[MeasuredClip], corpus: Path) -> None:
    """Keep what was measured as corpus/offsets.tsv."""
    with (corpus / OFFSETS_NAME).open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("clip", "offset", "in_sync"))
        writer.writerows((row.name, f"{row.offset:.1f}", f"{row.in_sync:.3f}") for row in rows)


def with_measured_offsets(clips: list[Clip], corpus: Path) -> list[Clip]:
    """Put what was measured in the place of the manifest's guess: offset, and as fit whether the sound in_sync.

    Clips that were not measured stay as they are; without the file all do.
    """
    path = corpus / OFFSETS_NAME
    if not path.is_file():
        return clips
    with path.open(newline="") as stream:
        table = {row["clip"]: row for row in csv.DictReader(stream, delimiter="\t")}
    return [
        replace(clip, offset=float(row["offset"]), fit=float(row["in_sync"])) if (row := table.get(clip.name)) else clip
        for clip in clips
    ]
