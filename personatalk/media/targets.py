"""Files to be written: checked before the work, written beside their place, and put there when they are whole."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from personatalk.errors import MediaError

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
PROBE_BYTES = 1 << 16  # a full disk takes an empty file
TOKEN_BYTES = 4
MAX_PARTIAL_STEM = 60  # characters, at most 4 bytes each: names are limited to 255 bytes


def check_outputs(
    outputs: Iterable[Path | None], inputs: Iterable[Path | None], *, folders: Iterable[Path | None] = ()
) -> None:
    """Refuse to write where nothing can be written, and to write what is read, before any work is done.

    Files are compared as files: another way to write a path, a symbolic link and a hard link name the same file.

    Args:
        outputs: files to write; None stands for one that is not wanted.
        inputs: files that will be read; None likewise. A missing one is left to its reader to report.
        folders: folders to fill, made if need be.

    Raises:
        MediaError: an output is an input or another output, its folder is missing, is read-only or full, its name is
            too long, or it is a folder; a folder is a file, cannot be written to, or holds an input.
    """
    read = [Path(path) for path in inputs if path is not None and os.path.exists(path)]
    written: list[Path] = []
    for path in [Path(path) for path in outputs if path is not None]:
        _check_file(path)
        for other in read:
            if path.exists() and path.samefile(other):
                raise MediaError(f"The output {path.name} would overwrite the input {other}; give another name.")
        if any(path.resolve() == other.resolve() for other in written):
            raise MediaError(f"Two outputs would be written to {path}; give one of them another name.")
        written.append(path)
    for folder in [Path(path) for path in folders if path is not None]:
        _check_folder(folder)
        for other in read:
            if folder.resolve() in other.resolve().parents:
                raise MediaError(f"The folder {folder} holds the input {other.name}; give a folder of its own.")


def check_target(path: Path, inputs: Iterable[Path | None], *, stream: object = None) -> None:
    """Refuse a video's place that cannot be written to, before any work is done for it.

    Args:
        path: the output.
        inputs: files that it must not overwrite; None stands for one that is not given.
        stream: a path to which the video goes as it grows; anything else is none.

    Raises:
        MediaError: not an MP4's name, or what `check_outputs` refuses.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise MediaError(f"{path.name} cannot be the output: its name must end in {', '.join(VIDEO_SUFFIXES)}.")
    check_outputs([path, stream if isinstance(stream, Path) else None], inputs)


def write_text(path: Path, text: str) -> None:
    """Write a text file that is either whole or, after an error, as it was.

    Raises:
        MediaError: it cannot be written; the message says why.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a device or a pipe, such as /dev/stdout, has to stay what it is
            path.write_text(text, encoding="utf-8")
            return
        with PartialFile(path) as partial:
            partial.path.write_text(text, encoding="utf-8")
            partial.put_in_place()
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> MediaError:
    """Return the error to raise for a file that could not be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return MediaError(f"{path} cannot be written ({reason}); check the folder, its rights and free space.")


class PartialFile:
    """A hidden file beside a target, to be written and put in the target's place.

    As a context it is there on entering and gone on leaving. One that a killed process left behind is removed when
    the same target is written again: a process holds a lock on its partial file for as long as it lives.

    Args:
        target: file to replace.

    Attributes:
        path: of the hidden file.
    """

    def __init__(self, target: Path) -> None:
        self._target = Path(target)
        stem = self._target.stem[:MAX_PARTIAL_STEM]
        self.path = self._target.with_name(f".{stem}.{secrets.token_hex(TOKEN_BYTES)}.part")
        self._lock: int | None = None

    def create(self) -> None:
        """Make the file, and remove those of killed processes."""
        remove_stale_parts(self._target)
        self._lock = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is None:
            self._unlock()
        else:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def put_in_place(self) -> None:
        """Replace the target with what was written."""
        self.path.replace(self._target)

    def discard(self) -> None:
        """Remove the file, unless it was put in place."""
        self._unlock()
        with suppress(OSError):  # an error of removal would hide the one that led here
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> PartialFile:
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_stale_parts(target: Path) -> None:
    """Remove partial files of a target whose processes are gone."""
    form = re.compile(rf"\.{re.escape(target.stem[:MAX_PARTIAL_STEM])}\.[0-9a-f]{{{2 * TOKEN_BYTES}}}\.part")
    with suppress(OSError):
        for path in [path for path in target.parent.iterdir() if form.fullmatch(path.name)]:
            if _is_abandoned(path):
                logger.info("removing %s, which a run that was killed left behind", path)
                path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    """Tell whether no process holds the lock of a partial file; where there are no locks, it stays."""
    if fcntl is None:
        return True
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _check_file(path: Path) -> None:
    """Refuse a file that cannot be written."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # the name is too long, or holds a zero byte
        raise cannot_write(path, error) from error
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a file name for the output.")
    if not path.parent.is_dir():
        raise MediaError(f"The folder {path.parent} does not exist; make it, or write {path.name} somewhere else.")
    if path.is_file() or not path.exists():  # else it is a device or a pipe
        _write_beside(path)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that can be neither made nor written to."""
    try:
        os.lstat(folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise cannot_write(folder, error) from error
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise MediaError(f"{nearest} is a file; give a folder.")
    _write_beside(nearest / "check")


def _write_beside(path: Path) -> None:
    """Write a little beside a place, and remove it."""
    try:
        with PartialFile(path) as partial:
            partial.path.write_bytes(bytes(PROBE_BYTES))
    except OSError as error:
        raise cannot_write(path, error) from error
