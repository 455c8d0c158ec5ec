"""A face measured from a video's pixels, be it a dub or its source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.tracking import FaceTrack, MediaPipeTracker, track_face
from personatalk.media import probe_video, read_frames
from personatalk.persons.embedding import cut_face_chip

IDENTITY_STEP = 10  # frames between the chips of a face


@dataclass(frozen=True, kw_only=True)
class SeenFace:
    """A video as it looks: its track, its geometry, and dlib chips [N, 150, 150, 3] every ten frames."""

    track: FaceTrack
    geometry: FaceGeometry
    aperture: np.ndarray
    chips: np.ndarray
    num_frames: int


def see_face(video: Path, face_model: FaceModel) -> SeenFace:
    """Track a video and fit its geometry.

    Raises:
        NoFaceError: it shows no face.
    """
    info = probe_video(video)
    kept: dict[int, np.ndarray] = {}

    def frames():
        for frame in read_frames(video):
            if frame.index % IDENTITY_STEP == 0:
                kept[frame.index] = frame.image
            yield frame.time, frame.image

    with MediaPipeTracker() as tracker:
        track = track_face(frames(), tracker, width=info.width, height=info.height)
    geometry = fit_track(track, face_model)
    chips = [cut_face_chip(image, track.landmarks[i]) for i, image in kept.items() if track.detected[i]]
    return SeenFace(
        track=track,
        geometry=geometry,
        aperture=lip_aperture(face_model.vertices(geometry.template, geometry.expression)),
        chips=np.stack(chips) if chips else np.zeros((0, 150, 150, 3), np.uint8),
        num_frames=len(track),
    )
