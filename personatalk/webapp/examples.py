"""Finished examples: dubbed once on a machine and kept, so that they are shown at once."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import imageio.v3 as iio

from personatalk.checkpoints import DEFAULT_FOLDER, shipped_folder
from personatalk.errors import PersonaTalkError
from personatalk.media.still import first_frame, is_still
from personatalk.options import DubbingOptions
from personatalk.progress import Progress
from personatalk.webapp import strings
from personatalk.webapp.jobs import RECORD, STILL, Outcome
from personatalk.webapp.preview import Job
from personatalk.webapp.service import DubbingService
from personatalk.webapp.sessions import RUNNING

ASSETS = shipped_folder("assets")
EXAMPLES = {  # clips and their speeches, in the order in which they are shown and dubbed
    "grid_speaker.mp4": "speech_bridge.wav",
    "grid_glasses.mp4": "speech_garden.wav",
    "rendered_head.mp4": "speech_kitchen.wav",
    "painted_portrait.jpg": "speech_museum.wav",
    "rendered_turned.mp4": "speech_garden.wav",
    "rendered_glasses.mp4": "speech_bridge.wav",
}
PACKAGE = Path(__file__).parents[1]
KEPT_FIELDS = ("summary", "num_frames", "fps", "seconds")
OUTCOME = "outcome.json"
THUMBNAIL_PX = 96
TELL_S = 0.5  # between two words on how far an example is

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A clip, or a still image, and a speech that ship."""

    name: str
    clip: Path
    speech: Path

    def thumbnail(self, folder: Path) -> Path:
        """Write a small square picture of the speaker."""
        image = first_frame(self.clip)
        side = min(image.shape[:2])
        left = (image.shape[1] - side) // 2
        path = folder / f"{self.clip.stem}.webp"
        square = image[:side, left : left + side]
        iio.imwrite(path, cv2.resize(square, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA))
        return path


def shipped_examples() -> list[Example]:
    """The examples, in the order in which they are shown."""
    return [
        Example(name=strings.EXAMPLE_NAMES[Path(clip).stem], clip=ASSETS / clip, speech=ASSETS / speech)
        for clip, speech in EXAMPLES.items()
    ]


class ExampleCache:
    """The results of the examples, computed when first asked for.

    A result depends on code, weights and media; when one of them changes it is made anew.

    Args:
        service: makes them.
        folder: where they are kept.
    """

    def __init__(self, service: DubbingService, folder: Path) -> None:
        self._service, self._folder, self._lock = service, folder, threading.Lock()
        self._fingerprint: str | None = None
        self._visitors = 0  # who wait for the lock
        self._making: tuple[float, str] = 0.0, ""  # how far the example is that is being made

    def outcome(self, example: Example, session: str, progress: Progress | None = None) -> tuple[Outcome, Path, Path]:
        """Give a session its own copy of a result.

        Returns:
            the outcome, and the copies of clip and speech.
        """
        kept = self.make(example, progress)
        # Two folders: the inputs stay when the next run removes this result.
        inputs, folder = (self._service.sessions.new_folder(session) for _ in range(2))
        clip, speech = (Path(shutil.copy(path, inputs)) for path in (example.clip, example.speech))
        video, report = (Path(shutil.copy(kept / name, folder)) for name in ("dubbed.mp4", "report.json"))
        fields = json.loads((kept / OUTCOME).read_text())
        before = Path(shutil.copy(kept / STILL, folder)) if is_still(clip) else clip
        outcome = Outcome(folder=folder, before=before, video=video, report=report, record=kept / RECORD, **fields)
        summary = f"{strings.EXAMPLE_NOTE}\n{outcome.summary}"
        return replace(outcome, summary=summary, example=example.clip.stem), clip, speech

    def make(self, example: Example, progress: Progress | None = None) -> Path:
        """Return the folder of a result, dubbing if it is not there yet."""
        target = self._folder / self.fingerprint() / example.clip.stem
        if target.is_dir():  # without waiting for the lock, which another example may hold
            return target
        with self._turn(progress):
            if target.is_dir():
                return target
            for outdated in set(self._folder.glob("*")) - {target.parent}:
                shutil.rmtree(outdated)
            unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            unfinished.mkdir(parents=True)
            (unfinished / RUNNING).touch()
            try:
                with self._service.queue.turn():
                    job = Job(clip=example.clip, speech=example.speech, options=DubbingOptions())
                    outcome = self._service.dub_into(unfinished, job, progress=self._teller(example, progress))
                fields = {name: getattr(outcome, name) for name in KEPT_FIELDS}
                (unfinished / OUTCOME).write_text(json.dumps(fields))
                self._service.sessions.finish(unfinished)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            return target

    @contextmanager
    def _turn(self, progress: Progress | None) -> Iterator[None]:
        """Hold the lock; a visitor who waits for it is told how far the example is that is being made."""
        self._visitors += progress is not None
        try:
            while not self._lock.acquire(timeout=TELL_S):
                if progress:
                    progress(*self._making)
        finally:
            self._visitors -= progress is not None
        try:
            yield
        finally:
            self._lock.release()

    def _teller(self, example: Example, progress: Progress | None) -> Progress:
        def tell(share: float, stage: str) -> None:
            self._making = share, strings.EXAMPLE_BEFORE.format(name=example.name, stage=stage)
            if progress:
                progress(share, stage)

        return tell

    def fingerprint(self) -> str:
        """Hash of code, weights and media; of the weights, which are large, only size and time of change count."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            media = {ASSETS / name for pair in EXAMPLES.items() for name in pair}
            for path in sorted([*PACKAGE.rglob("*.py"), *media]):
                digest.update(path.read_bytes())
            for path in sorted(DEFAULT_FOLDER.iterdir()):
                digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def warm(self) -> None:
        """Make all results in the background, so that the first visitor finds them; who asks for one is let through."""

        def make_all() -> None:
            for example in shipped_examples():
                while self._visitors:
                    time.sleep(TELL_S)
                try:
                    self.make(example)
                except PersonaTalkError:
                    logger.exception("the example %s could not be made", example.clip.name)

        threading.Thread(target=make_all, name="examples", daemon=True).start()
