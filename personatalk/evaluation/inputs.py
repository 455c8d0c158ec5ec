"""What evaluations read: the clips of a manifest, their cached tracks, and the tables that they print."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from personatalk.errors import MediaError
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.tracking import FaceTrack
from personatalk.metrics.statistics import summarise

MANIFEST_RATE = 25.0  # Hz in which the manifest counts its offsets


@dataclass(frozen=True, kw_only=True)
class EvaluationInputs:
    """Where an evaluation finds what it needs.

    Attributes:
        data: folder of the clips, or one with a folder `clips` in it.
        manifest: tab-separated file with the columns file, split, person, sound, and if known offset, fit, seconds,
            language.
        corpus: folder that `preprocess` wrote: tracks, geometry and audio, a <clip>.npz each.
        checkpoints: folder of the weights.
        output: folder for pictures and videos; None keeps none.
        split: which clips are judged.
        limit: at most so many clips, spread over the persons; 0 takes all.
        syncnet: SyncNet's own weights, which do not ship.
        sounds: folder of recordings in which nobody speaks; None where there are none.
        renderers: name to weights of stage 2 that are judged beside those that ship, see `load_renderer`.
    """

    data: Path
    manifest: Path
    corpus: Path
    checkpoints: Path
    output: Path | None = None
    split: str = "val"
    limit: int = 0
    syncnet: Path | None = None
    sounds: Path | None = None
    renderers: dict[str, Path] = field(default_factory=dict)

    def clip_path(self, clip: Clip) -> Path:
        """Where a clip's video is."""
        inside = self.data / "clips" / clip.file
        return inside if inside.is_file() else self.data / clip.file


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One line of a manifest.

    Attributes:
        file: name of the video file.
        person: who speaks.
        has_sound: whether there is sound that belongs to the face.
        offset_s: seconds by which the picture comes after the sound.
        fit: correlation of mouth and sound at that offset; not a number where not measured.
        seconds: length; not a number where not given.
        language: as the manifest has it, such as "en"; empty where not given.
    """

    file: str
    person: str
    has_sound: bool
    offset_s: float
    fit: float
    seconds: float
    language: str = ""

    @property
    def name(self) -> str:
        """The file name without its ending."""
        return Path(self.file).stem


def read_clips(manifest: Path, split: str) -> list[Clip]:
    """Read the clips of a split.

    Raises:
        MediaError: the manifest is missing, or lacks a column.
    """
    if not manifest.is_file():
        raise MediaError(f"no manifest {manifest}: give a tab-separated file with columns file, split, person, sound")
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if rows and (missing := sorted({"file", "split", "person", "sound"} - rows[0].keys())):
        raise MediaError(f"{manifest} has no column {missing}")
    return [
        Clip(
            file=row["file"],
            person=row["person"],
            has_sound=row["sound"] == "1",
            offset_s=float(row.get("offset") or 0) / MANIFEST_RATE,
            fit=float(row.get("fit") or "nan"),
            seconds=float(row.get("seconds") or "nan"),
            language=row.get("language") or "",
        )
        for row in rows
        if row["split"] == split
    ]


def named_paths(texts: list[str]) -> dict[str, Path]:
    """Read NAME=PATH texts of a command line.

    Raises:
        MediaError: a text has no name or no path, a name is given twice, or nothing is at a path.
    """
    named: dict[str, Path] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not path or name in named:
            raise MediaError(f"{text!r} must be NAME=PATH, each name once")
        if not Path(path).exists():
            raise MediaError(f"{name}: there is no {path}; give a file of weights or the folder that holds it")
        named[name] = Path(path)
    return named


def at_measured_offsets(clips: list[Clip], corpus: Path) -> list[Clip]:
    """Put the offsets that `train sync` measured, to half a frame, in the place of the manifest's, to a frame.

    Raises:
        MediaError: nothing was measured.
    """
    path = corpus / "offsets.tsv"
    if not path.is_file():
        raise MediaError(f"no {path}: measure the clips' offsets with `personatalk train sync`")
    with path.open(newline="") as file:
        measured = {row["clip"]: float(row["offset"]) for row in csv.DictReader(file, delimiter="\t")}
    return [replace(c, offset_s=measured[c.name] / MANIFEST_RATE) if c.name in measured else c for c in clips]


def spread_over_persons(clips: list[Clip], limit: int) -> list[Clip]:
    """Take at most `limit` clips, one of each person before a second of any; 0 takes all, in the same order."""
    turns: dict[str, int] = {}
    ranked = []
    for clip in clips:
        turns[clip.person] = turns.get(clip.person, 0) + 1
        ranked.append((turns[clip.person], clip))
    ordered = [clip for _, clip in sorted(ranked, key=lambda pair: pair[0])]
    return ordered[:limit] if limit else ordered


def read_track(corpus: Path, clip: Clip) -> FaceTrack | None:
    """Read a clip's cached track; None where there is none."""
    path = corpus / "tracks" / f"{clip.name}.npz"
    if not path.is_file():
        return None
    with np.load(path) as saved:
        return FaceTrack(
            landmarks=saved["landmarks"].astype(np.float32),
            detected=saved["detected"],
            times=saved["times"],
            width=int(saved["width"]),
            height=int(saved["height"]),
        )


def read_geometry(corpus: Path, clip: Clip) -> FaceGeometry | None:
    """Read a clip's geometry as `preprocess` estimated it; None where there is none."""
    path = corpus / "geometry" / f"{clip.name}.npz"
    return FaceGeometry.load(path) if path.is_file() else None


def report_of(what: str, rows: dict[str, list[dict[str, float]]], **facts: object) -> dict:
    """Gather the figures of an evaluation into what JSON can hold.

    Args:
        what: name of the evaluation.
        rows: method to one dict of figures a clip.
        facts: anything else worth knowing, such as counts.
    """
    return {"evaluation": what, **facts, "table": {method: summarise(clips) for method, clips in rows.items()}}


def to_markdown(report: dict) -> str:
    """Print a report's table with 95 % intervals: methods down, or figures down where these are more."""
    table = report["table"]
    names = list(dict.fromkeys(name for figures in table.values() for name in figures))
    cells = {(method, name): _cell(table[method].get(name)) for method in table for name in names}
    if len(names) > len(table):
        grid = [["", *table], *([name, *(cells[method, name] for method in table)] for name in names)]
    else:
        grid = [["", *names], *([method, *(cells[method, name] for name in names)] for method in table)]
    grid.insert(1, ["---"] * len(grid[0]))
    facts = {key: value for key, value in report.items() if key != "table" and not isinstance(value, (dict, list))}
    lines = ["| " + " | ".join(row) + " |" for row in grid]
    return "\n".join([", ".join(f"{key}: {value}" for key, value in facts.items()), "", *lines])


def _cell(figure: dict[str, float] | None) -> str:
    if not figure or not figure["count"]:
        return "–"
    return f"{figure['mean']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"
