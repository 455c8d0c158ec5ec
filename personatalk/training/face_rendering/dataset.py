"""Training samples of stage 2: frames of a clip whose mouth is hidden, with references from the same clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personatalk.face_rendering.inputs import (
    ReferenceFrame,
    correspondences,
    images_of,
    make_target,
    maps_of,
    reference_frame,
    stack_targets,
)
from personatalk.face_rendering.reference_selection import (
    FADE_GAP,
    MIN_GAP,
    rank_face_references,
    rank_lip_references,
    select_lip_references,
)
from personatalk.face_rendering.renderer import Target
from personatalk.face_rendering.texture_prior import (
    MIN_TEXTURES,
    TexturePrior,
    nothing_predicted,
    spread_frames,
    texture_frame,
)
from personatalk.geometry.camera import window_from_image
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.training.corpus import Clip, cache_path

MIN_CLIP_FRAMES = 24
DISTURBANCE = 0.4  # largest share of a difference between two mouths by which a target is disturbed
MAX_TEXTURES = 100  # from which a clip's prior learns; more cost time
FACE_STRIDE = 2  # frames between the face references that a clip offers


@dataclass(frozen=True, kw_only=True)
class RendererBatch:
    """Targets with their references and the truth.

    Attributes:
        target: what the renderer knows.
        truth: [B, 3, H, W] in [0, 1].
        lip_images: [B, R, 3, H, W]; likewise maps [B, R, 8, h, w], grids [B, R, H, W, 2], log_weights [B, R].
    """

    target: Target
    truth: Tensor
    lip_images: Tensor
    lip_maps: Tensor
    lip_grids: Tensor
    lip_log_weights: Tensor
    face_images: Tensor
    face_maps: Tensor
    face_grids: Tensor
    face_log_weights: Tensor


class ClipFrames:
    """The cached windows and geometry of one clip, and what they tell of its textures if that is asked for."""

    def __init__(self, corpus: Path, name: str, mesh: FaceMesh, *, has_prior: bool) -> None:
        self.windows = np.load(corpus / "windows" / f"{name}.npy", mmap_mode="r")
        self.geometry = FaceGeometry.load(corpus / "geometry" / f"{name}.npz")
        self.affines = window_from_image(self.geometry)
        self.head_vertices = mesh.face_model.vertices(self.geometry.template, self.geometry.expression)
        self.descriptors = lip_descriptors(self.head_vertices, self.geometry.template, self.geometry.rotation)
        self.valid = np.flatnonzero(self.geometry.valid)
        self.prior: TexturePrior | None = None
        if has_prior and len(learnt := spread_frames(self.valid, MAX_TEXTURES)) >= MIN_TEXTURES:
            frames = [texture_frame(t, self.windows[t], self._place(mesh, t)) for t in learnt.tolist()]
            self.prior = TexturePrior(mesh, self.geometry, frames)

    def _place(self, mesh: FaceMesh, t: int) -> np.ndarray:
        return mesh.project(self.head_vertices[t], self.geometry, t, self.affines[t])


class RendererDataset:
    """Training samples of stage 2, one for each (step, place in the batch).

    Args:
        corpus: folder that `preprocess` filled.
        clips: to draw from; those without windows are left out.
        mesh: the face mesh.
        num_lip: lip references a sample.
        num_face: face references a sample.
        bank_size: lip references a clip offers.
        disturbed_share: share of targets whose geometry is disturbed.
        prior_share: share of targets that are given what the clip's textures predict.
        in_pairs: frames 2 n and 2 n + 1 of a batch follow each other in a clip.
    """

    def __init__(
        self, corpus: Path, clips: list[Clip], mesh: FaceMesh, *, num_lip: int, num_face: int, bank_size: int,
        disturbed_share: float = 0.0, prior_share: float = 1.0, in_pairs: bool = False,
    ) -> None:  # fmt: skip
        self.mesh, self.num_lip, self.num_face, self.bank_size = mesh, num_lip, num_face, bank_size
        self.disturbed_share, self.prior_share, self.in_pairs = disturbed_share, prior_share, in_pairs
        self.by_person: dict[str, list[str]] = defaultdict(list)
        for clip in clips:
            path = cache_path(corpus, "windows", clip)
            if path.exists() and len(np.load(path, mmap_mode="r")) >= MIN_CLIP_FRAMES:
                self.by_person[clip.person].append(clip.name)
        self.persons = sorted(self.by_person)
        self.load = lru_cache(maxsize=64)(lambda name: ClipFrames(corpus, name, mesh, has_prior=prior_share > 0))

    def sample(self, rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
        """Draw a person, a clip, a frame, or two that follow each other, and their references."""
        person = self.persons[rng.integers(len(self.persons))]
        names = self.by_person[person]
        clip = self.load(names[rng.integers(len(names))])
        run = np.arange(2 if self.in_pairs else 1)
        firsts = clip.valid[np.isin(clip.valid + run[-1], clip.valid)]
        return self.sample_of(clip, int(rng.choice(firsts)) + run, rng)

    def sample_of(self, clip: ClipFrames, run: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
        """Build the samples of frames that follow each other: target, truth, then images, maps, grids, log-weights.

        Args:
            run: [N] frames; they share what they may choose their references from, and how far they are disturbed.
        """
        gap = np.abs(clip.valid[:, None] - run).min(1)
        far = clip.valid[gap >= MIN_GAP]
        if len(far) < self.num_lip:
            far = clip.valid[np.argsort(-gap)[: self.num_lip]]
        offered = far if len(far) <= 40 else rng.choice(far, 40, replace=False)
        bank = offered[select_lip_references(clip.descriptors[offered], clip.descriptors[clip.valid], self.bank_size)]
        keys = far[np.unique(np.linspace(0, len(far) - 1, max(2, len(far) // FACE_STRIDE)).astype(int))]
        disturbance = self.disturbance(clip, rng) if rng.random() < self.disturbed_share else 0
        prior = clip.prior if rng.random() < self.prior_share else None
        return [self._sample(clip, int(frame), bank, keys, disturbance, prior) for frame in run]

    def _sample(
        self, clip: ClipFrames, frame: int, bank: np.ndarray, keys: np.ndarray, disturbance: np.ndarray | float,
        prior: TexturePrior | None,
    ) -> tuple[np.ndarray, ...]:  # fmt: skip
        gap = np.maximum(np.abs(bank - frame), FADE_GAP)
        lips, lip_weights = rank_lip_references(clip.descriptors[bank], clip.descriptors[frame], gap, self.num_lip)
        faces, face_weights = rank_face_references(np.maximum(np.abs(keys - frame), FADE_GAP), self.num_face)
        lip_frames = [self.reference(clip, int(bank[i])) for i in lips]
        face_frames = [self.reference(clip, int(keys[i])) for i in faces]
        vertices = clip.head_vertices[frame] + disturbance
        target, projected = make_target(
            self.mesh, clip.geometry, vertices, clip.affines[frame], frame, clip.windows[frame]
        )
        target["prior"] = nothing_predicted()
        if prior:
            here = slice(frame, frame + 1)
            (mouth,) = lip_descriptors(vertices[None], clip.geometry.template, clip.geometry.rotation[here])
            target["prior"] = prior.predict(target["image"], projected, vertices, mouth, frame)
        grids = correspondences(self.mesh, projected, lip_frames + face_frames)
        return target, clip.windows[frame], lip_frames, face_frames, grids, lip_weights, face_weights

    def disturbance(self, clip: ClipFrames, rng: np.random.Generator) -> np.ndarray:
        """[V, 3] IOD: the difference of two frames' mouths, scaled down; wrong in the way that mouths can be.

        Ours: the paper does not speak of it.
        """
        first, second = rng.choice(clip.valid, 2)
        return rng.uniform(0, DISTURBANCE) * (clip.head_vertices[first] - clip.head_vertices[second])

    def reference(self, clip: ClipFrames, index: int) -> ReferenceFrame:
        """Prepare a frame of the clip as a reference."""
        return reference_frame(
            self.mesh, clip.geometry, clip.head_vertices[index], clip.affines[index], index, clip.windows[index]
        )

    def batch(self, samples: list[tuple]) -> RendererBatch:
        """Stack samples."""
        targets, truths, lips, faces, grids, lip_weights, face_weights = zip(*samples, strict=True)
        stacked = torch.from_numpy(np.stack(grids))
        return RendererBatch(
            target=stack_targets(list(targets)),
            truth=torch.from_numpy(np.stack(truths)).permute(0, 3, 1, 2).float() / 255,
            lip_images=torch.stack([images_of(frames) for frames in lips]),
            lip_maps=torch.stack([maps_of(frames) for frames in lips]),
            lip_grids=stacked[:, : self.num_lip],
            lip_log_weights=torch.from_numpy(np.stack(lip_weights)),
            face_images=torch.stack([images_of(frames) for frames in faces]),
            face_maps=torch.stack([maps_of(frames) for frames in faces]),
            face_grids=stacked[:, self.num_lip :],
            face_log_weights=torch.from_numpy(np.stack(face_weights)),
        )

    def batch_at(self, step: int, size: int, seed: int = 0) -> RendererBatch:
        """Build the batch of a step, of an even size where frames come in pairs; the same step gives the same batch."""
        rng = np.random.default_rng((seed, step))
        draws = size // 2 if self.in_pairs else size
        return self.batch([sample for _ in range(draws) for sample in self.sample(rng)])


class Prefetcher:
    """Builds the batches of coming steps in a thread.

    Args:
        build: step -> batch.
        depth: how many steps ahead.
    """

    def __init__(self, build: Callable[[int], RendererBatch], depth: int = 3) -> None:
        self.build, self.depth = build, depth
        self.pool = ThreadPoolExecutor(1)
        self.pending: dict[int, Future[RendererBatch]] = {}

    def __call__(self, step: int) -> RendererBatch:
        """Return the batch of a step, and have the next ones built meanwhile."""
        for ahead in range(step, step + self.depth):
            if ahead not in self.pending:
                self.pending[ahead] = self.pool.submit(self.build, ahead)
        return self.pending.pop(step).result()
