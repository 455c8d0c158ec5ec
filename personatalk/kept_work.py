"""Work that outlives its process: what a dub has finished lies in a folder until all of it is done."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import shutil
import threading
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from personatalk.errors import MediaError

try:
    import fcntl
except ImportError:  # Windows; there two runs that share a folder are not told apart
    fcntl = None

logger = logging.getLogger(__name__)

Made = TypeVar("Made")
Change = tuple[int, int, np.ndarray]
SUFFIX = ".unfinished"  # of the folder, after the name of the output
ASKED, LOCK, FINISHED = "asked.json", "lock", (".pickle", ".npz")
SEGMENT_FRAMES = 25  # that are kept together
CHANGES_LEVEL = 1  # of zlib; what a dub changes hardly gets smaller with more
KNOWN_NAMES = {
    "numpy": {"_reconstruct", "_frombuffer", "scalar", "ndarray", "dtype"},
    "pathlib": {"Path", "PosixPath", "WindowsPath"},
}  # that may be called when a part is read, by the package


@dataclass(frozen=True, kw_only=True)
class FinishedFrame:
    """A finished frame.

    Attributes:
        changes: by what it differs from its source: left, top, and [h, w, 3] uint8 of each part.
        is_dubbed: [faces] bool.
    """

    changes: Sequence[Change]
    is_dubbed: np.ndarray


class NothingKept:
    """Makes everything anew and keeps nothing: what a dub that is not to be resumed works with."""

    def recall(self, name: str, make: Callable[[], Made]) -> Made:
        """Make a part of the work; a subclass may have it already.

        Args:
            name: of the part; the same name stands for the same part in every run.
            make: makes it.
        """
        del name
        return make()

    def frame(self, position: int) -> FinishedFrame | None:
        """A finished frame, by its position in the output; None where there is none. Called from several threads."""
        del position

    def add_frame(self, position: int, is_dubbed: np.ndarray, changes: Callable[[], Sequence[Change]]) -> None:
        """Keep a finished frame; called in the output's order, for those too that were there.

        Args:
            position: in the output.
            is_dubbed: [faces] bool.
            changes: finds by what the frame differs from its source.
        """


class KeptWork(NothingKept):
    """Keeps finished parts of a dub in a folder, and finds them there.

    Every file is written beside its place and put there when it is whole, so that a run may end at any moment. Of a
    frame only what differs from its source is kept, compressed without loss.

    Args:
        folder: made if need be; nobody but its owner may enter it.
        asked: all that the result depends on, by what a user calls it.

    Raises:
        MediaError: the folder holds the work of another dub, another run uses it, or it cannot be written.
    """

    def __init__(self, folder: Path, asked: Mapping[str, str]) -> None:
        self.folder = folder
        self._is_dubbed: list[np.ndarray] = []  # of the segment under way
        self._changes: list[tuple[int, np.ndarray, bytes]] = []  # of its frames: which one, where, and compressed
        self._guard, self._lock = threading.Lock(), None
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = _lock(folder / LOCK)
            self._compare(asked)
            found = folder.glob("frames_*.npz")
            self._segments = {int(path.stem.partition("_")[2]) // SEGMENT_FRAMES for path in found}
        except OSError as error:
            self._unlock()
            raise _cannot_keep(folder, error) from error
        except BaseException:
            self._unlock()
            raise
        self._read = lru_cache(maxsize=2)(self._read_segment)

    def recall(self, name: str, make: Callable[[], Made]) -> Made:
        """Take a part of the work out of the folder, or make it and put it there.

        Raises:
            MediaError: it cannot be written.
        """
        path = self.folder / f"{name}.pickle"
        if path.is_file():
            try:
                return _Unpickler(io.BytesIO(path.read_bytes())).load()
            except (pickle.UnpicklingError, EOFError, AttributeError, ValueError, OSError) as error:
                logger.info("%s is broken and made anew: %s", path, error)
        made = make()
        self._write(path, pickle.dumps(made))
        return made

    def frame(self, position: int) -> FinishedFrame | None:
        """A finished frame."""
        number, place = divmod(position, SEGMENT_FRAMES)
        with self._guard:
            segment = self._read(number) if number in self._segments else None
        if segment is None:
            return None
        changes = []
        for index in np.flatnonzero(segment["frames"] == place):
            left, top, height, width = segment["boxes"][index].tolist()
            begin, end = segment["ends"][index : index + 2]
            difference = np.frombuffer(zlib.decompress(segment["changes"][begin:end].tobytes()), np.uint8)
            changes.append((left, top, difference.reshape(height, width, 3)))
        return FinishedFrame(changes=changes, is_dubbed=segment["is_dubbed"][place])

    def add_frame(self, position: int, is_dubbed: np.ndarray, changes: Callable[[], Sequence[Change]]) -> None:
        """Keep a finished frame; it is safe from when its segment is full.

        Raises:
            MediaError: it cannot be written.
        """
        number, place = divmod(position, SEGMENT_FRAMES)
        if number in self._segments:
            return
        self._is_dubbed.append(is_dubbed)
        for left, top, difference in changes():
            box = np.array((left, top, *difference.shape[:2]))
            self._changes.append((place, box, zlib.compress(difference.tobytes(), CHANGES_LEVEL)))
        if place == SEGMENT_FRAMES - 1:
            self._write_segment(number)

    def _write_segment(self, number: int) -> None:
        buffer = io.BytesIO()
        np.savez(
            buffer,
            is_dubbed=np.stack(self._is_dubbed),
            frames=np.array([frame for frame, _, _ in self._changes], int),
            boxes=np.array([box for _, box, _ in self._changes], int).reshape(-1, 4),
            ends=np.cumsum([0, *(len(data) for _, _, data in self._changes)]),
            changes=np.frombuffer(b"".join(data for _, _, data in self._changes), np.uint8),
        )
        self._is_dubbed.clear()
        self._changes.clear()
        self._write(self._place(number), buffer.getvalue())

    def remove(self) -> None:
        """Remove the folder: all is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Leave the folder to another run; one in which nothing is finished is removed."""
        if not any(path.suffix in FINISHED for path in self.folder.glob("*")):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _compare(self, asked: Mapping[str, str]) -> None:
        """Refuse a folder that another dub has filled."""
        path, known = self.folder / ASKED, None
        with suppress(OSError, ValueError):
            known = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(known, dict):
            self._write(path, json.dumps(asked).encode())
            return
        if different := [name for name in {**asked, **known} if asked.get(name) != known.get(name)]:
            raise MediaError(
                f"The folder {self.folder} holds the work of another dub ({', '.join(different)}: not the same); "
                "remove it, or give another name for the output."
            )

    def _place(self, number: int) -> Path:
        return self.folder / f"frames_{number * SEGMENT_FRAMES:08d}.npz"

    def _read_segment(self, number: int) -> dict[str, np.ndarray] | None:
        """The arrays of a segment; a broken one is forgotten."""
        try:
            with np.load(self._place(number)) as arrays:
                return {name: arrays[name] for name in ("is_dubbed", "frames", "boxes", "ends", "changes")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.info("%s is broken and made anew: %s", self._place(number), error)
            self._segments.discard(number)
            return None

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file that is whole or not there."""
        unfinished = path.with_suffix(".part")
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise _cannot_keep(self.folder, error) from error


class _Unpickler(pickle.Unpickler):
    """Reads arrays, paths and this package's dataclasses, and calls nothing else that a file may name."""

    def find_class(self, module: str, name: str) -> Any:
        """Find a class by its name.

        Raises:
            pickle.UnpicklingError: it is none of those.
        """
        if module.startswith("personatalk."):
            found = super().find_class(module, name)
            if isinstance(found, type) and is_dataclass(found):
                return found
        if name in KNOWN_NAMES.get(module.partition(".")[0], ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong here")


def _lock(path: Path) -> int | None:
    """Hold a file for as long as this process lives.

    Raises:
        MediaError: another process holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if fcntl is None:
        os.close(handle)
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise MediaError(f"Another run works in {path.parent}; wait for it, or give another output.") from error
    except OSError:  # some network file systems have no locks
        logger.debug("%s cannot be locked", path)
    return handle


def _cannot_keep(folder: Path, error: OSError) -> MediaError:
    reason = error.strerror or error
    return MediaError(f"{folder} cannot be written ({reason}); check the folder, its rights and free space.")
