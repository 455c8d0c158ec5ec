"""Clips seen through the renderer's window, and a trained renderer as one of the methods that are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from personatalk.attention import References
from personatalk.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image, window_from_image
from personatalk.dub_renderer import FACE_STRIDE, LIP_BANK_SIZE
from personatalk.errors import NoFaceError
from personatalk.estimation import refine_face
from personatalk.evaluation.corpus import Clip, EvaluationInputs, read_track
from personatalk.face_model import openness
from personatalk.fitting import FaceGeometry, fit_track
from personatalk.geometry_maps import FaceMesh
from personatalk.media import read_frames
from personatalk.references import (
    lip_descriptors,
    rank_face_references,
    rank_lip_references,
    select_lip_references,
)
from personatalk.registration import GreyWindows
from personatalk.render_inputs import (
    correspondences,
    images_of,
    make_target,
    maps_of,
    reference_frame,
    stack_references,
    stack_targets,
)
from personatalk.renderer import DualAttentionRenderer, Target

MAX_FRAMES = 200


@dataclass(frozen=True, kw_only=True)
class WindowClip:
    """A clip seen through the renderer's window.

    Attributes:
        images: [T, H, W, 3] uint8.
        geometry: of the T frames.
        head_vertices: [T, V, 3] IOD.
        placed: [T, N, 3] px of the window, rings included.
        window: [T, 2, 3] window_from_image.
        masks: [T, H, W] in [0, 1], what is rendered anew; drawn without knowing the mouth.
        source: line of the manifest; None where the frames came from elsewhere.
    """

    images: np.ndarray
    geometry: FaceGeometry
    head_vertices: np.ndarray
    placed: np.ndarray
    window: np.ndarray
    masks: np.ndarray
    source: Clip | None = None


# (clip, judged frames [N], allowed references [R]) -> [N, H, W, 3] in [0, 255]; None: nothing to say
Renderer = Callable[[WindowClip, np.ndarray, np.ndarray], np.ndarray | None]
# clip -> [T, V, 3] IOD, the mouths that are asked for; None where nothing is known of them
Demand = Callable[[WindowClip], np.ndarray | None]


def read_windows(inputs: EvaluationInputs, clip: Clip, mesh: FaceMesh) -> WindowClip | None:
    """Cut the renderer's window out of a clip's first frames; None where no face was tracked."""
    track = read_track(inputs.corpus, clip)
    try:
        geometry = fit_track(track, mesh.face_model) if track is not None else None
    except NoFaceError:
        geometry = None
    if geometry is None:
        return None
    images = [frame.image for frame in islice(read_frames(inputs.clip_path(clip)), MAX_FRAMES)]
    windows = GreyWindows(geometry)
    for image in images:
        windows.append(image)
    return replace(cut_windows(images, refine_face(track, geometry, windows, mesh), mesh), source=clip)


def cut_windows(frames: Iterable[np.ndarray], geometry: FaceGeometry, mesh: FaceMesh) -> WindowClip:
    """Cut windows out of frames [H, W, 3] uint8, at most MAX_FRAMES of them."""
    count = min(len(geometry), MAX_FRAMES)
    geometry = FaceGeometry(
        **{name: value if name == "template" else value[:count] for name, value in vars(geometry).items()}
    )
    window = window_from_image(geometry)
    images = [
        warp_image(image, window[t], WINDOW_WIDTH, WINDOW_HEIGHT)
        for t, image in zip(range(count), frames, strict=False)
    ]
    head = mesh.face_model.vertices(geometry.template, geometry.expression)
    at_rest = [mesh.place(geometry.template, geometry, t, window[t]) for t in range(count)]
    return WindowClip(
        images=np.stack(images),
        geometry=geometry,
        head_vertices=head,
        placed=np.stack([mesh.place(head[t], geometry, t, window[t]) for t in range(count)]),
        window=window,
        masks=np.stack([mesh.mask(p, geometry.template, WINDOW_HEIGHT, WINDOW_WIDTH) for p in at_rest]),
    )


def model_renderer(
    model: DualAttentionRenderer, mesh: FaceMesh, strategy: str = "coverage", demand: Demand | None = None
) -> Renderer:
    """Make a trained network one of the methods.

    Args:
        strategy: how its lip references are chosen among those allowed.
        demand: the mouths to render; without it, the true ones.
    """

    @torch.inference_mode()
    def render(clip: WindowClip, run: np.ndarray, allowed: np.ndarray) -> np.ndarray | None:
        vertices = clip.head_vertices if demand is None else demand(clip)
        if vertices is None:
            return None
        bank = choose_bank(clip, vertices, run, allowed, strategy=strategy)
        faces = []
        for frame in run:
            target, lip, face = renderer_inputs(model, clip, mesh, vertices, int(frame), bank=bank, allowed=allowed)
            faces.append(model(target, lip, face).faces[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255)
        return np.stack(faces)

    return render


def choose_bank(
    clip: WindowClip, vertices: np.ndarray, run: np.ndarray, allowed: np.ndarray, *, strategy: str = "coverage"
) -> np.ndarray:
    """Choose the clip's lip references among the allowed frames, for the mouths [T, V, 3] of a run."""
    chosen = select_lip_references(
        _descriptors(clip, clip.head_vertices)[allowed], _descriptors(clip, vertices)[run], LIP_BANK_SIZE,
        strategy=strategy, opening=openness(clip.head_vertices[allowed]),
    )  # fmt: skip
    return allowed[chosen]


def renderer_inputs(
    model: DualAttentionRenderer, clip: WindowClip, mesh: FaceMesh, vertices: np.ndarray, frame: int,
    *, bank: np.ndarray, allowed: np.ndarray,
) -> tuple[Target, References, References]:  # fmt: skip
    """Gather what the network may know of one frame: its geometry, its surroundings, its references.

    Args:
        vertices: [T, V, 3] IOD, the mouths to render.
        frame: which is rendered.
        bank: frames that serve as lip references.
        allowed: frames of which every twelfth serves as a face reference.
    """
    shown, wanted = _descriptors(clip, clip.head_vertices)[bank], _descriptors(clip, vertices)[frame]
    lip = rank_lip_references(shown, wanted, bank - frame, model.config.num_lip_references)
    keys = allowed[:: max(1, min(FACE_STRIDE, len(allowed) // model.config.num_face_references))]
    face = rank_face_references(keys - frame, model.config.num_face_references)
    target, placed = make_target(mesh, clip.geometry, vertices[frame], clip.window[frame], frame, clip.images[frame])
    return (
        stack_targets([target]),
        _references(model, clip, mesh, placed, bank[lip[0]], lip[1]),
        _references(model, clip, mesh, placed, keys[face[0]], face[1]),
    )


def _references(
    model: DualAttentionRenderer,
    clip: WindowClip,
    mesh: FaceMesh,
    placed: np.ndarray,
    chosen: np.ndarray,
    log_weights: np.ndarray,
) -> References:
    frames = [
        reference_frame(mesh, clip.geometry, clip.head_vertices[t], clip.window[t], int(t), clip.images[t])
        for t in chosen
    ]
    images = images_of(frames)
    features = model.encode_references(images, maps_of(frames))
    grids = np.ascontiguousarray(correspondences(mesh, placed, frames))
    return stack_references(features[None], images[None], grids[None], log_weights[None])


def _descriptors(clip: WindowClip, vertices: np.ndarray) -> np.ndarray:
    return lip_descriptors(vertices, clip.geometry.template, clip.geometry.rotation)
