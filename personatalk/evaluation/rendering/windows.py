"""Clips seen through the renderer's window, which of their frames are judged, and what may serve as a reference."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.face_rendering.reference_selection import is_far
from personatalk.face_rendering.renderer import Rendering
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.mesh import FaceMesh
from personatalk.media import read_frames
from personatalk.persons.embedding import CHIP_LANDMARKS, cut_face_chip
from personatalk.training.corpus import Clip, read_geometry

Kept = TypeVar("Kept")
MAX_FRAMES = 200
RUN_FRAMES = 6  # consecutive frames judged, so that motion is judged too
RUNS_PER_CLIP = 2
MIN_REFERENCES = 10  # that are far enough from every frame of a run


@dataclass(frozen=True, kw_only=True)
class WindowClip:
    """A clip seen through the renderer's window.

    Attributes:
        images: [T, H, W, 3] uint8.
        chips: [T, 150, 150, 3] uint8, the whole face as `FaceEmbedder` wants it.
        geometry: of the T frames.
        head_vertices: [T, V, 3] IOD.
        projected: [T, N, 3] px of the window, rings included.
        window: [T, 2, 3] window_from_image.
        source: line of the manifest; None where the frames came from elsewhere.
        kept: what several methods need, made once; see `once`.
    """

    images: np.ndarray
    chips: np.ndarray
    geometry: FaceGeometry
    head_vertices: np.ndarray
    projected: np.ndarray
    window: np.ndarray
    source: Clip | None = None
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Make something for this clip, or return what was made for the same key."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def latest(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """As `once`, for what is large: only the last that was made is kept."""
        if "latest" not in self.kept or self.kept["latest"][0] != key:
            self.kept["latest"] = key, make()
        return self.kept["latest"][1]

    def landmarks(self, frame: int) -> np.ndarray:
        """[V, 3] px of the source, the fitted vertices of a frame."""
        return self.geometry.project(self.head_vertices[frame], slice(frame, frame + 1))[0]


@dataclass(frozen=True, kw_only=True)
class MethodOutput:
    """Frames of a clip, painted by a method.

    Attributes:
        images: [N, H, W, 3] in [0, 255].
        lip_frames: [N, K] numbers of the lip references; None where the method has no attention.
        face_frames: [N, K] numbers of the face references, likewise.
        rendering: of the renderer, batch of N, likewise.
        has_offsets: whether the rendering says where in a reference a pixel was taken from.
    """

    images: np.ndarray
    lip_frames: np.ndarray | None = None
    face_frames: np.ndarray | None = None
    rendering: Rendering | None = None
    has_offsets: bool = False


# (clip, judged frames [N]) -> what a method painted; None: nothing to say
Method = Callable[[WindowClip, np.ndarray], MethodOutput | None]
# clip -> [T, V, 3] IOD, the geometry to render; None where nothing is known of it
TargetGeometry = Callable[[WindowClip], np.ndarray | None]


def vertices_to_render(clip: WindowClip, target_geometry: TargetGeometry | None) -> np.ndarray | None:
    """[T, V, 3] IOD to render a clip with: its own without a target geometry; None where that knows nothing of it."""
    if target_geometry is None:
        return clip.head_vertices
    return clip.once(target_geometry, lambda: target_geometry(clip))


def read_windows(inputs: EvaluationInputs, clip: Clip, mesh: FaceMesh) -> WindowClip | None:
    """Cut the renderer's window out of a clip's first frames; None where `preprocess` found no face."""
    geometry = read_geometry(inputs.corpus, clip)
    if geometry is None:
        return None
    images = (frame.image for frame in islice(read_frames(inputs.clip_path(clip)), MAX_FRAMES))
    return replace(cut_windows(images, geometry, mesh), source=clip)


def cut_windows(frames: Iterable[np.ndarray], geometry: FaceGeometry, mesh: FaceMesh) -> WindowClip:
    """Cut windows out of frames [H, W, 3] uint8, at most MAX_FRAMES of them."""
    count = min(len(geometry), MAX_FRAMES)
    geometry = FaceGeometry(
        **{name: value if name == "template" else value[:count] for name, value in vars(geometry).items()}
    )
    window = window_from_image(geometry)
    head = mesh.face_model.vertices(geometry.template, geometry.expression)
    corners = np.zeros((max(CHIP_LANDMARKS) + 1, 3), np.float32)
    images, chips = [], []
    for t, image in zip(range(count), frames, strict=False):
        images.append(warp_image(image, window[t], WINDOW_WIDTH, WINDOW_HEIGHT))
        points = list(CHIP_LANDMARKS)
        corners[points] = geometry.project(head[t, points], slice(t, t + 1))[0]
        chips.append(cut_face_chip(image, corners))
    return WindowClip(
        images=np.stack(images),
        chips=np.stack(chips),
        geometry=geometry,
        head_vertices=head,
        projected=np.stack([mesh.project(geometry.pose(t, head[t], window[t])) for t in range(count)]),
        window=window,
    )


def masks_of(clip: WindowClip, frames: np.ndarray, mesh: FaceMesh) -> np.ndarray:
    """[N, H, W] in [0, 1], what is rendered anew in N frames; drawn without knowing the mouth."""
    template = clip.geometry.template
    projected = [mesh.project(clip.geometry.pose(t, template, clip.window[t])) for t in frames.tolist()]
    return np.stack([mesh.mask(points, template, WINDOW_HEIGHT, WINDOW_WIDTH) for points in projected])


def allowed_references(geometry: FaceGeometry, frame: int) -> np.ndarray:
    """[R] frames that show the face and lie far enough from a frame to know nothing of it, as in a dub."""
    return np.flatnonzero(geometry.valid & is_far(np.abs(geometry.times - geometry.times[frame])))


def choose_runs(geometry: FaceGeometry) -> list[np.ndarray]:
    """Choose runs of consecutive frames of a clip to judge.

    Returns:
        judged frames [N] of each run, for which there are enough references that serve all of them.
    """
    valid = geometry.valid
    runs = []
    for index in range(RUNS_PER_CLIP):
        middle = (2 * index + 1) * len(valid) // (2 * RUNS_PER_CLIP)
        run = np.arange(middle - RUN_FRAMES // 2, middle - RUN_FRAMES // 2 + RUN_FRAMES)
        if run[0] < 0 or run[-1] >= len(valid) or not valid[run].all():
            continue
        if len(shared_references(geometry, run)) >= MIN_REFERENCES:
            runs.append(run)
    return runs


def shared_references(geometry: FaceGeometry, run: np.ndarray) -> np.ndarray:
    """[R] frames that every frame of a run may take as a reference."""
    return np.intersect1d(allowed_references(geometry, int(run[0])), allowed_references(geometry, int(run[-1])))
