"""Training samples of stage 2: frames of a clip whose mouth is hidden, with references from the same clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from personatalk.face_rendering.inputs import (
    AttendedReferences,
    FrameBatch,
    FrameInputs,
    PriorQuery,
    ReferenceFrame,
    frame_inputs,
    reference_frame,
    stack_frames,
)
from personatalk.face_rendering.reference_selection import (
    FADE_S,
    is_far,
    rank_face_references,
    rank_lip_references,
    select_lip_references,
    spread_frames,
)
from personatalk.face_rendering.texture_prior import MIN_TEXTURES, TexturePrior, texture_frame
from personatalk.geometry.camera import window_from_image
from personatalk.geometry.face_geometry import FaceGeometry, FramePose
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.training.corpus import Clip, cache_path

Batch = TypeVar("Batch")
MIN_CLIP_FRAMES = 24
DISTURBANCE = 0.4  # largest share of a difference between two mouths by which a target is disturbed
MAX_TEXTURES = 100  # from which a clip's prior learns; more cost time
FACE_STRIDE_S = 0.08  # s between the face references that a clip offers
MAX_OFFERED = 40  # frames of a clip among which lip references are chosen for one sample


@dataclass(frozen=True, kw_only=True)
class RendererBatch:
    """Targets with their references and the truth.

    Attributes:
        frames: what the renderer knows.
        truth: [B, 3, H, W] in [0, 1].
    """

    frames: FrameBatch
    truth: Tensor

    def to(self, device: torch.device | str) -> RendererBatch:
        """Move to a device."""
        return RendererBatch(frames=self.frames.to(device), truth=self.truth.to(device))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training sample: what the renderer knows, and the true window [160, 192, 3] uint8."""

    inputs: FrameInputs
    truth: np.ndarray


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
            frames = [texture_frame(t, self.windows[t], mesh.project(self.pose(t))) for t in learnt.tolist()]
            self.prior = TexturePrior(mesh, self.geometry, frames)

    def pose(self, t: int, disturbance: np.ndarray | float = 0.0) -> FramePose:
        """A frame's face, its target the window; disturbance [V, 3] IOD is added to its vertices."""
        return self.geometry.pose(t, self.head_vertices[t] + disturbance, self.affines[t])


def clips_by_person(corpus: Path, clips: list[Clip]) -> dict[str, list[str]]:
    """Names of each person's clips that `preprocess` made windows of, those that are too short left out."""
    by_person: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        path = cache_path(corpus, "windows", clip)
        if path.exists() and len(np.load(path, mmap_mode="r")) >= MIN_CLIP_FRAMES:
            by_person[clip.person].append(clip.name)
    return by_person


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
        self,
        corpus: Path,
        clips: list[Clip],
        mesh: FaceMesh,
        *,
        num_lip: int,
        num_face: int,
        bank_size: int,
        disturbed_share: float = 0.0,
        prior_share: float = 1.0,
        in_pairs: bool = False,
    ) -> None:
        self.mesh, self.num_lip, self.num_face, self.bank_size = mesh, num_lip, num_face, bank_size
        self.disturbed_share, self.prior_share, self.in_pairs = disturbed_share, prior_share, in_pairs
        self.by_person = clips_by_person(corpus, clips)
        self.persons = sorted(self.by_person)
        self.load = lru_cache(maxsize=64)(lambda name: ClipFrames(corpus, name, mesh, has_prior=prior_share > 0))

    def sample(self, rng: np.random.Generator) -> list[Sample]:
        """Draw a person, a clip, a frame, or two that follow each other, and their references."""
        person = self.persons[rng.integers(len(self.persons))]
        names = self.by_person[person]
        clip = self.load(names[rng.integers(len(names))])
        run = np.arange(2 if self.in_pairs else 1)
        firsts = clip.valid[np.isin(clip.valid + run[-1], clip.valid)]
        return self.sample_of(clip, int(rng.choice(firsts)) + run, rng)

    def sample_of(self, clip: ClipFrames, run: np.ndarray, rng: np.random.Generator) -> list[Sample]:
        """Build the samples of frames that follow each other.

        Args:
            run: [N] frames; they share what they may choose their references from, and how far they are disturbed.
        """
        times = clip.geometry.times
        gap_s = np.abs(times[clip.valid][:, None] - times[run]).min(1)
        far = clip.valid[is_far(gap_s)]
        if len(far) < self.num_lip:
            far = clip.valid[np.argsort(-gap_s)[: self.num_lip]]
        offered = far if len(far) <= MAX_OFFERED else rng.choice(far, MAX_OFFERED, replace=False)
        bank = offered[select_lip_references(clip.descriptors[offered], clip.descriptors[clip.valid], self.bank_size)]
        faces = spread_frames(far, max(2, len(far) // clip.geometry.frames_in(FACE_STRIDE_S)))
        disturbance = self.disturbance(clip, rng) if rng.random() < self.disturbed_share else 0
        prior = clip.prior if rng.random() < self.prior_share else None
        return [self._sample(clip, int(frame), (bank, faces), disturbance, prior) for frame in run]

    def _sample(
        self,
        clip: ClipFrames,
        frame: int,
        offered: tuple[np.ndarray, np.ndarray],
        disturbance: np.ndarray | float,
        prior: TexturePrior | None,
    ) -> Sample:
        """Build the sample of a frame, with references among those that the clip offers: lip [L], face [F]."""
        pose = clip.pose(frame, disturbance)
        references, query = self.references(clip, frame, *offered), self.query(clip, pose, prior)
        inputs = frame_inputs(self.mesh, pose, clip.windows[frame], references, query)
        return Sample(inputs=inputs, truth=clip.windows[frame])

    def references(self, clip: ClipFrames, frame: int, bank: np.ndarray, faces: np.ndarray) -> AttendedReferences:
        """Rank the references of a frame among lip references [L] and face references [F] that a clip offers.

        None of them fades for being near: all that are offered are far enough.
        """
        times = clip.geometry.times
        lip_gap, face_gap = (np.maximum(np.abs(times[some] - times[frame]), FADE_S[1]) for some in (bank, faces))
        lips, lip_log_weights = rank_lip_references(
            clip.descriptors[bank], clip.descriptors[frame], lip_gap, self.num_lip
        )
        chosen, face_log_weights = rank_face_references(face_gap, self.num_face)
        return AttendedReferences(
            lip=[self.reference(clip, int(bank[i])) for i in lips],
            lip_log_weights=lip_log_weights,
            face=[self.reference(clip, int(faces[i])) for i in chosen],
            face_log_weights=face_log_weights,
        )

    def query(self, clip: ClipFrames, pose: FramePose, prior: TexturePrior | None) -> PriorQuery:
        """What is asked of a clip's texture prior for a face, which may be disturbed."""
        rotation = clip.geometry.rotation[pose.frame : pose.frame + 1]
        (mouth,) = lip_descriptors(pose.vertices[None], pose.template, rotation)
        return PriorQuery(prior=prior, mouth=mouth, time=float(clip.geometry.times[pose.frame]))

    def disturbance(self, clip: ClipFrames, rng: np.random.Generator) -> np.ndarray:
        """[V, 3] IOD: the difference of two frames' mouths, scaled down; wrong in the way that mouths can be.

        Ours: stage 1's geometry is never exact, and a renderer trained on exact geometry alone trusts it too much.
        """
        first, second = rng.choice(clip.valid, 2)
        return rng.uniform(0, DISTURBANCE) * (clip.head_vertices[first] - clip.head_vertices[second])

    def reference(self, clip: ClipFrames, index: int) -> ReferenceFrame:
        """Prepare a frame of the clip as a reference."""
        return reference_frame(self.mesh, clip.pose(index), clip.windows[index])

    def batch(self, samples: list[Sample]) -> RendererBatch:
        """Stack samples."""
        truth = torch.from_numpy(np.stack([sample.truth for sample in samples]))
        return RendererBatch(
            frames=stack_frames([sample.inputs for sample in samples]),
            truth=truth.permute(0, 3, 1, 2).float() / 255,
        )

    def batch_at(self, step: int, size: int, seed: int = 0) -> RendererBatch:
        """Build the batch of a step, of an even size where frames come in pairs; the same step gives the same batch."""
        rng = np.random.default_rng((seed, step))
        draws = size // 2 if self.in_pairs else size
        return self.batch([sample for _ in range(draws) for sample in self.sample(rng)])


class Prefetcher(Generic[Batch]):
    """Builds the batches of coming steps in a thread.

    Args:
        build: step -> batch.
        depth: how many steps ahead.
    """

    def __init__(self, build: Callable[[int], Batch], depth: int = 3) -> None:
        self.build, self.depth = build, depth
        self.pool = ThreadPoolExecutor(1)
        self.pending: dict[int, Future[Batch]] = {}

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step, and have the next ones built meanwhile."""
        for ahead in range(step, step + self.depth):
            if ahead not in self.pending:
                self.pending[ahead] = self.pool.submit(self.build, ahead)
        return self.pending.pop(step).result()
