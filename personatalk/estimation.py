"""A video to the geometry of its face: followed, fitted to the landmarks, then to what the frames show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from personatalk.appearance import ColourWindows
from personatalk.concurrency import read_ahead
from personatalk.fitting import FaceGeometry, fit_track
from personatalk.geometry_maps import FaceMesh
from personatalk.lip_registration import register_lips
from personatalk.media import Frame, probe_video, read_frames
from personatalk.occlusion import Occlusion, find_occlusion
from personatalk.registration import GreyWindows, refine_geometry
from personatalk.tracking import FaceTrack, MediaPipeTracker, track_face

Step = Callable[[int, int | None], None]  # told (frame, number of frames if known); may raise to stop


def follow_face(
    video: Path, *, point: tuple[float, float] | None = None, step: Step | None = None
) -> tuple[FaceTrack, np.ndarray]:
    """Follow the face of a video.

    Args:
        video: to read, once.
        point: px in the first frame; the face nearest to it is followed. Without it, the largest.
        step: told of each frame.

    Returns:
        the track, and the frames' timestamps [T] in ticks.
    """
    info, pts = probe_video(video), []

    def timed() -> Iterator[tuple[float, np.ndarray]]:
        for frame in _frames(video, info.num_frames, step):
            pts.append(frame.pts)
            yield frame.time, frame.image

    with MediaPipeTracker(point) as tracker:
        track = track_face(timed(), tracker, width=info.width, height=info.height)
    return track, np.array(pts, np.int64)


def fit_face(video: Path, track: FaceTrack, mesh: FaceMesh, *, step: Step | None = None) -> FaceGeometry:
    """Fit a followed face twice: to its landmarks, then to what the frames show.

    Args:
        video: to read, once.
        track: of the video.
        mesh: the face mesh.
        step: told of each frame.

    Raises:
        NoFaceError: fewer than three frames show a face.
    """
    return _refine(video, track, fit_track(track, mesh.face_model), mesh, step)


def fit_face_and_occlusion(
    video: Path, track: FaceTrack, mesh: FaceMesh, *, step: Step | None = None
) -> tuple[FaceGeometry, Occlusion]:
    """Fit a followed face as `fit_face` does, and find what stands in front of it."""
    geometry = fit_track(track, mesh.face_model)
    colours = ColourWindows(geometry)
    geometry = _refine(video, track, geometry, mesh, step, colours)
    return geometry, find_occlusion(geometry, colours, mesh)


def _refine(
    video: Path, track: FaceTrack, geometry: FaceGeometry, mesh: FaceMesh, step: Step | None,
    colours: ColourWindows | None = None,
) -> FaceGeometry:  # fmt: skip
    windows = GreyWindows(geometry)
    for frame in _frames(video, len(geometry), step):
        windows.append(frame.image)
        if colours is not None:
            colours.append(frame.image)
    return register_lips(refine_geometry(track, geometry, windows, mesh), windows, mesh)


def _frames(video: Path, count: int | None, step: Step | None) -> Iterator[Frame]:
    for frame in read_ahead(read_frames(video)):
        if step:
            step(frame.index, count)
        yield frame
