"""A trained renderer as one of the methods that are judged, with the references that a dub would give it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from personatalk.evaluation.rendering.windows import (
    Method,
    MethodOutput,
    TargetGeometry,
    WindowClip,
    vertices_to_render,
)
from personatalk.face_rendering.inputs import (
    AttendedReferences,
    FrameBatch,
    PriorQuery,
    ReferenceFrame,
    device_of,
    frame_inputs,
    images_of,
    maps_of,
    reference_frame,
    stack_frames,
)
from personatalk.face_rendering.precision import render_in
from personatalk.face_rendering.reference_selection import (
    MAX_TEXTURES,
    RankedReferences,
    choose_candidates,
    is_far,
    rank_references,
    spread_frames,
)
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.face_rendering.texture_prior import MIN_TEXTURES, TexturePrior, texture_frame
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """What a renderer may know of N frames, and which references it was given: [N, K] frame numbers of either kind."""

    batch: FrameBatch
    lip_frames: np.ndarray
    face_frames: np.ndarray


def renderer_method(
    model: DualAttentionRenderer,
    mesh: FaceMesh,
    *,
    strategy: str = "coverage",
    target_geometry: TargetGeometry | None = None,
    has_lip_references: bool = True,
    has_texture_prior: bool = True,
) -> Method:
    """Make a trained network one of the methods.

    Args:
        model: the network; those that share its encoder share their encodings.
        mesh: the face mesh.
        strategy: how its lip references are chosen.
        target_geometry: the geometry to render; without it, the true one.
        has_lip_references: without them Lip-Attention looks at Face-Attention's references.
        has_texture_prior: without it nothing is predicted from all references.

    Returns:
        the method; it returns None where the clip has no reference that lies far enough from each frame.
    """
    counts = model.config.num_lip_references, model.config.num_face_references
    choices = (strategy, target_geometry, has_lip_references, has_texture_prior, counts)

    @torch.inference_mode()
    def render(clip: WindowClip, run: np.ndarray) -> MethodOutput | None:
        """Render frames [N] of a clip."""
        vertices = vertices_to_render(clip, target_geometry)
        if vertices is None:
            return None
        ranks = rank_run(model, clip, mesh, vertices, run, strategy=strategy)
        if not are_far(clip, ranks, run):
            return None
        if not has_lip_references:
            ranks = [with_face_references_only(ranked) for ranked in ranks]
        prior = clip.once("prior", lambda: learn_textures(clip, mesh)) if has_texture_prior else None
        device = device_of(model)
        inputs = clip.latest(
            (*choices, device, *run.tolist()),
            lambda: gather_inputs(clip, mesh, vertices, ranks, run, prior=prior, device=device),
        )
        features = encode(model, clip, mesh, np.concatenate([inputs.lip_frames, inputs.face_frames], 1))
        rendering = render_in(torch.float32, model, inputs.batch.target, *inputs.batch.references(features))
        return MethodOutput(
            images=rendering.faces.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255,
            lip_frames=inputs.lip_frames,
            face_frames=inputs.face_frames,
            rendering=rendering,
            has_offsets=model.config.attention == "anchored",
        )

    return render


def rank_run(
    model: DualAttentionRenderer,
    clip: WindowClip,
    mesh: FaceMesh,
    vertices: np.ndarray,
    run: np.ndarray,
    *,
    strategy: str,
) -> list[RankedReferences]:
    """Rank the references of a run's frames [N] as a dub of the whole clip does; vertices [T, V, 3] IOD to render."""
    geometry = clip.geometry
    descriptors = lip_descriptors(vertices, geometry.template, geometry.rotation)
    candidates = clip.once(
        ("candidates", strategy, id(vertices)),
        lambda: choose_candidates(geometry, mesh, descriptors[geometry.valid], strategy=strategy),
    )
    return [
        rank_references(candidates, model.config, descriptors[t], geometry.rotation[t], float(geometry.times[t]))
        for t in run.tolist()
    ]


def with_face_references_only(ranked: RankedReferences) -> RankedReferences:
    """Let Lip-Attention look at Face-Attention's references."""
    return RankedReferences(
        lip_frames=ranked.face_frames,
        lip_log_weights=ranked.face_log_weights,
        face_frames=ranked.face_frames,
        face_log_weights=ranked.face_log_weights,
    )


def are_far(clip: WindowClip, ranks: list[RankedReferences], run: np.ndarray) -> bool:
    """Whether what counts most in each frame of a run lies so far away that it knows nothing of it."""
    times = clip.geometry.times
    for frame, ranked in zip(run.tolist(), ranks, strict=True):
        heaviest = [
            ranked.lip_frames[ranked.lip_log_weights.argmax()],
            ranked.face_frames[ranked.face_log_weights.argmax()],
        ]
        if not is_far(np.abs(times[heaviest] - times[frame])).all():
            return False
    return True


def learn_textures(clip: WindowClip, mesh: FaceMesh) -> TexturePrior | None:
    """Learn from the frames that a dub of the clip would learn from; None where they are too few."""
    frames = spread_frames(np.flatnonzero(clip.geometry.valid), MAX_TEXTURES).tolist()
    if len(frames) < MIN_TEXTURES:
        return None
    return TexturePrior(mesh, clip.geometry, [texture_frame(t, clip.images[t], clip.projected[t]) for t in frames])


def gather_inputs(
    clip: WindowClip,
    mesh: FaceMesh,
    vertices: np.ndarray,
    ranks: list[RankedReferences],
    run: np.ndarray,
    *,
    prior: TexturePrior | None,
    device: torch.device | str = "cpu",
) -> RunInputs:
    """Gather what a renderer may know of a run's frames.

    Args:
        vertices: [T, V, 3] IOD to render.
        ranks: of the frames.
        run: [N] frames.
        prior: of the clip.
        device: where the renderer computes.
    """
    geometry = clip.geometry
    mouths = lip_descriptors(vertices, geometry.template, geometry.rotation)
    frames = [
        frame_inputs(
            mesh,
            geometry.pose(t, vertices[t], clip.window[t]),
            clip.images[t],
            AttendedReferences(
                lip=[reference_of(clip, mesh, int(i)) for i in ranked.lip_frames],
                lip_log_weights=ranked.lip_log_weights,
                face=[reference_of(clip, mesh, int(i)) for i in ranked.face_frames],
                face_log_weights=ranked.face_log_weights,
            ),
            PriorQuery(prior=prior, mouth=mouths[t], time=float(geometry.times[t])),
        )
        for t, ranked in zip(run.tolist(), ranks, strict=True)
    ]
    return RunInputs(
        batch=stack_frames(frames, device),
        lip_frames=np.stack([ranked.lip_frames for ranked in ranks]),
        face_frames=np.stack([ranked.face_frames for ranked in ranks]),
    )


def encode(model: DualAttentionRenderer, clip: WindowClip, mesh: FaceMesh, frames: np.ndarray) -> Tensor:
    """Encode references [N, R] by number, once for each of the clip's frames: [N, R, D, h, w]."""
    known, device = {}, device_of(model)

    def encoding(entry: ReferenceFrame) -> Tensor:
        return model.encode_references(images_of([entry], device), maps_of([entry], device))[0]

    for frame in np.unique(frames).tolist():
        entry = reference_of(clip, mesh, frame)
        known[frame] = clip.once((model.encode, frame), partial(encoding, entry))
    return torch.stack([torch.stack([known[t] for t in row]) for row in frames.tolist()])


def reference_of(clip: WindowClip, mesh: FaceMesh, t: int) -> ReferenceFrame:
    """Prepare a frame of a clip as a reference, once."""
    pose = clip.geometry.pose(t, clip.head_vertices[t], clip.window[t])
    return clip.once(("reference", t), lambda: reference_frame(mesh, pose, clip.images[t]))
