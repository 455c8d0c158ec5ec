"""The corpus: the clips of a manifest, and what preprocessing keeps of each of them on disk."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from personatalk.errors import MediaError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.tracking import FaceTrack

MANIFEST_RATE = 25.0  # Hz; manifests and offsets.tsv give offsets in frames of it
REQUIRED_COLUMNS = ("file", "split", "person")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
CACHE_SUFFIXES = {"tracks": ".npz", "geometry": ".npz", "windows": ".npy", "audio": ".npz", "mel": ".npz"}
OFFSETS_NAME = "offsets.tsv"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One line of a manifest.

    Attributes:
        file: path of the video below the data folder.
        split: "train" or "val".
        person: who speaks.
        has_sound: whether the video has sound that belongs to the face.
        offset_s: seconds by which the picture comes after the sound; 0 where not measured.
        fit: how well the sound fits the mouth at that offset, at most 1; None where not measured.
        seconds: length; None where not given.
        language: as the manifest has it, such as "en"; empty where not given.
        source: data set; empty where not given.
    """

    file: str
    split: str
    person: str
    has_sound: bool = True
    offset_s: float = 0.0
    fit: float | None = None
    seconds: float | None = None
    language: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """The clip's caches are kept under this name: the file without its suffix, folders joined by "__"."""
        return "__".join(Path(self.file).with_suffix("").parts)

    def is_long_enough(self, seconds: float) -> bool:
        """Whether the clip lasts so long, or its length is not known."""
        return self.seconds is None or self.seconds >= seconds

    def has_fitting_sound(self, least: float) -> bool:
        """Whether there is sound, and no measurement says that it fits the face less than `least`."""
        return self.has_sound and (self.fit is None or self.fit >= least)


def read_manifest(path: Path, split: str | None = None) -> list[Clip]:
    """Read a tab-separated manifest.

    Args:
        path: its columns are file, split, person, and where known sound (1 or 0; 1 without the column), offset
            (frames of 25 Hz by which the picture comes after the sound), fit, seconds, language and source.
        split: only this one; None for all.

    Raises:
        MediaError: the file is missing, lacks a column or holds what is no number, or two clips have one name.
    """
    if not path.is_file():
        raise MediaError(f"no manifest {path}; give a tab-separated table with the columns file, split and person")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    if rows and (missing := [name for name in REQUIRED_COLUMNS if name not in rows[0]]):
        raise MediaError(f"{path} has no column {', '.join(missing)}")
    try:
        clips = [_clip_of(row) for row in rows]
    except ValueError as error:
        raise MediaError(f"{path}: {error}") from error
    _refuse_shared_names(clips, path)
    return [clip for clip in clips if split in (None, clip.split)]


def _clip_of(row: dict[str, str]) -> Clip:
    def number(name: str) -> float | None:
        try:
            return float(row[name]) if row.get(name) else None
        except ValueError as error:
            raise ValueError(f"{row['file']}: {name} {row[name]!r} is no number") from error

    return Clip(
        file=row["file"],
        split=row["split"],
        person=row["person"],
        has_sound=row.get("sound", "1") == "1",
        offset_s=(number("offset") or 0.0) / MANIFEST_RATE,
        fit=number("fit"),
        seconds=number("seconds"),
        language=row.get("language") or "",
        source=row.get("source") or "",
    )


def clips_of_folder(folder: Path, validation_share: int = 10) -> list[Clip]:
    """Make the clips of a folder of videos; a video's parent folder, or its own name, is the person.

    Args:
        validation_share: one person in about so many is kept for validation.

    Raises:
        MediaError: two videos differ in their suffix alone.
    """
    clips = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES):
        person = path.parent.name if path.parent != folder else path.stem
        split = "val" if sum(person.encode()) % validation_share == 0 else "train"
        clips.append(Clip(file=str(path.relative_to(folder)), split=split, person=person, source=folder.name))
    _refuse_shared_names(clips, folder)
    return clips


def _refuse_shared_names(clips: list[Clip], place: Path) -> None:
    files: dict[str, str] = {}
    for clip in clips:
        if (other := files.setdefault(clip.name, clip.file)) != clip.file:
            raise MediaError(f"{place}: {other} and {clip.file} would share their caches; rename one of them")


def spread_over_persons(clips: list[Clip], limit: int = 0) -> list[Clip]:
    """Order clips so that every person has one before any has a second, and take the first of them.

    Args:
        limit: how many at most; 0 takes all.
    """
    turns: dict[str, int] = {}
    ranked = []
    for clip in clips:
        turns[clip.person] = turns.get(clip.person, 0) + 1
        ranked.append((turns[clip.person], clip))
    ordered = [clip for _, clip in sorted(ranked, key=lambda pair: pair[0])]
    return ordered[:limit] if limit else ordered


def cache_path(corpus: Path, kind: str, clip: Clip) -> Path:
    """Where a corpus keeps something of a clip.

    Args:
        kind: "tracks", "geometry", "windows", "audio" or "mel".
    """
    return corpus / kind / f"{clip.name}{CACHE_SUFFIXES[kind]}"


def save_track(track: FaceTrack, path: Path) -> None:
    """Write a track to .npz."""
    np.savez(path, **vars(track))


def load_track(path: Path) -> FaceTrack:
    """Read what `save_track` wrote."""
    with np.load(path) as saved:
        return FaceTrack(
            landmarks=saved["landmarks"].astype(np.float32),
            detected=saved["detected"],
            times=saved["times"],
            width=int(saved["width"]),
            height=int(saved["height"]),
            **{name: saved[name] for name in ("shot", "light") if name in saved},
        )


def read_track(corpus: Path, clip: Clip) -> FaceTrack | None:
    """Read a clip's track; None where there is none."""
    path = cache_path(corpus, "tracks", clip)
    return load_track(path) if path.is_file() else None


def read_geometry(corpus: Path, clip: Clip) -> FaceGeometry | None:
    """Read a clip's geometry as `preprocess` estimated it; None where there is none."""
    path = cache_path(corpus, "geometry", clip)
    return FaceGeometry.load(path) if path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class MeasuredClip:
    """What `train sync` or `train offsets` measured of a clip.

    Attributes:
        name: of the clip.
        offset_s: seconds by which the picture comes after the sound, to half a frame of 25 Hz.
        in_sync: probability that the sound is the face's.
    """

    name: str
    offset_s: float
    in_sync: float


def write_offsets(measured: list[MeasuredClip], corpus: Path) -> None:
    """Keep what was measured as corpus/offsets.tsv, offsets in frames of 25 Hz as in a manifest."""
    with (corpus / OFFSETS_NAME).open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("clip", "offset", "in_sync"))
        writer.writerows((row.name, f"{row.offset_s * MANIFEST_RATE:.1f}", f"{row.in_sync:.3f}") for row in measured)


def with_measured_offsets(clips: list[Clip], corpus: Path, *, is_required: bool = False) -> list[Clip]:
    """Replace the manifest's offset and fit, good to a frame, by the measured ones, to half a frame.

    The measured fit is the probability that the sound is the face's. Clips that were not measured stay as they are.

    Args:
        corpus: holds offsets.tsv; without that file all clips stay as they are.
        is_required: the file must be there.

    Raises:
        MediaError: the file is required and missing.
    """
    path = corpus / OFFSETS_NAME
    if not path.is_file():
        if is_required:
            raise MediaError(f"no {path}: measure the clips' offsets with `personatalk train offsets`")
        return clips
    with path.open(newline="") as stream:
        table = {row["clip"]: row for row in csv.DictReader(stream, delimiter="\t")}
    return [
        replace(clip, offset_s=float(row["offset"]) / MANIFEST_RATE, fit=float(row["in_sync"]))
        if (row := table.get(clip.name))
        else clip
        for clip in clips
    ]
