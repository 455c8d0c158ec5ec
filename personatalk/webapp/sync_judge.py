"""The synchrony of a finished dub: its face is tracked anew and compared with its sound by the judging network."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError, NoFaceError
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.tracking import MediaPipeTracker, track_face
from personatalk.media import probe_video, read_audio, read_frames
from personatalk.speech.features import mel_spectrogram_features
from personatalk.speech.sync_network import Synchrony, SyncNetwork, load_sync_network, measure_synchrony

JUDGED_S = 4.0  # of a dub; more takes longer and says little more
SAMPLE_RATE = 16000  # Hz

logger = logging.getLogger(__name__)


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

    def __call__(self, video: Path, face_point: tuple[float, float] | None = None) -> Synchrony | None:
        """Measure the first seconds of a video with sound.

        Args:
            video: to judge.
            face_point: px in the first frame; the face nearest to it is judged. Without it, the largest.

        Returns:
            None where face and sound are there together for too short a time.
        """
        info = probe_video(video)
        with MediaPipeTracker(face_point) as tracker:
            track = track_face(_beginning(video), tracker, width=info.width, height=info.height)
        try:
            geometry = fit_track(track, self.face_model)
        except NoFaceError:
            return None
        features = mel_spectrogram_features(read_audio(video, SAMPLE_RATE)[: int(JUDGED_S * SAMPLE_RATE)])
        return measure_synchrony(self.network, features, geometry, self.face_model)


def _beginning(video: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Times and pictures of the first JUDGED_S seconds."""
    for frame in takewhile(lambda frame: frame.time < JUDGED_S, read_frames(video)):
        yield frame.time, frame.image
