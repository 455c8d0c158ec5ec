"""The synchrony of a finished dub: the dubbed person's face is tracked anew and compared with the sound."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError, NoFaceError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.tracking import FaceTrack
from personatalk.media import read_audio
from personatalk.persons.search import Cast, Person, find_persons
from personatalk.speech.features import mel_spectrogram_features
from personatalk.speech.sync_network import Synchrony, SyncNetwork, load_sync_network, measure_synchrony

JUDGED_S = 4.0  # of a dub; more takes longer and says little more
FAR_IOD = 1.0  # a face further from where the dubbed one should be is another
SAMPLE_RATE = 16000  # Hz

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was measured in a dub.

    Attributes:
        synchrony: of lips and sound; None where both are there together for too short a time.
        times: [N] s of the judged frames.
        aperture: [N] IOD, lip aperture as it is seen; NaN where the face is not.
    """

    synchrony: Synchrony | None
    times: np.ndarray
    aperture: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SyncJudge:
    """Measures how far lips and sound of a video are apart.

    Attributes:
        network: trained on a spectrogram and on other persons than the network that dubs use.
        face_model: of the geometry.
    """

    network: SyncNetwork
    face_model: FaceModel

    @classmethod
    def load(cls, face_model: FaceModel) -> SyncJudge | None:
        """Load the judging network; None where its weights are not shipped."""
        try:
            return cls(network=load_sync_network(DEFAULT_FOLDER, "sync_judge"), face_model=face_model)
        except CheckpointError as error:
            logger.warning("dubs are not judged: %s", error)
            return None

    def __call__(
        self, video: Path, dubbed: FaceGeometry | None = None, *, sound: Path | None = None
    ) -> Judgement | None:
        """Measure a few seconds of a video with sound, from where the dubbed person is first seen.

        Args:
            video: to judge.
            dubbed: geometry of the person in the video's frames, who is told from others by it; frames that it has as
                not valid were left as they were, and do not count. Without it, of whom there is most to see.
            sound: that this person makes, where others are heard in the video too.

        Returns:
            None where the person is not found.
        """
        start = 0.0
        if dubbed is not None:
            if not dubbed.valid.any():
                return None
            start = float(dubbed.times[dubbed.valid.argmax()] - dubbed.times[0])
        end = start + JUDGED_S
        cast = find_persons(video, self.face_model, between=(start, end))
        person = cast.choose() if dubbed is None else nearest_person(cast, dubbed)
        track = cast.track_of(person)
        if dubbed is not None:
            track = _only(track, dubbed.valid[_positions(track.times, dubbed)])
        try:
            geometry = fit_track(track, self.face_model)
        except NoFaceError:
            return None
        features = mel_spectrogram_features(read_audio(sound or video, SAMPLE_RATE)[: int(end * SAMPLE_RATE)])
        aperture = lip_aperture(self.face_model.vertices(geometry.template, geometry.expression))
        return Judgement(
            synchrony=measure_synchrony(self.network, features, geometry, self.face_model),
            times=geometry.times,
            aperture=np.where(geometry.valid, aperture, np.nan),
        )


def nearest_person(cast: Cast, dubbed: FaceGeometry) -> Person | None:
    """Who of a video is where the dubbed person should be; None where nobody is near."""
    distances = [_distance(person, cast.times, dubbed) for person in cast.persons]
    if not distances or min(distances) > FAR_IOD:
        return None
    return cast.persons[int(np.argmin(distances))]


def _distance(person: Person, times: np.ndarray, dubbed: FaceGeometry) -> float:
    """Median distance of a person's face from the dubbed one's, IOD; infinite where they are never there together."""
    found = []
    for item in person.seen:
        at = _positions(times[item.run.frames], dubbed)
        should = dubbed.project(dubbed.template, at)[..., :2].mean(1)
        apart = np.linalg.norm(item.run.seen()[..., :2].mean(1) - should, axis=-1) / dubbed.scale[at]
        found.append(apart[dubbed.valid[at]])
    apart = np.concatenate(found) if found else np.zeros(0)
    return float(np.median(apart)) if len(apart) else np.inf


def _positions(times: np.ndarray, dubbed: FaceGeometry) -> np.ndarray:
    """Which frames of the geometry are shown at these times, counted from the video's first frame."""
    shown = dubbed.times - dubbed.times[0]
    after = np.clip(np.searchsorted(shown, times), 1, max(1, len(shown) - 1))
    before_is_nearer = times - shown[after - 1] < shown[np.minimum(after, len(shown) - 1)] - times
    return np.where(before_is_nearer, after - 1, np.minimum(after, len(shown) - 1))


def _only(track: FaceTrack, kept: np.ndarray) -> FaceTrack:
    """The same track without the face where it does not count."""
    landmarks = np.where(kept[:, None, None], track.landmarks, np.float32(np.nan))
    return replace(track, landmarks=landmarks, detected=track.detected & kept)
