"""The part of a dub that a preview shows: two seconds from where the speech is first heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from personatalk.casting import roles_of
from personatalk.media import probe_video, read_audio, read_frames, same_media
from personatalk.media.excerpt import cut_sound, cut_video
from personatalk.options import DubbingOptions
from personatalk.persons.search import Cast

PREVIEW_S = 2.0
SOURCE_S = 10.0  # of a clip; a preview that tracked all of a long clip would take as long as its dub
MIN_SOURCE_FRAMES = 30  # at low frame rates; a dub needs 24
SAMPLE_RATE = 16000  # Hz
LOUD_SHARE = 0.05  # of the loudest sample; louder than this, speech has begun
LEAD_S = 0.1  # kept before its beginning
EXCERPT_VIDEO, EXCERPT_SOUND = "excerpt.mp4", "excerpt.wav"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the pipeline is asked for.

    Attributes:
        clip: video of the speaker, or a still image.
        speech: sound.
        options: of the dub; where others speak too, they name the first by number.
        others: what further persons say, by the number that `personatalk faces` gives them.
        stretch: (start, end) s, the part of the output that is rendered; None for all of it.
    """

    clip: Path
    speech: Path
    options: DubbingOptions
    others: Mapping[int, Path] = field(default_factory=dict)
    stretch: tuple[float, float] | None = None

    @property
    def speeches(self) -> list[Path]:
        """Of everybody."""
        return [self.speech, *self.others.values()]

    @property
    def numbers(self) -> list[int]:
        """Of the persons who speak, in the order of `speeches`; where it is one, 0 stands for whoever it is."""
        return [int(self.options.face or 0), *self.others]

    @property
    def audio(self) -> Path | dict[int, Path]:
        """The speech, or the speech of each, as `DubbingPipeline.dub` takes it."""
        return {int(self.options.face or 0): self.speech, **self.others} if self.others else self.speech

    @property
    def common_options(self) -> DubbingOptions:
        """The options that go with `audio`."""
        return replace(self.options, face=None) if self.others else self.options

    @property
    def choices(self) -> list[DubbingOptions]:
        """The options of each face."""
        return [role.options for role in roles_of(self.audio, self.common_options)]


def preview_of(job: Job, folder: Path, cast: Cast | None = None) -> Job:
    """Plan the preview of a dub.

    It is a stretch of the dub itself, so that style, calibration and references are those of the dub. Of a long clip
    only the beginning is used, as a file of its own; where the clip also gives style or references, so does the
    beginning, which keeps the true mouth out of the references. Persons who are chosen by number keep their numbers
    where all up to them are seen in the beginning; otherwise all of the clip is used.

    Args:
        job: the dub.
        folder: for the beginning of a long clip.
        cast: of the clip, where it is known.
    """
    info, options = probe_video(job.clip), replace(job.options, length="video")
    clip, seconds = job.clip, info.duration
    most = max(SOURCE_S, MIN_SOURCE_FRAMES / float(info.fps))
    if seconds > most and (options.face is None or (cast is not None and keeps_numbers(cast, job.numbers, most))):
        clip, seconds = _beginning(job.clip, folder, most, has_sound=info.has_audio), most
        options = replace(
            options,
            style_video=_unless_same(options.style_video, job.clip),
            reference_video=_unless_same(options.reference_video, job.clip),
        )
    heard = min(first_sound(read_audio(speech, SAMPLE_RATE)) for speech in job.speeches)
    start = min(heard, max(0.0, seconds - PREVIEW_S))
    return replace(job, clip=clip, options=options, stretch=(start, start + PREVIEW_S))


def keeps_numbers(cast: Cast, numbers: Sequence[int], seconds: float) -> bool:
    """Whether some persons have the same numbers in a clip's beginning, and are seen there for long enough."""
    count = int(np.searchsorted(cast.times, cast.times[0] + seconds))
    shown = cast.beginning(cast.times[:count], cast.pts[:count]).persons
    up_to_them = list(zip(cast.persons, shown, strict=False))[: max(numbers) + 1]
    are_same = [whole.frames[0] == seen.frames[0] for whole, seen in up_to_them]
    return sum(are_same) == max(numbers) + 1 and all(shown[number].seconds >= PREVIEW_S for number in numbers)


def cast_of_beginning(cast: Cast, excerpt: Path) -> Cast:
    """The cast of a clip's beginning that was written to a file of its own; no face is looked for again."""
    frames = [(frame.time, frame.pts) for frame in read_frames(excerpt)]
    times, pts = zip(*frames, strict=True)
    return cast.beginning(np.array(times, np.float64), np.array(pts, np.int64))


def _beginning(clip: Path, folder: Path, seconds: float, *, has_sound: bool) -> Path:
    sound = cut_sound(clip, folder / EXCERPT_SOUND, 0.0, seconds) if has_sound else None
    return cut_video(clip, folder / EXCERPT_VIDEO, 0.0, seconds, sound=sound)


def _unless_same(video: Path | None, clip: Path) -> Path | None:
    return None if video and same_media(video, clip) else video


def first_sound(waveform: np.ndarray) -> float:
    """Seconds at which to start, so that a preview does not begin with silence; waveform is [S] at SAMPLE_RATE."""
    loud = np.abs(waveform) > LOUD_SHARE * np.abs(waveform).max()
    return max(0.0, int(loud.argmax()) / SAMPLE_RATE - LEAD_S)
