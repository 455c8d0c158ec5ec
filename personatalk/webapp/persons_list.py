"""The persons of a whole clip, as `personatalk faces` lists them; found where dubs are made, without Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from personatalk.casting import Part, kind_of_reason
from personatalk.errors import NoFaceError
from personatalk.options import DubbingOptions
from personatalk.progress import Run
from personatalk.webapp import strings

if TYPE_CHECKING:
    from personatalk.persons.search import Cast
    from personatalk.pipeline import DubbingPipeline

MAX_SPEECHES = 3  # that one dub has
PICTURE_PX = 64


@dataclass(frozen=True, kw_only=True)
class ListedPerson:
    """Somebody who is seen in a clip.

    Attributes:
        number: of `personatalk faces`, from 0; the page counts from 1.
        seconds: for how long the person is seen.
        is_speaking: whether the clip's sound belongs to the face.
        reason: why the person cannot be dubbed, a key of `strings.REASONS`; None where nothing speaks against it.
        picture: JPEG; empty where there is none.
    """

    number: int
    seconds: float
    is_speaking: bool
    reason: str | None
    picture: bytes = b""


@dataclass(frozen=True, kw_only=True)
class ClipPersons:
    """Who is seen in a clip.

    Attributes:
        clip: that was looked through.
        persons: in the order of their numbers, the one of whom there is most to see first.
        chosen: number of the one at the place that was asked for; None without anybody who can be dubbed.
    """

    clip: Path
    persons: tuple[ListedPerson, ...]
    chosen: int | None

    @property
    def usable(self) -> list[int]:
        """Numbers of those who can be dubbed."""
        return [person.number for person in self.persons if person.reason is None]


def list_persons(pipeline: DubbingPipeline, clip: Path, point: tuple[float, float] | None, run: Run) -> ClipPersons:
    """Find who is seen in a clip, and who of them speaks and can be dubbed.

    Args:
        pipeline: finds them.
        clip: a video.
        point: px in the first frame; whoever is nearest to it is chosen if possible.
        run: told of each frame.

    Raises:
        NoFaceError: nobody is seen.
    """
    cast = pipeline.find_cast(clip, DubbingOptions().tracker, run)
    if not cast.persons:
        raise NoFaceError(strings.NOBODY_SEEN)
    run.check()
    persons = tuple(_listed(part) for part in _parts(pipeline, clip, cast))
    asked = cast.choose(point)
    usable = [person.number for person in persons if person.reason is None]
    usable.sort(key=lambda number: cast.persons[number] is not asked)
    return ClipPersons(clip=clip, persons=persons, chosen=next(iter(usable), None))


def _parts(pipeline: DubbingPipeline, clip: Path, cast: Cast) -> Sequence[Part]:
    if pipeline.listener is None:
        return [Part(number=n, person=p, turn_deg=None, synchrony=None) for n, p in enumerate(cast.persons)]
    return pipeline.listener.parts(clip, cast)


def _listed(part: Part) -> ListedPerson:
    picture = part.person.picture()
    return ListedPerson(
        number=part.number,
        seconds=part.person.seconds,
        is_speaking=part.is_speaking,
        reason=kind_of_reason(part.person, part.turn_deg),
        picture=b"" if picture is None else _jpeg(picture),
    )


def _jpeg(picture: np.ndarray) -> bytes:
    """Encode a picture, uint8 [H, W, 3] RGB, at the size in which it is shown."""
    small = cv2.resize(picture, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()


def other_persons(found: ClipPersons | None, chosen: int | None) -> list[int]:
    """Numbers of those who may get a speech of their own beside the chosen one: MAX_SPEECHES in all."""
    if found is None or chosen is None:
        return []
    return [number for number in found.usable if number != chosen][: MAX_SPEECHES - 1]
