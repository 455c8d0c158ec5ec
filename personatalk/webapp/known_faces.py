"""Faces that a session has read before: a dub that follows a preview of the same clip does not track it again."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatalk.options import DubbingOptions
from personatalk.persons.search import Cast
from personatalk.progress import SHARES, Run
from personatalk.stages import Faces, at_paths
from personatalk.webapp import strings

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingPipeline

CHUNK_BYTES = 1 << 20
KEPT = 6  # sets of faces of one session, and as many casts; the oldest goes first
TRACKING_SHARE = SHARES["track"] / (SHARES["track"] + SHARES["fit"])  # of the time that it takes to read a face
ReadFaces = Callable[[Path, Sequence[DubbingOptions], Run], list[Faces]]
FindCast = Callable[[Path, str, Run], Cast]


def remembering(pipeline: DubbingPipeline, folder: Path) -> DubbingPipeline:
    """Make a pipeline look into a folder before it reads faces, and keep there what it has read.

    Args:
        pipeline: any; it stays as it is.
        folder: of one session, which removes it.
    """
    seeing, clever = copy.copy(pipeline), copy.copy(pipeline)

    def find_cast(video: Path, tracker: str, run: Run) -> Cast:
        return find_or_recall(pipeline.find_cast, folder, video, tracker, run=run)

    def read_all_faces(video: Path, choices: Sequence[DubbingOptions], run: Run) -> list[Faces]:
        return read_or_recall(seeing.read_all_faces, folder, video, choices, run=run)

    setattr(seeing, "find_cast", find_cast)  # noqa: B010 (pyright refuses to see a method assigned)
    setattr(clever, "find_cast", find_cast)  # noqa: B010
    setattr(clever, "read_all_faces", read_all_faces)  # noqa: B010
    return clever


def find_or_recall(find: FindCast, folder: Path, video: Path, tracker: str, *, run: Run) -> Cast:
    """Return who is seen in a clip, from the folder if the same clip was looked through by the same tracker.

    Args:
        find: looks.
        folder: where casts are kept.
        video: the clip.
        tracker: that finds faces.
        run: told of the stage.
    """
    if cast := known_cast(folder, video, tracker):
        with run.stage("track", strings.RECALLING):
            return cast
    cast = find(video, tracker, run)
    keep_cast(folder, video, tracker, cast)
    return cast


def read_or_recall(
    read: ReadFaces, folder: Path, video: Path, choices: Sequence[DubbingOptions], *, run: Run
) -> list[Faces]:
    """Return faces of a clip, from the folder those of which the same media were read with the same choices.

    Args:
        read: reads the others.
        folder: where they are kept.
        video: the clip.
        choices: options of the dub of each face; their videos of style and references are read too.
        run: told of the stages.
    """
    places = [_place(folder, video, chosen) for chosen in choices]
    known = {place: pickle.loads(place.read_bytes()) for place in places if place.is_file()}
    if unknown := {place: chosen for place, chosen in zip(places, choices, strict=True) if place not in known}:
        for place, faces in zip(unknown, read(video, list(unknown.values()), run), strict=True):
            known[place] = faces
            _keep(place, faces)
    else:
        with run.stage("track", strings.RECALLING), run.stage("fit", strings.RECALLING):
            pass
    return [at_paths([known[place]], video, chosen)[0] for place, chosen in zip(places, choices, strict=True)]


def _keep(place: Path, found: Any) -> None:
    """Keep something that was found, in place of the oldest of its kind."""
    _keep_bytes(place, pickle.dumps(found))


def _keep_bytes(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    same_kind = sorted(place.parent.glob(f"*{place.suffix}"), key=lambda path: path.stat().st_mtime)
    for outdated in same_kind[: -KEPT + 1 or None]:
        outdated.unlink(missing_ok=True)
    unfinished = place.with_suffix(".part")
    unfinished.write_bytes(content)
    unfinished.replace(place)


def known_cast(folder: Path, video: Path, tracker: str) -> Cast | None:
    """Who is seen in a clip; None where it was not looked through before."""
    kept = _place_of_cast(folder, video, tracker)
    return pickle.loads(kept.read_bytes()) if kept.is_file() else None


def keep_cast(folder: Path, video: Path, tracker: str, cast: Cast) -> None:
    """Keep who is seen in a clip, which then need not be tracked."""
    _keep(_place_of_cast(folder, video, tracker), cast)


def keep_still(folder: Path, picture: Path, speeches: Sequence[Path], clip: Path) -> None:
    """Keep the clip that a still image has become for these speeches: its faces are known by its content."""
    _keep_bytes(_place_of_still(folder, picture, speeches), clip.read_bytes())


def kept_still(folder: Path, picture: Path, speeches: Sequence[Path]) -> Path | None:
    """The clip that a still image became for these speeches before; None where it never did."""
    place = _place_of_still(folder, picture, speeches)
    return place if place.is_file() else None


def readings_left(folder: Path, video: Path, choices: Sequence[DubbingOptions]) -> float:
    """How much of reading faces is left to do: 1 for one face that is to be tracked and fitted, 0 where all are known.

    Args:
        folder: where faces are kept.
        video: the clip.
        choices: options of the dub of each face.
    """
    unknown = [chosen for chosen in choices if not are_known(folder, video, chosen)]
    if not unknown:
        return 0.0
    is_tracked = _place_of_cast(folder, video, unknown[0].tracker).is_file()
    return len(unknown) * (1 - TRACKING_SHARE) + (0.0 if is_tracked else TRACKING_SHARE)


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


def _place_of_cast(folder: Path, video: Path, tracker: str) -> Path:
    """The file for who is seen in a clip, by its content."""
    digest = hashlib.blake2b(tracker.encode(), digest_size=16)
    digest.update(_content(video, video.stat().st_mtime_ns))
    return folder / f"{digest.hexdigest()}.cast"


def _place_of_still(folder: Path, picture: Path, speeches: Sequence[Path]) -> Path:
    """The file for the clip of a still image, by its content and that of the speeches."""
    contents = [_content(path, path.stat().st_mtime_ns) for path in (picture, *speeches)]
    digest = hashlib.blake2b(b"".join([contents[0], *sorted(contents[1:])]), digest_size=16)
    return folder / f"{digest.hexdigest()}.mp4"


@lru_cache(maxsize=64)
def _content(path: Path, changed_ns: int) -> bytes:
    digest = hashlib.blake2b()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
