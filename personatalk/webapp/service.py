"""Dubs, previews and analyses for visitors: checks a request, waits for its turn, and runs it in a session's folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from personatalk.errors import CancelledError, NoFaceError, OptionError, PersonaTalkError
from personatalk.kernels import are_compiled
from personatalk.media import VideoInfo
from personatalk.media.excerpt import SAMPLE_RATE
from personatalk.media.still import is_still
from personatalk.options import DubbingOptions
from personatalk.progress import Progress
from personatalk.webapp import strings
from personatalk.webapp.jobs import STILL, Outcome, Workplace, look_for_persons, make_dub, measure_clip
from personatalk.webapp.known_faces import TRACKING_SHARE, kept_still, readings_left
from personatalk.webapp.languages import said
from personatalk.webapp.limits import Limits
from personatalk.webapp.looking import look_at, look_for_faces, take_sound_of
from personatalk.webapp.persons_list import ClipPersons
from personatalk.webapp.preview import EXCERPT_VIDEO, PREVIEW_S, SOURCE_S, Job
from personatalk.webapp.run_queue import RunQueue, Wait
from personatalk.webapp.run_summary import name_files_as_the_page_does
from personatalk.webapp.sessions import Sessions, was_stopped
from personatalk.webapp.streams import Streams
from personatalk.webapp.time_estimate import COMPILING_S, TimeEstimator, Work

STREAM = "stream.mp4"  # in a run's folder, while it is rendered


class MissingInputError(PersonaTalkError):
    """A numbered step of the page was left out."""


class GoneError(PersonaTalkError):
    """The files of a result were deleted."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a visitor asks for.

    Attributes:
        clip: video of the speaker, or a still image.
        speech: sound, or a video with sound.
        consent: whether step 3 is ticked.
        options: of the dub; where others speak too, they name the first by number.
        others: what further persons say, by the number that `personatalk faces` gives them.
    """

    clip: Path | None
    speech: Path | None
    consent: bool
    options: DubbingOptions
    others: Mapping[int, Path] = field(default_factory=dict)

    @property
    def speeches(self) -> dict[Path, str]:
        """All that were given, and what the page calls them."""
        others = {path: strings.SPEECH_OF.format(number=number + 1) for number, path in self.others.items()}
        return others | ({Path(self.speech): strings.SPEECH} if self.speech else {})

    @property
    def files(self) -> dict[Path, str]:
        """All files that the visitor gave, and what the page calls them."""
        given = {
            self.options.style_video: strings.STYLE_CLIP,
            self.options.reference_video: strings.REFERENCE_CLIP,
            self.clip: strings.CLIP,
        }
        return self.speeches | {Path(path): name for path, name in given.items() if path}

    @property
    def clips(self) -> dict[Path, str]:
        """The clip, then those that give style and references, and what the page calls them."""
        given = (
            (self.clip, strings.CLIP),
            (self.options.style_video, strings.STYLE_CLIP),
            (self.options.reference_video, strings.REFERENCE_CLIP),
        )
        clips: dict[Path, str] = {}
        for path, name in given:
            if path:
                clips.setdefault(Path(path), name)
        return clips

    def clip_in(self, memory: Path) -> Path:
        """The clip as it is known in a session's memory: a still image as the clip that it became in an earlier run.

        Raises:
            MissingInputError: there is none.
        """
        if self.clip is None:
            raise MissingInputError(said(strings.CLIP_MISSING))
        kept = kept_still(memory, self.clip, list(self.speeches)) if is_still(self.clip) else None
        return kept or self.clip

    @property
    def job(self) -> Job:
        """What the pipeline is asked for.

        Raises:
            MissingInputError: clip or speech is missing.
            OptionError: an option is of one person, but several speak.
        """
        if self.clip is None:
            raise MissingInputError(said(strings.CLIP_MISSING))
        if self.speech is None:
            raise MissingInputError(said(strings.SPEECH_MISSING))
        if self.others and self.options.reference_video:
            raise OptionError(said(strings.REFERENCES_OF_ONE))
        return Job(clip=self.clip, speech=self.speech, options=self.options, others=self.others)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is known of a visitor's files before anything runs.

    Attributes:
        clips: the clip, then those that give style and references.
        spoken_s: seconds of the longest speech; None where there is none yet.
    """

    clips: dict[Path, VideoInfo]
    spoken_s: float | None

    @property
    def clip(self) -> VideoInfo:
        """The clip that is dubbed."""
        return next(iter(self.clips.values()))

    def work(
        self,
        length: str,
        *,
        is_preview: bool = False,
        readings: float = 1.0,
        num_faces: int = 1,
    ) -> Work:
        """What a run has to do.

        Args:
            length: option of the dub.
            is_preview: only two seconds are rendered, and little more than they need is read.
            readings: how much of reading faces is left to do, see `readings_left`.
            num_faces: that are dubbed.
        """
        fps, frames = float(self.clip.fps), sum(info.num_frames or 0 for info in self.clips.values())
        rendered = float(self.clip.num_frames or 0)
        if is_preview:
            frames = min(frames, SOURCE_S * fps)
            rendered = min(rendered, PREVIEW_S * fps)
        elif length != "video" and self.spoken_s is not None:
            rendered = max(1.0, self.spoken_s * fps)
        pixels = self.clip.width * self.clip.height
        return Work(read=frames * readings, rendered=rendered * num_faces, pixels=pixels)


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
        self.streams = Streams()
        self.queue = RunQueue(limits.queue)  # the pipeline must not be run from two threads
        self._searches: dict[str, Path] = {}  # session to the folder of its search for persons

    def check(self, request: Request) -> Material:
        """Refuse what has no consent, is too large or too long; returns what is known of the rest.

        Raises:
            PersonaTalkError: what is wrong, and what to do.
        """
        if not request.consent:
            raise MissingInputError(said(strings.CONSENT_MISSING))
        return self._look_at(request.clips, request.speeches)

    def _look_at(self, clips: dict[Path, str], speeches: dict[Path, str] | None = None) -> Material:
        infos, spoken = self.looking.call(look_at, self.limits, clips, speeches or {})
        return Material(clips=dict(zip(clips, infos, strict=True)), spoken_s=spoken)

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
            raise NoFaceError(said(strings.PREVIEW_WITHOUT_FACE)) from error
        is_whole = not (outcome.folder / EXCERPT_VIDEO).exists()
        note = strings.SUMMARY_PREVIEW if is_whole else strings.SUMMARY_PREVIEW_LONG
        return replace(outcome, summary=f"{outcome.summary}\n{note}")

    def _run(self, request: Request, session: str, progress: Progress, *, is_preview: bool, record: bool) -> Outcome:
        with self._folder(session, request.files, progress) as (folder, wait):
            job, material, memory = request.job, self.check(request), self.sessions.memory(session)
            left, count = readings_left(memory, request.clip_in(memory), job.choices), len(job.speeches)
            work = material.work(
                job.options.length,
                is_preview=is_preview,
                readings=left,
                num_faces=count,
            )
            with (
                nullcontext() if is_preview else self.streams.growing(session, folder / STREAM) as stream,
                self.queue.turn(wait, seconds=self.time_estimator.estimate(work)),
            ):
                outcome = self.dub_into(
                    folder, job, progress=progress, is_preview=is_preview, record=record, memory=memory, stream=stream
                )
        self.sessions.finish(folder)
        return outcome

    @contextmanager
    def _folder(self, session: str, files: dict[Path, str], progress: Progress | None) -> Iterator[tuple[Path, Wait]]:
        """Give a run its folder, which is removed if the run fails, and what to do while it waits for its turn."""
        for path in files:
            self.sessions.add_upload(session, path)
        folder = self.sessions.start(session)

        def wait(before: int, seconds: float) -> None:
            if self.sessions.should_stop(folder):
                raise CancelledError(said(strings.STOPPED))
            if progress:
                place = said(strings.WAITING_ONE) if before == 1 else said(strings.WAITING).format(count=before)
                progress(0.0, place + said(strings.WAITING_TIME).format(time=strings.rough_time(seconds)))

        try:
            with name_files_as_the_page_does(files | {folder / name: strings.CLIP for name in (EXCERPT_VIDEO, STILL)}):
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
        memory: Path | None = None,
        stream: Path | None = None,
    ) -> Outcome:
        """Dub into a folder that carries the sessions' mark of a run; the caller must hold the turn of `queue`.

        Raises:
            PersonaTalkError: stopped, or nothing to dub.
        """
        began = time.monotonic()
        outcome = self.dubbing.call(
            make_dub,
            folder,
            job,
            is_preview=is_preview,
            record=record,
            memory=memory,
            stream=stream,
            progress=progress,
            should_stop=partial(was_stopped, folder),
        )
        if outcome.work:
            self.time_estimator.add(outcome.work, outcome.timings, time.monotonic() - began)
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
                raise MissingInputError(said(strings.CLIP_MISSING))
            work = self._look_at({clip: strings.CLIP}, request.speeches).work("video")
            with self.queue.turn(wait, seconds=self.time_estimator.estimate(replace(work, rendered=0))):
                found = self.dubbing.call(
                    measure_clip,
                    folder,
                    clip,
                    speech,
                    options,
                    progress=progress,
                    should_stop=partial(was_stopped, folder),
                )
        self.sessions.remove(session, folder)
        return found

    def check_clip(self, clip: Path) -> None:
        """Look whether a clip or a still image can be read and keeps to the limits.

        Raises:
            MediaError: what is wrong, and what to do.
        """
        with name_files_as_the_page_does({clip: strings.CLIP}):
            self._look_at({clip: strings.CLIP})

    def find_faces(self, clip: Path) -> tuple[np.ndarray, np.ndarray]:
        """Find the faces in a clip's first frame; see `find_faces` of the module `face_choice`.

        Raises:
            PersonaTalkError: the file cannot be read.
        """
        return self.looking.call(look_for_faces, clip)

    def find_persons(
        self, clip: Path, point: tuple[float, float] | None, session: str, progress: Progress
    ) -> ClipPersons:
        """Find who is seen in a whole clip; ends a search of the session that still goes on.

        Args:
            clip: a video, or a still image.
            point: px in the first frame; whoever is nearest to it is chosen if possible.
            session: that remembers them, so that its dub does not track the clip again.
            progress: told of each frame.

        Raises:
            PersonaTalkError: refused, stopped, or nobody is seen.
        """
        self.stop_search(session)
        with self._folder(session, {clip: strings.CLIP}, progress) as (folder, wait):
            self._searches[session] = folder
            work = replace(self._look_at({clip: strings.CLIP}).work("video", readings=TRACKING_SHARE), rendered=0)
            with self.queue.turn(wait, seconds=self.time_estimator.estimate(work)):
                found = self.dubbing.call(
                    look_for_persons,
                    folder,
                    clip,
                    point,
                    memory=self.sessions.memory(session),
                    progress=progress,
                    should_stop=partial(was_stopped, folder),
                )
            if was_stopped(folder):
                raise CancelledError(said(strings.STOPPED))
        self.stop_search(session)
        return found

    def stop_search(self, session: str) -> None:
        """End the search for the persons of a clip that is no longer wanted, if one goes on."""
        if folder := self._searches.pop(session, None):
            self.sessions.remove(session, folder)

    def take_sound(self, video: Path, sound: Path) -> None:
        """Write the sound of a video to a WAV file.

        Raises:
            PersonaTalkError: it has none, or goes beyond a limit.
        """
        self.looking.call(take_sound_of, video, sound, limits=self.limits, sample_rate=SAMPLE_RATE)

    def estimate(self, request: Request, session: str) -> str:
        """Say how long a dub will take, and what differs in length.

        Args:
            request: with a clip; the speech may not be there yet.
            session: whose dub it will be.

        Raises:
            MediaError: a file cannot be read, or goes beyond a limit.
            MissingInputError: there is no clip.
        """
        if request.clip is None:
            raise MissingInputError(said(strings.CLIP_MISSING))
        with name_files_as_the_page_does(request.files):
            material = self._look_at(request.clips, request.speeches)
        options, choices = (
            request.options,
            [request.options, *(replace(request.options, face=n) for n in request.others)],
        )
        memory = self.sessions.memory(session)
        left = readings_left(memory, request.clip_in(memory), choices)
        work = material.work(options.length, readings=left, num_faces=len(choices))
        text = said(strings.ESTIMATE).format(
            time=strings.rough_time(self.time_estimator.estimate(work)),
            frames=round(work.rendered / len(choices)),
            source=said(strings.ESTIMATE_MEASURED)
            if self.time_estimator.is_measured
            else said(strings.ESTIMATE_BUILT_IN),
        )
        if not are_compiled():
            text += said(strings.ESTIMATE_COMPILING).format(time=strings.rough_time(COMPILING_S))
        spoken, shown = material.spoken_s, material.clip.duration
        if spoken is None or options.length != "video" or abs(spoken - shown) < 1:
            return text
        note = said(strings.LONGER_SPEECH) if spoken > shown else said(strings.LONGER_CLIP)
        return text + note.format(difference=strings.spoken_time(abs(spoken - shown)))
