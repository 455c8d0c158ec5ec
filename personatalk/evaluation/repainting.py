"""A trained renderer as one of the methods that are judged, with the references that a dub would give it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personatalk.evaluation.windows import Method, MethodOutput, TargetGeometry, WindowClip
from personatalk.face_rendering.attention import References
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.inputs import (
    ReferenceFrame,
    correspondences,
    images_of,
    make_target,
    maps_of,
    reference_frame,
    stack_targets,
)
from personatalk.face_rendering.reference_bank import ClipReferences
from personatalk.face_rendering.reference_selection import MIN_GAP
from personatalk.face_rendering.renderer import DualAttentionRenderer, Target
from personatalk.face_rendering.texture_prior import (
    MIN_TEXTURES,
    TexturePrior,
    nothing_predicted,
    spread_frames,
    texture_frame,
)
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one attention layer may look at in N frames, but for the encodings.

    Attributes:
        frames: [N, K] numbers of the references.
        images: [N, K, 3, H, W] in [0, 1].
        grids: [N, K, H, W, 2] px.
        log_weights: [N, K].
    """

    frames: np.ndarray
    images: Tensor
    grids: Tensor
    log_weights: Tensor


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """What a renderer may know of N frames: their geometry, their surroundings, their references."""

    target: Target
    lip: Layer
    face: Layer


def renderer_method(
    model: DualAttentionRenderer, mesh: FaceMesh, *, strategy: str = "coverage", demand: TargetGeometry | None = None,
    has_lip_references: bool = True, has_texture_prior: bool = True,
) -> Method:  # fmt: skip
    """Make a trained network one of the methods.

    Args:
        model: the network; those that share its encoder share their encodings.
        mesh: the face mesh.
        strategy: how its lip references are chosen.
        demand: the mouths to render; without it, the true ones.
        has_lip_references: without them Lip-Attention looks at Face-Attention's references.
        has_texture_prior: without it nothing is predicted from all references.

    Returns:
        what paints; it paints nothing where the clip has no reference that lies far enough from each frame.
    """
    counts = model.config.num_lip_references, model.config.num_face_references
    circumstances = (strategy, demand, has_lip_references, has_texture_prior, counts)

    @torch.inference_mode()
    def paint(clip: WindowClip, run: np.ndarray) -> MethodOutput | None:
        """Paint frames [N] of a clip."""
        vertices = clip.head_vertices if demand is None else clip.once(demand, lambda: demand(clip))
        if vertices is None:
            return None
        ranks = rank_references(model, clip, mesh, vertices, run, strategy=strategy)
        if not are_far(ranks, run):
            return None
        if not has_lip_references:
            ranks = (*ranks[2:], *ranks[2:])
        prior = clip.once("prior", lambda: learn_textures(clip, mesh)) if has_texture_prior else None
        inputs = clip.latest(
            (*circumstances, *run.tolist()), lambda: gather_inputs(clip, mesh, vertices, run, ranks, prior)
        )
        lip, face = (encode(model, clip, mesh, layer) for layer in (inputs.lip, inputs.face))
        rendering = model(inputs.target, lip, face)
        return MethodOutput(
            images=rendering.faces.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255,
            lip_frames=inputs.lip.frames,
            face_frames=inputs.face.frames,
            rendering=rendering,
            has_offsets=model.config.attention == "anchored",
        )

    return paint


def rank_references(
    model: DualAttentionRenderer, clip: WindowClip, mesh: FaceMesh, vertices: np.ndarray, run: np.ndarray, *,
    strategy: str,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Choose the references of a run's frames as a dub of the whole clip does.

    Args:
        vertices: [T, V, 3] IOD, the mouths to render.

    Returns:
        lip frames, their log-weights, face frames, their log-weights: [N, K] each.
    """
    geometry = clip.geometry
    demanded = lip_descriptors(vertices, geometry.template, geometry.rotation)[geometry.valid]
    references = clip.once(
        ("references", strategy, id(vertices)), lambda: ClipReferences(mesh, geometry, demanded, strategy)
    )
    dub = ClipRenderer(model, mesh, geometry, vertices, references)
    return tuple(np.stack(part) for part in zip(*(dub.rank(int(frame)) for frame in run), strict=True))


def are_far(ranks: tuple[np.ndarray, ...], run: np.ndarray) -> bool:
    """Whether what counts most in each frame of a run lies so far away that it knows nothing of it."""
    for frames, log_weights in (ranks[:2], ranks[2:]):
        heaviest = frames[np.arange(len(run)), log_weights.argmax(1)]
        if (np.abs(heaviest - run) < MIN_GAP).any():
            return False
    return True


def learn_textures(clip: WindowClip, mesh: FaceMesh) -> TexturePrior | None:
    """Learn from the frames that a dub of the clip would learn from; None where they are too few."""
    frames = spread_frames(np.flatnonzero(clip.geometry.valid)).tolist()
    if len(frames) < MIN_TEXTURES:
        return None
    return TexturePrior(mesh, clip.geometry, [texture_frame(t, clip.images[t], clip.projected[t]) for t in frames])


def gather_inputs(
    clip: WindowClip, mesh: FaceMesh, vertices: np.ndarray, run: np.ndarray, ranks: tuple[np.ndarray, ...],
    prior: TexturePrior | None,
) -> RunInputs:  # fmt: skip
    """Gather what a renderer may know of a run's frames.

    Args:
        vertices: [T, V, 3] IOD, the mouths to render.
        ranks: what `rank_references` returned.
        prior: of the clip.
    """
    targets, grids = [], []
    mouths = lip_descriptors(vertices, clip.geometry.template, clip.geometry.rotation)
    num_lip = ranks[0].shape[1]
    for frame, chosen in zip(run.tolist(), np.concatenate([ranks[0], ranks[2]], 1), strict=True):
        target, projected = make_target(
            mesh, clip.geometry, vertices[frame], clip.window[frame], frame, clip.images[frame]
        )
        known = target["image"], projected, vertices[frame], mouths[frame], frame
        target["prior"] = prior.predict(*known) if prior else nothing_predicted()
        targets.append(target)
        grids.append(correspondences(mesh, projected, [_reference(clip, mesh, int(t)) for t in chosen]))
    stacked = torch.from_numpy(np.stack(grids))

    def layer(frames: np.ndarray, log_weights: np.ndarray, grids: Tensor) -> Layer:
        images = torch.from_numpy(clip.images[frames]).permute(0, 1, 4, 2, 3).float() / 255
        return Layer(frames=frames, images=images, grids=grids, log_weights=torch.from_numpy(log_weights))

    return RunInputs(
        target=stack_targets(targets),
        lip=layer(*ranks[:2], stacked[:, :num_lip]),
        face=layer(*ranks[2:], stacked[:, num_lip:]),
    )


def encode(model: DualAttentionRenderer, clip: WindowClip, mesh: FaceMesh, layer: Layer) -> References:
    """Add the encodings that a network makes of the references, one for each of the clip's frames."""
    known = {}
    for frame in np.unique(layer.frames).tolist():
        entry = _reference(clip, mesh, frame)
        known[frame] = clip.once(
            (model.encode, frame), lambda e=entry: model.encode_references(images_of([e]), maps_of([e]))[0]
        )
    features = torch.stack([torch.stack([known[t] for t in row]) for row in layer.frames.tolist()])
    return References(features=features, images=layer.images, grids=layer.grids, log_weights=layer.log_weights)


def _reference(clip: WindowClip, mesh: FaceMesh, t: int) -> ReferenceFrame:
    return clip.once(
        ("reference", t),
        lambda: reference_frame(mesh, clip.geometry, clip.head_vertices[t], clip.window[t], t, clip.images[t]),
    )
