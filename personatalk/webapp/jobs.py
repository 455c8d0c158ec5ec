"""What the page has done by its workers: all that decodes a visitor's files, dubs, or measures.

A job is a function of a module's top level, so that it may run in another process. It is called with what that process
has prepared, with its own arguments, and with `progress` and `should_stop`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from personatalk.inspection.recorder import Recorder
from personatalk.kernels import are_compiled
from personatalk.media import probe_video, read_audio
from personatalk.media.excerpt import SAMPLE_RATE, cut_sound, cut_video
from personatalk.media.still import MIN_S, is_still, write_still_clip
from personatalk.options import DubbingOptions
from personatalk.pipeline import DubbingPipeline
from personatalk.progress import SHARES, Progress, Run
from personatalk.webapp import strings
from personatalk.webapp.analysis import analyse
from personatalk.webapp.clip_judgement import ClipJudge
from personatalk.webapp.gpu import lends_gpu, on_gpu
from personatalk.webapp.known_faces import keep_cast, keep_still, kept_still, known_cast, readings_left, remembering
from personatalk.webapp.looking import prepare_nothing
from personatalk.webapp.persons_list import ClipPersons, list_persons
from personatalk.webapp.preview import Job, cast_of_beginning, preview_of
from personatalk.webapp.run_summary import summarise, without_folders
from personatalk.webapp.sync_judge import Judgement, SyncJudge
from personatalk.webapp.time_estimate import Work
from personatalk.worker import Worker

RECORD, SEEN, BEFORE, STILL, OWN_SOUND = "record", "seen.npz", "before.mp4", "still.mp4", "own_sound_{number}.wav"

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run left in its folder.

    Attributes:
        folder: of the run.
        before: the clip, the excerpt of it, or the clip that a still image has become.
        video: dubbed.
        report: JSON.
        record: folder of what the research panels show; None where nobody asked for it. Of several persons who were
            dubbed, that of the first.
        records: where several were dubbed, the folders of all, by the person's number.
        summary: a sentence a line, English.
        num_frames: of the video.
        fps: of the video.
        seconds: that the run took.
        work: that was done, to learn how long it takes; None where kernels were compiled besides.
        timings: seconds by stage.
        example: name of the shipped example that it is the result of.
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
    work: Work | None = None
    timings: dict[str, float] = field(default_factory=dict, hash=False)  # Gradio hashes what a session keeps
    records: dict[int, Path] = field(default_factory=dict, hash=False)
    example: str | None = None


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What dubs need.

    Attributes:
        pipeline: loaded.
        judge: measures the synchrony of each dub, for its summary; without it nothing is said of that.
    """

    pipeline: DubbingPipeline
    judge: SyncJudge | None = None


class Workplace(Protocol):
    """Does jobs, one at a time: a `Worker` in a process of its own, or `SameProcess`."""

    def call(
        self,
        function: Callable[..., Result],
        *arguments: object,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
        **keywords: object,
    ) -> Result:
        """Do a job and return its result."""
        ...


class SameProcess:
    """Does jobs in this process, as a Space needs it that lends GPUs: their package starts processes itself.

    Args:
        prepared: the first argument of every job.
        books_gpu: whether a GPU is booked for each job, where one is lent.
    """

    def __init__(self, prepared: Any, *, books_gpu: bool = False) -> None:
        self._prepared = prepared
        self._run = on_gpu(self._do) if books_gpu else self._do

    def _do(self, function: Callable[..., Result], *arguments: object, **keywords: object) -> Result:
        return function(self._prepared, *arguments, **keywords)

    def call(self, function: Callable[..., Result], *arguments: object, **keywords: Any) -> Result:
        """Do a job and return its result."""
        return self._run(function, *arguments, **{"progress": None, "should_stop": None} | keywords)


def load_studio(device: str | None = None) -> Studio:
    """Load the shipped weights.

    Raises:
        CheckpointError: weights are missing or do not fit.
    """
    from personatalk.pipeline import load_pipeline

    pipeline = load_pipeline(device=device)
    return Studio(pipeline=pipeline, judge=SyncJudge.load(pipeline.face_model))


def open_workplaces(device: str | None) -> tuple[Workplace, Workplace]:
    """Open where dubs are made, and where files are looked at in the meantime.

    Each is a process of its own, so that one that dies of a file takes nothing else with it. Where a GPU is lent, both
    are this process.

    Raises:
        CheckpointError: weights are missing or do not fit.
    """
    if lends_gpu():
        studio = load_studio(device)
        return in_this_process(studio.pipeline, studio.judge)
    dubbing, looking = Worker(partial(load_studio, device)), Worker(prepare_nothing)
    looking.start()
    dubbing.call(do_nothing)  # an error in loading shows before anybody is served
    return dubbing, looking


def in_this_process(pipeline: DubbingPipeline, judge: SyncJudge | None = None) -> tuple[Workplace, Workplace]:
    """Make dubs and look at files in this process; a lent GPU is booked for each dub."""
    return SameProcess(Studio(pipeline=pipeline, judge=judge), books_gpu=True), SameProcess(None)


def do_nothing(studio: Studio | None, **_: object) -> None:
    """Return as soon as the process is ready."""


def make_dub(
    studio: Studio,
    folder: Path,
    job: Job,
    *,
    is_preview: bool,
    record: bool,
    memory: Path | None = None,
    stream: Path | None = None,
    progress: Progress | None,
    should_stop: Callable[[], bool] | None,
) -> Outcome:
    """Dub into a folder.

    Args:
        studio: what dubs need.
        folder: of the run.
        job: what is asked for.
        is_preview: whether only two seconds are dubbed.
        record: whether what the research panels show is kept.
        memory: folder with the faces that the session has read before.
        stream: file in which the video grows while it is rendered.
        progress: told of each frame.
        should_stop: asked at each frame.

    Raises:
        PersonaTalkError: stopped, or nothing to dub.
    """
    job = planned(job, folder, memory, is_preview=is_preview)
    records = records_of(job, folder) if record else {}
    judges = [ClipJudge(Recorder(records[number]) if record else None) for number in job.numbers]
    has_kernels, pipeline = are_compiled(), studio.pipeline
    if progress and not has_kernels:
        progress = with_kernel_note(progress)
    work = work_of(job, readings=readings_left(memory, job.clip, job.choices) if memory else len(job.choices))
    if memory is not None and isinstance(pipeline, DubbingPipeline):
        pipeline = remembering(pipeline, memory)
    result = pipeline.dub(
        job.clip,
        job.audio,
        folder / "dubbed.mp4",
        job.common_options,
        progress=progress,
        should_stop=should_stop,
        record=judges if job.others else judges[0],
        stretch=job.stretch,
        stream=stream,
    )
    if progress and studio.judge:
        progress(1.0, strings.JUDGING)
    judgements = judge_each(studio.judge, result.video, judges, own_sounds(job, folder))
    keep_seen(records.values(), judgements)
    synchronies = [judgement and judgement.synchrony for judgement in judgements]
    report = folder / "report.json"
    report.write_text(json.dumps(without_folders(result.report), indent=2) + "\n")
    return Outcome(
        folder=folder,
        before=cut_video(job.clip, folder / BEFORE, *job.stretch) if job.stretch else job.clip,
        video=result.video,
        report=report,
        record=next(iter(records.values()), None),
        records=records if job.others else {},
        summary=summarise(result, synchronies, facts=[judge.facts for judge in judges if judge.facts]),
        num_frames=result.num_frames,
        fps=result.fps,
        seconds=sum(result.timings.values()),
        work=replace(work, rendered=result.num_frames * len(job.speeches)) if has_kernels == are_compiled() else None,
        timings=dict(result.timings),
    )


def planned(job: Job, folder: Path, memory: Path | None, *, is_preview: bool) -> Job:
    """What the pipeline is asked for: a clip in place of a still image, and of a preview two seconds."""
    job = replace(job, clip=moving_clip(job.clip, job.speeches, folder, memory))
    if not is_preview:
        return job
    tracker = job.options.tracker
    cast = known_cast(memory, job.clip, tracker) if memory and job.options.face is not None else None
    preview = preview_of(job, folder, cast)
    if memory and cast and preview.clip != job.clip:
        keep_cast(memory, preview.clip, tracker, cast_of_beginning(cast, preview.clip))
    return preview


def moving_clip(clip: Path, speeches: Sequence[Path], folder: Path, memory: Path | None = None) -> Path:
    """The clip itself; a still image becomes one in a run's folder, as long as the longest speech.

    In a session's `memory` the same is used again, so that its faces are known.
    """
    if not is_still(clip):
        return clip
    if memory and (kept := kept_still(memory, clip, speeches)):
        return Path(shutil.copy(kept, folder / STILL))
    seconds = max((len(read_audio(speech, SAMPLE_RATE)) / SAMPLE_RATE for speech in speeches), default=MIN_S)
    still = write_still_clip(clip, folder / STILL, seconds)
    if memory:
        keep_still(memory, clip, speeches, still)
    return still


def judge_each(
    judge: SyncJudge | None, video: Path, persons: Sequence[ClipJudge], sounds: Sequence[Path | None]
) -> list[Judgement | None]:
    """Measure the synchrony of each dubbed person with what it says; nothing where there is no judge.

    Args:
        judge: measures.
        video: dubbed.
        persons: who have seen the dub of one person each.
        sounds: of the persons; None stands for the video's own.
    """
    if judge is None:
        return []
    return [judge(video, person.posed, sound=sound) for person, sound in zip(persons, sounds, strict=True)]


def keep_seen(records: Iterable[Path], judgements: Sequence[Judgement | None]) -> None:
    """Keep the lip aperture that was seen of each person in its recording, for the charts."""
    for record, judgement in zip(records, judgements, strict=False):
        if judgement:
            np.savez(record / SEEN, times=judgement.times, aperture=judgement.aperture)


def records_of(job: Job, folder: Path) -> dict[int, Path]:
    """Where what the research panels show is recorded, by the number of the person.

    What is made for the panels lies beside it, so that each further person has a folder.
    """
    first, *others = job.numbers
    return {first: folder / RECORD} | {number: folder / f"person_{number}" / RECORD for number in others}


def own_sounds(job: Job, folder: Path) -> list[Path | None]:
    """What each of several persons says in a dub, by which they are judged; None where only one speaks."""
    if not job.others:
        return [None]
    if job.stretch is None:
        return list(job.speeches)
    names = zip(job.numbers, job.speeches, strict=True)
    return [cut_sound(speech, folder / OWN_SOUND.format(number=number), *job.stretch) for number, speech in names]


def with_kernel_note(progress: Progress) -> Progress:
    """Add to each message that kernels are being prepared."""

    @wraps(progress)
    def tell(share: float, message: str) -> None:
        progress(share, strings.PREPARING_KERNELS.format(stage=message))

    return tell


def work_of(job: Job, *, readings: float) -> Work:
    """The work of a dub as far as it is known before; `readings`: see `readings_left`."""
    info = probe_video(job.clip)
    others = {path for path in (job.options.style_video, job.options.reference_video) if path}
    read = sum(probe_video(path).num_frames or 0 for path in (job.clip, *others))
    rendered = (info.num_frames or 0) * len(job.speeches)
    return Work(read=read * readings, rendered=rendered, pixels=info.width * info.height)


def measure_clip(
    studio: Studio,
    folder: Path,
    clip: Path,
    speech: Path | None,
    options: DubbingOptions,
    *,
    progress: Progress | None,
    should_stop: Callable[[], bool] | None,
) -> dict:
    """Measure a clip without dubbing it, in a run's folder; see `analyse` of the module `analysis`."""
    clip = moving_clip(clip, [speech] if speech else [], folder)
    return analyse(studio.pipeline, clip, speech, options, Run(progress, should_stop))


def look_for_persons(
    studio: Studio,
    folder: Path,
    clip: Path,
    point: tuple[float, float] | None,
    *,
    memory: Path,
    progress: Progress | None,
    should_stop: Callable[[], bool] | None,
) -> ClipPersons:
    """Find who is seen in a clip, in a run's folder; see `list_persons`. A dub of the session need not track it again.

    Raises:
        PersonaTalkError: stopped, or nobody is seen.
    """
    pipeline = studio.pipeline
    if isinstance(pipeline, DubbingPipeline):
        pipeline = remembering(pipeline, memory)
    run = Run(whole(progress), should_stop)
    return replace(list_persons(pipeline, moving_clip(clip, [], folder), point, run), clip=clip)


def whole(progress: Progress | None) -> Progress | None:
    """Tell of tracking as of all that there is to do."""
    return progress and (lambda share, message: progress(min(1.0, share / SHARES["track"]), message))
