"""Faces that a session has read before: a dub that follows a preview of the same clip does not track it again."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from personatalk.options import DubbingOptions
from personatalk.progress import Run
from personatalk.stages import Faces, at_paths
from personatalk.webapp import strings

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingPipeline

CHUNK_BYTES = 1 << 20
KEPT = 3  # sets of faces of one session; the oldest goes first
ReadFaces = Callable[[Path, DubbingOptions, Run], Faces]


def remembering(pipeline: DubbingPipeline, folder: Path) -> DubbingPipeline:
    """Make a pipeline look into a folder before it reads faces, and keep there what it has read.

    Args:
        pipeline: any; it stays as it is.
        folder: of one session, which removes it.
    """
    clever = copy.copy(pipeline)

    def read_all_faces(video: Path, choices: Sequence[DubbingOptions], run: Run) -> list[Faces]:
        return [read_or_recall(pipeline.read_faces, folder, video, options, run=run) for options in choices]

    setattr(clever, "read_all_faces", read_all_faces)  # noqa: B010 (pyright refuses to see a method assigned)
    return clever


def read_or_recall(read: ReadFaces, folder: Path, video: Path, options: DubbingOptions, *, run: Run) -> Faces:
    """Return the faces of a clip, from the folder if the same media were read with the same choices.

    Args:
        read: reads them.
        folder: where they are kept.
        video: the clip.
        options: of the dub; its videos of style and references are read too.
        run: told of the stages.
    """
    kept = _place(folder, video, options)
    if kept.is_file():
        with run.stage("track", strings.RECALLING), run.stage("fit", strings.RECALLING):
            return at_paths([pickle.loads(kept.read_bytes())], video, options)[0]
    faces = read(video, options, run)
    folder.mkdir(parents=True, exist_ok=True)
    for outdated in sorted(folder.glob("*.faces"), key=lambda path: path.stat().st_mtime)[: -KEPT + 1 or None]:
        outdated.unlink(missing_ok=True)
    unfinished = kept.with_suffix(".part")
    unfinished.write_bytes(pickle.dumps(faces))
    unfinished.replace(kept)
    return faces


def are_known(folder: Path, video: Path, options: DubbingOptions) -> bool:
    """Whether the faces of a clip need not be read again."""
    return _place(folder, video, options).is_file()


def _place(folder: Path, video: Path, options: DubbingOptions) -> Path:
    """The file for the faces of these media, by their content, and these choices."""
    choices = (options.tracker, options.refine, options.face, options.face_point)
    digest = hashlib.blake2b(repr(choices).encode(), digest_size=16)
    for path in (video, options.style_video, options.reference_video):
        digest.update(_content(Path(path), Path(path).stat().st_mtime_ns) if path else b"none")
    return folder / f"{digest.hexdigest()}.faces"


@lru_cache(maxsize=64)
def _content(path: Path, changed_ns: int) -> bytes:
    digest = hashlib.blake2b()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
