"""The face of a video and what stands in front of it, found in one pass over the frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from personatalk.geometry.estimation import Step, estimate_geometry, refine_fit, ticks
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.tracking import FaceTrack
from personatalk.media import Frame
from personatalk.occlusion.appearance import ColourWindows
from personatalk.occlusion.hands import HandTracker
from personatalk.occlusion.network import OccluderNetwork
from personatalk.occlusion.segmentation import Occlusion, find_occlusion
from personatalk.progress import Tick, no_tick


@dataclass(frozen=True, kw_only=True)
class FaceEstimate:
    """What is known of the face of a video.

    Attributes:
        geometry: the fit, refined by what the frames show.
        occlusion: what stands in front of the face; None where nobody looked.
    """

    geometry: FaceGeometry
    occlusion: Occlusion | None = None


class OcclusionSearch:
    """Watches the frames of a clip while its geometry is refined, and finds what stands in front of the face.

    Args:
        fitted: the clip's fit to its landmarks; says where the face is.
        network: tells occluders from faces; without it, what is there in all frames is not found.
    """

    def __init__(self, fitted: FaceGeometry, network: OccluderNetwork | None = None) -> None:
        self._colours, self._hands, self._network = ColourWindows(fitted), HandTracker(fitted), network

    def __enter__(self) -> OcclusionSearch:
        return self

    def __exit__(self, *_: object) -> None:
        self._hands.close()

    def cut(self, frame: Frame) -> None:
        """Keep the lower face of a frame."""
        self._colours.append(frame.pixels)

    def look(self, frame: Frame) -> None:
        """Look for hands."""
        self._hands.look(frame.index, frame.pixels)

    def find(self, refined: FaceGeometry, mesh: FaceMesh, *, tick: Tick = no_tick) -> Occlusion:
        """Find what stands in front of a face of refined geometry; `tick` is called for each valid frame."""
        return find_occlusion(refined, self._colours, mesh, hands=self._hands.hands(), network=self._network, tick=tick)


def estimate_face(
    video: Path,
    track: FaceTrack,
    mesh: FaceMesh,
    *,
    refine: str = "flow",
    finds_occlusion: bool = True,
    network: OccluderNetwork | None = None,
    step: Step | None = None,
) -> FaceEstimate:
    """Estimate the geometry of a tracked face, and find what stands in front of it, in one pass over the video.

    Args:
        video: to read, once.
        track: of the video.
        mesh: the face mesh.
        refine: what refines the fit: "flow", "photometric" (needs PyTorch3D) or "none".
        finds_occlusion: whether to look for what stands in front of the face; style does not need it.
        network: tells occluders from faces.
        step: told of each frame, as often as it is worked on.

    Raises:
        NoFaceError: fewer than three frames show a face.
        AdapterError: PyTorch3D is asked for and not installed.
    """
    if not finds_occlusion:
        return FaceEstimate(geometry=estimate_geometry(video, track, mesh, refine=refine, step=step))
    fitted = fit_track(track, mesh.face_model)
    tick = ticks(step, fitted, refine, passes=1)
    with OcclusionSearch(fitted, network) as search:
        refined = refine_fit(video, track, fitted, mesh, refine=refine, watcher=search, tick=tick)
        return FaceEstimate(geometry=refined, occlusion=search.find(refined, mesh, tick=tick))
