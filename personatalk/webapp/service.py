"""Dubs, previews and analyses for visitors: checks a request, waits for its turn, and runs it in a session's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from personatalk.errors import CancelledError, NoFaceError, PersonaTalkError
from personatalk.face_rendering.texture_prior import mix_textures
from personatalk.inspection.recorder import Recorder
from personatalk.media import probe_video
from personatalk.media.excerpt import cut_video
from personatalk.options import DubbingOptions
from personatalk.progress import SHARES, Progress, Run
from personatalk.webapp import strings
from personatalk.webapp.analysis import analyse
from personatalk.webapp.gpu import on_gpu
from personatalk.webapp.kernels import are_compiled, with_kernel_note
from personatalk.webapp.limits import Limits
from personatalk.webapp.preview import EXCERPT_VIDEO, Job, preview_of
from personatalk.webapp.run_queue import RunQueue
from personatalk.webapp.run_summary import name_files_as_the_page_does, summarise, without_folders
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.sync_judge import SyncJudge
from personatalk.webapp.time_estimate import TimeEstimator

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingPipeline

RECORD, BEFORE = "record", "before.mp4"
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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run left in its folder.

    Attributes:
        folder: of the run.
        before: the clip, or the excerpt of it.
        video: dubbed.
        report: JSON.
        record: folder of what the research panels show; None where nobody asked for it.
        summary: one or two sentences.
        num_frames: of the video.
        fps: of the video.
        seconds: that the run took.
    """

    folder: Path
    before: Path
    video: Path
    report: Path
    record: Path | None
    summary: str
    num_frames: int
    fps: float
    seconds: float


class DubbingService:
    """Runs dubs, previews and analyses, one at a time.

    Args:
        pipeline: loaded.
        sessions: own the folders in which runs work.
        limits: of what is accepted.
        time_estimator: told how long each dub took.
        judge: measures the synchrony of each dub, for its summary; without it nothing is said of that.
    """

    def __init__(
        self,
        pipeline: DubbingPipeline,
        sessions: Sessions,
        limits: Limits,
        time_estimator: TimeEstimator,
        *,
        judge: SyncJudge | None = None,
    ) -> None:
        self.pipeline, self.sessions, self.limits, self.time_estimator = pipeline, sessions, limits, time_estimator
        self.judge = judge
        self.queue = RunQueue(limits.queue)  # the pipeline must not be run from two threads
        self._dub_on_gpu, self._analyse_on_gpu = on_gpu(self._dub), on_gpu(self._analyse)

    def check(self, request: Request) -> None:
        """Refuse what is incomplete, too large or too long.

        Raises:
            PersonaTalkError: what is wrong, and what to do.
        """
        job = request.job
        if not request.consent:
            raise MissingInputError(strings.CONSENT_MISSING)
        self.limits.check_clip(job.clip)
        self.limits.check_speech(job.speech)
        for path, kind in (
            (request.options.style_video, strings.STYLE_CLIP),
            (request.options.reference_video, strings.REFERENCE_CLIP),
        ):
            if path:
                self.limits.check_clip(path, kind)

    def dub(self, request: Request, session: str, progress: Progress, *, record: bool = False) -> Outcome:
        """Dub the whole clip, and keep what the research panels show if `record`.

        Raises:
            PersonaTalkError: refused, stopped, or nothing to dub; the run's files are gone.
        """
        return self._run(request, session, progress, lambda folder: request.job, record=record)

    def preview(self, request: Request, session: str, progress: Progress, *, record: bool = False) -> Outcome:
        """Dub two seconds from where the speech begins, and keep what the research panels show if `record`.

        Raises:
            PersonaTalkError: as `dub`.
        """
        try:
            outcome = self._run(
                request, session, progress, lambda folder: preview_of(request.job, folder), record=record
            )
        except NoFaceError as error:
            raise NoFaceError(strings.PREVIEW_WITHOUT_FACE) from error
        is_whole = not (outcome.folder / EXCERPT_VIDEO).exists()
        note = strings.SUMMARY_PREVIEW if is_whole else strings.SUMMARY_PREVIEW_LONG
        return replace(outcome, summary=f"{outcome.summary}\n{note}")

    def _run(
        self,
        request: Request,
        session: str,
        progress: Progress,
        plan: Callable[[Path], Job],
        *,
        record: bool,
    ) -> Outcome:
        with self._folder(session, request.files, progress) as (folder, wait):
            self.check(request)
            with self.queue.turn(wait):
                outcome = self.dub_into(folder, plan(folder), progress=progress, record=record)
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

    def dub_into(self, folder: Path, job: Job, *, progress: Progress | None = None, record: bool = True) -> Outcome:
        """Dub into a folder that carries the sessions' mark of a run; the caller must hold the turn of `queue`.

        Raises:
            PersonaTalkError: stopped, or nothing to dub.
        """
        outcome = self._dub_on_gpu(folder, job, progress=progress, record=record)
        if not job.stretch:
            self.time_estimator.add(outcome.num_frames, outcome.seconds)
        return outcome

    def _dub(self, folder: Path, job: Job, *, progress: Progress | None, record: bool) -> Outcome:
        recorder = Recorder(folder / RECORD) if record else None
        if progress and not are_compiled(mix_textures):
            progress = with_kernel_note(progress)
        result = self.pipeline.dub(
            job.clip,
            job.speech,
            folder / "dubbed.mp4",
            job.options,
            progress=progress,
            should_stop=lambda: self.sessions.should_stop(folder),
            record=recorder,
            stretch=job.stretch,
        )
        if progress and self.judge:
            progress(1.0, strings.JUDGING)
        synchrony = self.judge(result.video, job.options.face_point) if self.judge else None
        report = folder / "report.json"
        report.write_text(json.dumps(without_folders(result.report), indent=2) + "\n")
        return Outcome(
            folder=folder,
            before=cut_video(job.clip, folder / BEFORE, *job.stretch) if job.stretch else job.clip,
            video=result.video,
            report=report,
            record=recorder.folder if recorder else None,
            summary=summarise(result, synchrony, is_judged=self.judge is not None),
            num_frames=result.num_frames,
            fps=result.fps,
            seconds=sum(result.timings.values()),
        )

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
            self.limits.check_clip(clip)
            if speech:
                self.limits.check_speech(speech)
            with self.queue.turn(wait):
                found = self._analyse_on_gpu(folder, clip, speech, options, progress=progress)
        self.sessions.remove(session, folder)
        return found

    def _analyse(
        self, folder: Path, clip: Path, speech: Path | None, options: DubbingOptions, *, progress: Progress
    ) -> dict:
        run = Run(progress, lambda: self.sessions.should_stop(folder))
        return analyse(self.pipeline, clip, speech, options, run)

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
            for path, kind in clips.items():
                self.limits.check_clip(path, kind)
            info, spoken = probe_video(clip), self.limits.check_speech(speech) if speech else None
            helper_frames = sum(probe_video(path).num_frames or 0 for path in helpers or ())
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
