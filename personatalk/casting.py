"""Who of a video is dubbed, and what is known of the others: how long, where and how large, and who speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from personatalk.errors import MediaError, NoFaceError, OptionError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.media import read_audio
from personatalk.options import DubbingOptions
from personatalk.persons.search import Cast, Person
from personatalk.speech.encoders import SpeechEncoder
from personatalk.speech.features import SAMPLE_RATE
from personatalk.speech.sync_network import Synchrony, SyncNetwork, measure_synchrony

HEARD_S = 60.0  # of a clip's sound that tell who speaks
MIN_SECONDS, MIN_WIDTH_PX = 0.95, 60.0  # of a face that can be dubbed
MAX_TURN_DEG = 62.0  # where a dub has faded back to the source
REASONS = {
    "short": "seen for less than a second",
    "small": f"less than {MIN_WIDTH_PX:g} pixels wide",
    "turned": "turned away from the camera",
}  # why a person cannot be dubbed


@dataclass(frozen=True, kw_only=True)
class Role:
    """A face of a video and what it shall say.

    Attributes:
        audio: the speech.
        options: of the dub; they name the face.
    """

    audio: Path
    options: DubbingOptions


def roles_of(audio: Path | Mapping[int, Path], options: DubbingOptions) -> list[Role]:
    """Give each face its speech.

    Args:
        audio: one speech for the face that the options name, or a speech for each of several numbers of
            `personatalk faces`.
        options: of the dub.

    Raises:
        OptionError: no speech, a number that is none, or options that are of one face only.
    """
    if not isinstance(audio, Mapping):
        return [Role(audio=Path(audio), options=options)]
    if not audio:
        raise OptionError("no face has a speech; give at least one")
    for name in ("face", "face_point", "reference_video"):
        if getattr(options, name) is not None:
            raise OptionError(f"{name} is of one face, and cannot go together with a speech for each of several")
    return [Role(audio=Path(path), options=replace(options, face=face)) for face, path in audio.items()]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a person has of a video.

    Attributes:
        number: of the person; 0 is the one of whom there is most to see.
        person: seen where and when.
        turn_deg: how far the face is turned away from the camera, the median; None where it could not be fitted.
        synchrony: of the face with the video's sound; None where there is too little of either.
    """

    number: int
    person: Person
    turn_deg: float | None
    synchrony: Synchrony | None

    @property
    def is_speaking(self) -> bool:
        """Whether the sound belongs to this face."""
        return self.synchrony is not None and self.synchrony.in_sync

    @property
    def evidence(self) -> float:
        """How surely the sound belongs to this face, comparable between longer and shorter parts."""
        return self.synchrony.confidence / self.synchrony.valid_s**0.5 if self.synchrony else -np.inf


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Hears who of a video speaks.

    Attributes:
        encoder: of the sync network's features.
        network: sync network.
        face_model: of the geometry.
    """

    encoder: SpeechEncoder
    network: SyncNetwork
    face_model: FaceModel

    def parts(self, video: Path, cast: Cast) -> list[Part]:
        """Measure everybody of a video against its sound."""
        try:
            features = self.encoder.encode(read_audio(video)[: int(HEARD_S * SAMPLE_RATE)])
        except MediaError:
            features = None
        parts = []
        for number, person in enumerate(cast.persons):
            geometry, synchrony = self._fit(cast, person), None
            if geometry is not None and features is not None:
                synchrony = measure_synchrony(
                    self.network, features, geometry.at(geometry.times < HEARD_S), self.face_model
                )
            turn = None if geometry is None else float(np.median(_turns(geometry)))
            parts.append(Part(number=number, person=person, turn_deg=turn, synchrony=synchrony))
        return parts

    def _fit(self, cast: Cast, person: Person) -> FaceGeometry | None:
        try:
            return fit_track(cast.track_of(person), self.face_model)
        except NoFaceError:
            return None


def choose_person(cast: Cast, options: DubbingOptions, video: Path, listener: Listener | None) -> Person | None:
    """Choose who is dubbed: by number, by who speaks, by a point, or else of whom there is most to see.

    Returns:
        None where the video shows nobody.

    Raises:
        OptionError: there is no such person, or nobody who speaks.
    """
    if options.face is None or not cast.persons:
        return cast.choose(options.face_point)
    if isinstance(options.face, str):
        parts = listener.parts(video, cast) if listener else []
        speaking = max(parts, key=lambda part: part.evidence, default=None)
        if speaking is None or not speaking.is_speaking:
            raise OptionError(
                f"nobody is seen to speak what {video} says; `personatalk faces` lists who is seen, "
                "and face takes a number of that list"
            )
        return speaking.person
    if options.face >= len(cast.persons):
        raise OptionError(
            f"face={options.face} is not there: {video} shows {len(cast.persons)} "
            f"person{'s' * (len(cast.persons) > 1)}, counted from 0; `personatalk faces` lists them"
        )
    return cast.persons[options.face]


def reason_against(person: Person, turn_deg: float | None = None) -> str | None:
    """Say why a person cannot be dubbed; None where nothing speaks against it."""
    return REASONS.get(kind_of_reason(person, turn_deg) or "")


def kind_of_reason(person: Person, turn_deg: float | None = None) -> str | None:
    """Which of REASONS speaks against dubbing a person; None where none does."""
    if person.seconds < MIN_SECONDS:
        return "short"
    if person.width_px < MIN_WIDTH_PX:
        return "small"
    return "turned" if turn_deg is not None and turn_deg > MAX_TURN_DEG else None


def persons_report(cast: Cast, dubbed: Person | None) -> list[dict[str, Any]]:
    """Say of everybody whether they are the one who is dubbed, and why not; ready for JSON."""
    told = []
    for number, person in enumerate(cast.persons):
        reason = None if person is dubbed else reason_against(person) or "another person was chosen"
        told.append(
            {
                "number": number,
                "seconds": round(person.seconds, 2),
                "width_px": round(person.width_px, 1),
                "box": [round(float(side)) for side in person.box],
                "left_alone_because": reason,
            }
        )
    return told


def _turns(geometry: FaceGeometry) -> np.ndarray:
    """[N] degrees between the face's direction and the camera, of the frames that show it."""
    return np.degrees(np.arccos(np.clip(geometry.rotation[geometry.valid, 2, 2], -1, 1)))
