"""Finished examples: dubbed once on a machine, kept, and shown at once from then on."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import PersonaTalkError
from personatalk.media import read_frames
from personatalk.options import DubbingOptions
from personatalk.progress import Progress
from personatalk.webapp import strings
from personatalk.webapp.dubber import RECORD, Dubber, Outcome
from personatalk.webapp.sessions import RUNNING

ASSETS = Path(__file__).parents[2] / "assets"
PACKAGE = Path(__file__).parents[1]
KEPT_FIELDS = ("summary", "num_frames", "fps")
OUTCOME = "outcome.json"
PICTURE_PX = 96

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A clip and a speech that ship."""

    name: str
    clip: Path
    speech: Path

    def picture(self, folder: Path) -> Path:
        """Write a small square picture of the speaker."""
        image = Image.fromarray(next(iter(read_frames(self.clip))).image)
        side = min(image.size)
        left = (image.width - side) // 2
        path = folder / f"{self.clip.stem}.webp"
        image.crop((left, 0, left + side, side)).resize((PICTURE_PX, PICTURE_PX)).save(path)
        return path


def shipped_examples() -> list[Example]:
    """Each shipped clip with a shipped speech."""
    clips, speeches = sorted(ASSETS.glob("*.mp4")), sorted(ASSETS.glob("*.wav"))
    return [
        Example(name=strings.EXAMPLE_NAMES.get(clip.stem, clip.stem), clip=clip, speech=speech)
        for clip, speech in zip(clips, speeches, strict=False)
    ]


class ExampleCache:
    """The results of the examples, computed when first asked for.

    A result belongs to the code, the weights and the media that made it; when one of them changes it is made anew.

    Args:
        dubber: makes them.
        folder: where they are kept.
    """

    def __init__(self, dubber: Dubber, folder: Path) -> None:
        self._dubber, self._folder, self._lock = dubber, folder, threading.Lock()
        self._fingerprint: str | None = None

    def outcome(self, example: Example, session: str, progress: Progress | None = None) -> tuple[Outcome, Path]:
        """Give a session its own copy of a result.

        Returns:
            the outcome, and the copy of the speech.
        """
        kept = self.make(example, progress)
        inputs, folder = (
            self._dubber.sessions.new_folder(session) for _ in range(2)
        )  # the inputs outlive the next run
        clip, speech = (Path(shutil.copy(path, inputs)) for path in (example.clip, example.speech))
        video, report = (Path(shutil.copy(kept / name, folder)) for name in ("dubbed.mp4", "report.json"))
        fields = json.loads((kept / OUTCOME).read_text())
        outcome = Outcome(
            folder=folder, before=clip, video=video, report=report, record=kept / RECORD, **fields
        )  # fmt: skip
        return replace(outcome, summary=f"{strings.EXAMPLE_NOTE}\n{outcome.summary}"), speech

    def make(self, example: Example, progress: Progress | None = None) -> Path:
        """Return the folder of a result, dubbing if it is not there yet."""
        target = self._folder / self.fingerprint() / example.clip.stem
        if target.is_dir():  # at once, whatever else the machine does
            return target
        with self._lock:
            if target.is_dir():
                return target
            for outdated in set(self._folder.glob("*")) - {target.parent}:
                shutil.rmtree(outdated)
            unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            unfinished.mkdir(parents=True)
            (unfinished / RUNNING).touch()
            try:
                with self._dubber.line.turn():
                    outcome = self._dubber.run_in(unfinished, example.clip, example.speech, DubbingOptions(), progress)
                fields = {name: getattr(outcome, name) for name in KEPT_FIELDS}
                (unfinished / OUTCOME).write_text(json.dumps(fields))
                self._dubber.sessions.finish(unfinished)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            return target

    def fingerprint(self) -> str:
        """Name of the code, weights and media at hand; the weights are taken by size and time, as they are large."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for path in sorted([*PACKAGE.rglob("*.py"), *ASSETS.glob("*.mp4"), *ASSETS.glob("*.wav")]):
                digest.update(path.read_bytes())
            for path in sorted(DEFAULT_FOLDER.iterdir()):
                digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def warm(self) -> None:
        """Make all results from a thread of its own, so that the first visitor finds them."""

        def make_all() -> None:
            for example in shipped_examples():
                try:
                    self.make(example)
                except PersonaTalkError:
                    logger.exception("the example %s could not be made", example.clip.name)

        threading.Thread(target=make_all, name="examples", daemon=True).start()
