"""Files that a visitor can take along beside the dubbed video: before and after in one, and everything as a ZIP."""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Callable
from pathlib import Path

from personatalk.inspection.comparison import write_comparison, write_side_by_side
from personatalk.inspection.geometry import save_mesh
from personatalk.inspection.glb import geometry_glb
from personatalk.inspection.recording import Inspection
from personatalk.webapp import strings
from personatalk.webapp.jobs import Outcome

NAMES = strings.BEFORE_LABEL, strings.AFTER_LABEL
RECORDING = "recording.json"


def make_file(outcome: Outcome, name: str) -> Path:
    """Write one of MAKERS into a run's folder unless it is there; returns its path."""
    file_name, write = MAKERS[name]
    path = outcome.folder / file_name
    if not path.exists():
        unfinished = path.with_name(f"{secrets.token_hex(4)}-{file_name}")
        write(outcome, unfinished)
        unfinished.replace(path)
    return path


def _side_by_side(outcome: Outcome, path: Path) -> None:
    write_side_by_side(outcome.before, outcome.video, path, names=NAMES)


def _animation(outcome: Outcome, path: Path) -> None:
    write_comparison(outcome.before, outcome.video, path, names=NAMES)


def _everything(outcome: Outcome, path: Path) -> None:
    """Both videos, both beside each other, the report and the geometry."""
    files = {f"before{outcome.before.suffix}": outcome.before, "dubbed.mp4": outcome.video}
    files |= {"report.json": outcome.report, "side_by_side.mp4": make_file(outcome, "side")}
    records = {f"person_{number + 1}_": record for number, record in outcome.records.items()}
    for person, record in (records or {"": outcome.record}).items():
        if record is None or not (record / RECORDING).is_file():
            continue
        inspection, names = Inspection.load(record), [f"{person}geometry.npz", f"{person}geometry.glb"]
        files |= {name: outcome.folder / f"zip-{name}" for name in names}
        save_mesh(inspection, 0, files[names[0]])
        geometry_glb(inspection, files[names[1]], textured=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in files.items():
            archive.write(file, name)


MAKERS: dict[str, tuple[str, Callable[[Outcome, Path], None]]] = {
    "side": ("before_and_after.mp4", _side_by_side),
    "webp": ("before_and_after.webp", _animation),
    "gif": ("before_and_after.gif", _animation),
    "zip": ("personatalk.zip", _everything),
}
