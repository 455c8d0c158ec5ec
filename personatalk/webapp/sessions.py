"""The sessions of visitors and their files: a folder for each run, removed with the session or with age."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

RUNNING = ".running"  # a run goes on while this file lies in its folder
SWEEP_EVERY_S = 60.0


class Sessions:
    """The files of all visitors, kept apart by session.

    A run's folder has a name that cannot be guessed and belongs to one browser session. Stopping a run removes
    the mark in its folder, so that a run in another process sees it too, and a run whose folder is gone stops.

    Args:
        parent: folder in which the root of all sessions is made.
        keep_s: folders and uploads older than this are removed, s.
    """

    def __init__(self, parent: Path, keep_s: float) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self._root = tempfile.TemporaryDirectory(prefix="personatalk-", dir=parent)
        self.root, self.keep_s = Path(self._root.name), keep_s
        self.runs, self.kept = self.root / "runs", self.root / "kept"  # `kept` belongs to no session and is not swept
        self.runs.mkdir()
        self.kept.mkdir()
        self._folders: dict[str, set[Path]] = {}
        self._uploads: dict[str, set[Path]] = {}
        self._memories: dict[str, Path] = {}
        self._announced: dict[str, bool] = {}  # whether the run that is about to start is still wanted
        self._lock = threading.Lock()

    def announce(self, session: str) -> None:
        """Expect a run, so that a stop that comes before its start is not lost."""
        with self._lock:
            self._announced[session] = True

    def start(self, session: str) -> Path:
        """Make the folder of a new run; one that was stopped since it was announced is stopped at once."""
        folder = self.runs / secrets.token_urlsafe(24)
        folder.mkdir()
        with self._lock:
            if self._announced.pop(session, True):
                (folder / RUNNING).touch()
            self._folders.setdefault(session, set()).add(folder)
        return folder

    def new_folder(self, session: str) -> Path:
        """Make a folder for files of a session that no run belongs to."""
        folder = self.start(session)
        self.finish(folder)
        return folder

    def memory(self, session: str) -> Path:
        """The folder for what a session's runs leave to its later ones; who writes makes it, and it goes as they do."""
        with self._lock:
            if session not in self._memories:
                self._memories[session] = self.runs / secrets.token_urlsafe(24)
                self._folders.setdefault(session, set()).add(self._memories[session])
            return self._memories[session]

    def finish(self, folder: Path) -> None:
        """Mark a run as ended; its files stay."""
        (folder / RUNNING).unlink(missing_ok=True)

    def should_stop(self, folder: Path) -> bool:
        """Whether the run of this folder was asked to stop."""
        return was_stopped(folder)

    def stop(self, session: str) -> None:
        """Ask the session's runs, if any, to stop."""
        with self._lock:
            if session in self._announced:
                self._announced[session] = False
            for folder in self._folders.get(session, ()):
                self.finish(folder)

    def remove(self, session: str, folder: Path) -> None:
        """Remove one run's files; stops it if it runs."""
        with self._lock:
            self._folders.get(session, set()).discard(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def add_upload(self, session: str, path: Path) -> None:
        """Remember that an uploaded file belongs to a session."""
        with self._lock:
            self._uploads.setdefault(session, set()).add(path)

    def end(self, session: str) -> None:
        """Stop the session's runs and remove all its files, uploads that nobody else gave included."""
        with self._lock:
            folders, uploads = self._folders.pop(session, set()), self._uploads.pop(session, set())
            self._announced.pop(session, None)
            self._memories.pop(session, None)
            uploads -= set().union(*self._uploads.values())
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for path in uploads:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove finished runs and uploads that are older than the limit."""
        oldest = time.time() - self.keep_s
        for folder in self.runs.iterdir():
            if folder.stat().st_mtime < oldest and self.should_stop(folder):
                shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            uploads = set().union(*self._uploads.values())
        for path in uploads:
            if path.exists() and path.stat().st_mtime < oldest:
                path.unlink()

    def sweep_forever(self) -> None:
        """Sweep from time to time, on a thread that ends with the process."""

        def sweep() -> None:
            while self.runs.exists():
                self.sweep()
                time.sleep(SWEEP_EVERY_S)

        threading.Thread(target=sweep, name="sweep", daemon=True).start()


def was_stopped(folder: Path) -> bool:
    """Whether the run of a folder was asked to stop; asked in any process."""
    return not (folder / RUNNING).exists()
