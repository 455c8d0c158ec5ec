"""Dubs, previews and analyses for visitors: checks a request, waits for its turn, and runs it in a session's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from personatalk.errors import CancelledError, NoFaceError, PersonaTalkError
from personatalk.media.excerpt import SAMPLE_RATE
from personatalk.options import DubbingOptions
from personatalk.progress import SHARES, Progress
from personatalk.webapp import strings
from personatalk.webapp.jobs import Outcome, Workplace, look_at, look_for_faces, make_dub, measure_clip, take_sound_of
from personatalk.webapp.limits import Limits
from personatalk.webapp.preview import EXCERPT_VIDEO, Job
from personatalk.webapp.run_queue import RunQueue
from personatalk.webapp.run_summary import name_files_as_the_page_does
from personatalk.webapp.sessions import Sessions, was_stopped
from personatalk.webapp.time_estimate import TimeEstimator

HELPER_SHARE = SHARES["track"] + SHARES["fit"]  # of a dub's time per frame; spent on each frame of another clip


class MissingInputError(PersonaTalkError):
    """A numbered step of the page was left out."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a visitor asks for.

    Attributes:
        clip: video of the speaker.
        speech: sound, or a video with sound.
        consent: whether step 3 is ticked.
        options: of the dub.
    """

    clip: Path | None
    speech: Path | None
    consent: bool
    options: DubbingOptions

    @property
    def files(self) -> dict[Path, str]:
        """All files that the visitor gave, and what the page calls them."""
        given = {
            self.options.style_video: strings.STYLE_CLIP,
            self.options.reference_video: strings.REFERENCE_CLIP,
            self.speech: strings.SPEECH,
            self.clip: strings.CLIP,
        }
        return {Path(path): name for path, name in given.items() if path}

    @property
    def job(self) -> Job:
        """What the pipeline is asked for.

        Raises:
            MissingInputError: clip or speech is missing.
        """
        if self.clip is None:
            raise MissingInputError(strings.CLIP_MISSING)
        if self.speech is None:
            raise MissingInputError(strings.SPEECH_MISSING)
        return Job(clip=self.clip, speech=self.speech, options=self.options)


class DubbingService:
    """Runs dubs, previews and analyses, one at a time.

    Args:
        dubbing: where they run, with a `Studio` prepared.
        looking: where files are looked at while a dub runs.
        sessions: own the folders in which runs work.
        limits: of what is accepted.
        time_estimator: told how long each dub took.
    """

    def __init__(
        self,
        dubbing: Workplace,
        looking: Workplace,
        sessions: Sessions,
        limits: Limits,
        time_estimator: TimeEstimator,
    ) -> None:
        self.dubbing, self.looking = dubbing, looking
        self.sessions, self.limits, self.time_estimator = sessions, limits, time_estimator
        self.queue = RunQueue(limits.queue)  # the pipeline must not be run from two threads

    def check(self, request: Request) -> None:
        """Refuse what is incomplete, too large or too long.

        Raises:
            PersonaTalkError: what is wrong, and what to do.
        """
        job = request.job
        if not request.consent:
            raise MissingInputError(strings.CONSENT_MISSING)
        clips = {job.clip: strings.CLIP}
        for path, kind in (
            (request.options.style_video, strings.STYLE_CLIP),
            (request.options.reference_video, strings.REFERENCE_CLIP),
        ):
            if path:
                clips.setdefault(path, kind)
        self.looking.call(look_at, self.limits, clips, job.speech)

    def dub(self, request: Request, session: str, progress: Progress, *, record: bool = False) -> Outcome:
        """Dub the whole clip, and keep what the research panels show if `record`.

        Raises:
            PersonaTalkError: refused, stopped, or nothing to dub; the run's files are gone.
        """
        return self._run(request, session, progress, is_preview=False, record=record)

    def preview(self, request: Request, session: str, progress: Progress, *, record: bool = False) -> Outcome:
        """Dub two seconds from where the speech begins, and keep what the research panels show if `record`.

        Raises:
            PersonaTalkError: as `dub`.
        """
        try:
            outcome = self._run(request, session, progress, is_preview=True, record=record)
        except NoFaceError as error:
            raise NoFaceError(strings.PREVIEW_WITHOUT_FACE) from error
        is_whole = not (outcome.folder / EXCERPT_VIDEO).exists()
        note = strings.SUMMARY_PREVIEW if is_whole else strings.SUMMARY_PREVIEW_LONG
        return replace(outcome, summary=f"{outcome.summary}\n{note}")

    def _run(self, request: Request, session: str, progress: Progress, *, is_preview: bool, record: bool) -> Outcome:
        with self._folder(session, request.files, progress) as (folder, wait):
            self.check(request)
            with self.queue.turn(wait):
                outcome = self.dub_into(folder, request.job, progress=progress, is_preview=is_preview, record=record)
        self.sessions.finish(folder)
        return outcome

    @contextmanager
    def _folder(
        self, session: str, files: dict[Path, str], progress: Progress | None
    ) -> Iterator[tuple[Path, Callable[[int], None]]]:
        """Give a run its folder, which is removed if the run fails, and what to do while it waits for its turn."""
        for path in files:
            self.sessions.add_upload(session, path)
        folder = self.sessions.start(session)

        def wait(before: int) -> None:
            if self.sessions.should_stop(folder):
                raise CancelledError(strings.STOPPED)
            if progress:
                progress(0.0, strings.WAITING_ONE if before == 1 else strings.WAITING.format(count=before))

        try:
            with name_files_as_the_page_does(files | {folder / EXCERPT_VIDEO: strings.CLIP}):
                yield folder, wait
        except BaseException:
            self.sessions.remove(session, folder)
            raise

    def dub_into(
        self,
        folder: Path,
        job: Job,
        *,
        progress: Progress | None = None,
        is_preview: bool = False,
        record: bool = True,
    ) -> Outcome:
        """Dub into a folder that carries the sessions' mark of a run; the caller must hold the turn of `queue`.

        Raises:
            PersonaTalkError: stopped, or nothing to dub.
        """
        outcome = self.dubbing.call(
            make_dub,
            folder,
            job,
            is_preview=is_preview,
            record=record,
            progress=progress,
            should_stop=partial(was_stopped, folder),
        )
        if not is_preview:
            self.time_estimator.add(outcome.num_frames, outcome.seconds)
        return outcome

    def analyse(
        self, clip: Path | None, speech: Path | None, options: DubbingOptions, session: str, progress: Progress
    ) -> dict:
        """Measure a clip without dubbing it; see `analyse` of the module `analysis`.

        Raises:
            PersonaTalkError: refused, stopped, or no face.
        """
        request = Request(clip=clip, speech=speech, consent=False, options=options)
        with self._folder(session, request.files, progress) as (folder, wait):
            if clip is None:
                raise MissingInputError(strings.CLIP_MISSING)
            self.looking.call(look_at, self.limits, {clip: strings.CLIP}, speech)
            with self.queue.turn(wait):
                found = self.dubbing.call(
                    measure_clip,
                    clip,
                    speech,
                    options,
                    progress=progress,
                    should_stop=partial(was_stopped, folder),
                )
        self.sessions.remove(session, folder)
        return found

    def find_faces(self, clip: Path) -> tuple[np.ndarray, np.ndarray]:
        """Find the faces in a clip's first frame; see `find_faces` of the module `face_choice`.

        Raises:
            PersonaTalkError: the file cannot be read.
        """
        return self.looking.call(look_for_faces, clip)

    def take_sound(self, video: Path, sound: Path) -> None:
        """Write the sound of a video to a WAV file.

        Raises:
            PersonaTalkError: it has none, or goes beyond a limit.
        """
        self.looking.call(take_sound_of, video, sound, limits=self.limits, sample_rate=SAMPLE_RATE)

    def estimate(self, clip: Path, speech: Path | None, length: str, helpers: dict[Path, str] | None = None) -> str:
        """Say how long a dub will take, and what differs in length.

        Args:
            clip: of the speaker.
            speech: if it is there yet.
            length: option of the dub.
            helpers: clips for style or references, with their names; the face in each is tracked too.

        Raises:
            MediaError: a file cannot be read, or goes beyond a limit.
        """
        clips = {clip: strings.CLIP} | (helpers or {})
        with name_files_as_the_page_does(clips | ({speech: strings.SPEECH} if speech else {})):
            (info, *others), spoken = self.looking.call(look_at, self.limits, clips, speech)
        helper_frames = sum(other.num_frames or 0 for other in others)
        frames = info.num_frames if length == "video" or spoken is None else max(1, round(spoken * float(info.fps)))
        text = strings.ESTIMATE.format(
            time=strings.rough_time(self.time_estimator.estimate(frames + HELPER_SHARE * helper_frames)),
            frames=frames,
            source=strings.ESTIMATE_MEASURED if self.time_estimator.is_measured else strings.ESTIMATE_BUILT_IN,
        )
        if spoken is None or length != "video" or abs(spoken - info.duration) < 1:
            return text
        note = strings.LONGER_SPEECH if spoken > info.duration else strings.LONGER_CLIP
        return text + note.format(difference=strings.spoken_time(abs(spoken - info.duration)))
