"""A video to the geometry of its face: tracked, fitted to the landmarks, then refined by what the frames show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

from personatalk.concurrency import read_ahead
from personatalk.geometry import face_refinement, lip_refinement, photometric_refinement
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_refinement import GreyWindows, refine_geometry
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.lip_refinement import register_lips, registered_frames
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.photometric_refinement import refine_photometrically
from personatalk.geometry.pytorch3d_rasterizer import require_pytorch3d
from personatalk.geometry.tracking import FaceTrack
from personatalk.media import Frame, read_frames
from personatalk.progress import Tick, no_tick

Step = Callable[[int, int | None], None]  # told (frame, number of frames if known); may raise to stop


class FrameWatcher(Protocol):
    """Looks at the frames of a clip in the pass in which its geometry is refined, so that they are read once."""

    def cut(self, frame: Frame) -> None:
        """Keep what is needed of a frame; called on the thread that reads, in order."""

    def look(self, frame: Frame) -> None:
        """Look at a frame; called on the caller's thread, in order."""


def check_refinement(refine: str) -> None:
    """Refuse a refinement that lacks its package, before any work is done.

    Raises:
        AdapterError: PyTorch3D is not installed; the message says how to install it.
    """
    if refine == "photometric":
        require_pytorch3d("photometric refinement")


def estimate_geometry(
    video: Path, track: FaceTrack, mesh: FaceMesh, *, refine: str = "flow", step: Step | None = None
) -> FaceGeometry:
    """Estimate the geometry of a tracked face: the fit to the landmarks, refined by what the frames show.

    Args:
        video: to read, once.
        track: of the video.
        mesh: the face mesh.
        refine: by what, see `refine_face`.
        step: told of each frame, as often as it is worked on.

    Raises:
        NoFaceError: fewer than three frames show a face.
        AdapterError: PyTorch3D is asked for and not installed.
    """
    fitted = fit_track(track, mesh.face_model)
    return refine_fit(video, track, fitted, mesh, refine=refine, tick=ticks(step, fitted, refine))


def refine_fit(
    video: Path,
    track: FaceTrack,
    fitted: FaceGeometry,
    mesh: FaceMesh,
    *,
    refine: str = "flow",
    watcher: FrameWatcher | None = None,
    tick: Tick = no_tick,
) -> FaceGeometry:
    """Refine a fit by the pixels of its video.

    Args:
        video: to read, once.
        track: of the video.
        fitted: what `fit_track` made of it.
        mesh: the face mesh.
        refine: by what, see `refine_face`.
        watcher: looks at the frames in the same pass.
        tick: called for each frame, as often as it is worked on.
    """
    windows = GreyWindows(fitted)

    def cut_frames() -> Iterator[Frame]:
        for frame in read_ahead(read_frames(video)):
            windows.append(frame.pixels)
            if watcher:
                watcher.cut(frame)
            yield frame

    for frame in read_ahead(cut_frames()):  # reading, cutting and looking, each on a thread of its own
        if watcher:
            watcher.look(frame)
        tick()
    return refine_face(track, fitted, windows, mesh, refine=refine, tick=tick)


def ticks(step: Step | None, geometry: FaceGeometry, refine: str, *, passes: int = 0) -> Tick:
    """Tell `step` of one frame after the other, through all that is done with the frames of a clip.

    Args:
        step: to be told.
        geometry: of the clip.
        refine: by what, see `refine_face`.
        passes: over all valid frames, beside reading and the refinement.
    """
    if step is None:
        return no_tick
    of_registered = 0
    if refine != "none":
        passes, of_registered = passes + face_refinement.ROUNDS, lip_refinement.ROUNDS
    if refine == "photometric":
        of_registered += photometric_refinement.PASSES
    total = len(geometry) + passes * int(geometry.valid.sum()) + of_registered * len(registered_frames(geometry.valid))
    done = count()
    return lambda: step(next(done), total)


def refine_face(
    track: FaceTrack,
    geometry: FaceGeometry,
    windows: GreyWindows,
    mesh: FaceMesh,
    *,
    refine: str = "flow",
    tick: Tick = no_tick,
) -> FaceGeometry:
    """Refine a fit by what the frames show.

    Args:
        track: of the clip.
        geometry: fitted to it.
        windows: of the clip's frames, cut by this geometry.
        mesh: the face mesh.
        refine: "flow" lays the whole face on the clip's median texture, then lips on frames with like lips;
            "photometric" goes on from there by rendering, and needs PyTorch3D; "none" leaves the fit as it is.
        tick: called for each frame of each round.

    Raises:
        AdapterError: PyTorch3D is asked for and not installed.
    """
    check_refinement(refine)
    if refine == "none":
        return geometry
    refined = register_lips(refine_geometry(track, geometry, windows, mesh, tick=tick), windows, mesh, tick=tick)
    return refine_photometrically(refined, windows, mesh, tick=tick) if refine == "photometric" else refined
