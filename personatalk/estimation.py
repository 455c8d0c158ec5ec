"""A video to the geometry of its face: followed, fitted to the landmarks, then to what the frames show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from personatalk import lip_registration, registration
from personatalk.appearance import ColourWindows
from personatalk.concurrency import read_ahead
from personatalk.fitting import FaceGeometry, fit_track
from personatalk.geometry_maps import FaceMesh
from personatalk.hands import HandTracker
from personatalk.lip_registration import register_lips, registered_frames
from personatalk.media import Frame, probe_video, read_frames
from personatalk.occlusion import Occlusion, find_occlusion
from personatalk.progress import Tick, no_tick
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
        for frame in read_ahead(read_frames(video)):
            if step:
                step(frame.index, info.num_frames)
            pts.append(frame.pts)
            yield frame.time, frame.image

    with MediaPipeTracker(point) as tracker:
        track = track_face(timed(), tracker, width=info.width, height=info.height)
    return track, np.array(pts, np.int64)


@dataclass(frozen=True, kw_only=True)
class FaceEstimate:
    """What is known of the face of a video.

    Attributes:
        geometry: the fit to what the frames show.
        occlusion: what stands in front of the face; None where nobody looked.
    """

    geometry: FaceGeometry
    occlusion: Occlusion | None = None


def estimate_face(
    video: Path, track: FaceTrack, mesh: FaceMesh, *, finds_occlusion: bool = True, step: Step | None = None
) -> FaceEstimate:
    """Fit a followed face twice, to its landmarks, then to what the frames show, and find what stands before it.

    Args:
        video: to read, once.
        track: of the video.
        mesh: the face mesh.
        finds_occlusion: whether to look for what stands before the face; style does not need it.
        step: told of each frame, as often as it is worked on.

    Raises:
        NoFaceError: fewer than three frames show a face.
    """
    geometry = fit_track(track, mesh.face_model)
    tick = _ticks(step, geometry, registration.ROUNDS + finds_occlusion)
    grey, colours = GreyWindows(geometry), ColourWindows(geometry)

    def cut_frames() -> Iterator[Frame]:
        for frame in read_ahead(read_frames(video)):
            grey.append(frame.image)
            if finds_occlusion:
                colours.append(frame.image)
            yield frame

    with HandTracker(geometry) as hands:
        for frame in read_ahead(cut_frames()):  # reading, cutting and looking for hands, each on a thread of its own
            if finds_occlusion:
                hands.look(frame.index, frame.image)
            tick()
    refined = refine_face(track, geometry, grey, mesh, tick=tick)
    occlusion = find_occlusion(refined, colours, mesh, hands=hands.hands(), tick=tick) if finds_occlusion else None
    return FaceEstimate(geometry=refined, occlusion=occlusion)


def _ticks(step: Step | None, geometry: FaceGeometry, passes: int) -> Tick:
    """Tell `step` of one frame after the other, through all that is done with the frames of a clip.

    Args:
        step: to be told.
        geometry: of the clip.
        passes: over all valid frames, beside reading and the rounds of the registered ones.
    """
    if step is None:
        return no_tick
    num_registered = len(registered_frames(geometry.valid))
    total = len(geometry) + passes * int(geometry.valid.sum()) + lip_registration.ROUNDS * num_registered
    done = count()
    return lambda: step(next(done), total)


def refine_face(
    track: FaceTrack, geometry: FaceGeometry, windows: GreyWindows, mesh: FaceMesh, *, tick: Tick = no_tick
) -> FaceGeometry:
    """Fit a face again, to what the frames show: the whole face on its median, then lips on like lips.

    Args:
        track: of the clip.
        geometry: fitted to it.
        windows: of the clip's frames, cut by this geometry.
        mesh: the face mesh.
        tick: called for each frame of each round.
    """
    return register_lips(refine_geometry(track, geometry, windows, mesh, tick=tick), windows, mesh, tick=tick)
