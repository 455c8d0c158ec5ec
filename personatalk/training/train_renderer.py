"""Train stage 2: draw frames of a clip, hide the mouth, render it again from other frames of the clip."""

from __future__ import annotations

import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.camera import window_from_image
from personatalk.config import RendererTrainingConfig
from personatalk.face_model import FaceModel
from personatalk.fitting import FaceGeometry
from personatalk.geometry_maps import FaceMesh
from personatalk.perceptual import EfficientNetLite0
from personatalk.references import (
    FADE_GAP,
    MIN_GAP,
    lip_descriptors,
    rank_face_references,
    rank_lip_references,
    select_lip_references,
)
from personatalk.render_inputs import (
    ReferenceFrame,
    correspondences,
    images_of,
    make_target,
    maps_of,
    reference_frame,
    stack_targets,
)
from personatalk.renderer import DualAttentionRenderer, References, Rendering, Target
from personatalk.training.preprocess import Clip

MIN_CLIP_FRAMES = 24
FACE_STRIDE = 10  # frames between the face references that a clip offers

logger = logging.getLogger(__name__)


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
    """The cached windows and geometry of one clip."""

    def __init__(self, corpus: Path, name: str, mesh: FaceMesh) -> None:
        self.windows = np.load(corpus / "windows" / f"{name}.npy", mmap_mode="r")
        self.geometry = FaceGeometry.load(corpus / "geometry" / f"{name}.npz")
        self.affines = window_from_image(self.geometry)
        self.head_vertices = mesh.face_model.vertices(self.geometry.template, self.geometry.expression)
        self.descriptors = lip_descriptors(self.head_vertices, self.geometry.template, self.geometry.rotation)
        self.valid = np.flatnonzero(self.geometry.valid)


class RendererDataset:
    """Training samples of stage 2, one for each (step, place in the batch).

    Args:
        corpus: folder that `preprocess` filled.
        clips: to draw from; those without windows are left out.
        mesh: the face mesh.
        num_lip: lip references a sample.
        num_face: face references a sample.
        bank_size: lip references a clip offers.
    """

    def __init__(
        self, corpus: Path, clips: list[Clip], mesh: FaceMesh, *, num_lip: int, num_face: int, bank_size: int
    ) -> None:
        self.mesh, self.num_lip, self.num_face, self.bank_size = mesh, num_lip, num_face, bank_size
        self.by_person: dict[str, list[str]] = defaultdict(list)
        for clip in clips:
            path = corpus / "windows" / f"{clip.name}.npy"
            if path.exists() and len(np.load(path, mmap_mode="r")) >= MIN_CLIP_FRAMES:
                self.by_person[clip.person].append(clip.name)
        self.persons = sorted(self.by_person)
        self.load = lru_cache(maxsize=64)(lambda name: ClipFrames(corpus, name, mesh))

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Draw a person, a clip, a frame and its references."""
        person = self.persons[rng.integers(len(self.persons))]
        names = self.by_person[person]
        clip = self.load(names[rng.integers(len(names))])
        return self.sample_of(clip, int(rng.choice(clip.valid)), rng)

    def sample_of(self, clip: ClipFrames, frame: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Build the sample of one frame: target, truth, then images, maps, grids and log-weights of lips and face."""
        far = clip.valid[np.abs(clip.valid - frame) >= MIN_GAP]
        if len(far) < self.num_lip:
            far = clip.valid[np.argsort(-np.abs(clip.valid - frame))[: self.num_lip]]
        offered = far if len(far) <= 40 else rng.choice(far, 40, replace=False)
        bank = offered[select_lip_references(clip.descriptors[offered], clip.descriptors[clip.valid], self.bank_size)]
        gap = np.maximum(np.abs(bank - frame), FADE_GAP)
        lips, lip_weights = rank_lip_references(clip.descriptors[bank], clip.descriptors[frame], gap, self.num_lip)
        keys = far[np.unique(np.linspace(0, len(far) - 1, max(2, len(far) // FACE_STRIDE)).astype(int))]
        faces, face_weights = rank_face_references(np.maximum(np.abs(keys - frame), FADE_GAP), self.num_face)
        lip_frames = [self.reference(clip, int(bank[i])) for i in lips]
        face_frames = [self.reference(clip, int(keys[i])) for i in faces]
        target, placed = make_target(
            self.mesh, clip.geometry, clip.head_vertices[frame], clip.affines[frame], frame, clip.windows[frame]
        )
        grids = correspondences(self.mesh, placed, lip_frames + face_frames)
        return target, clip.windows[frame], lip_frames, face_frames, grids, lip_weights, face_weights

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
        """Build the batch of a step; the same step gives the same batch."""
        rng = np.random.default_rng((seed, step))
        return self.batch([self.sample(rng) for _ in range(size)])


def render_batch(model: DualAttentionRenderer, batch: RendererBatch) -> Rendering:
    """Encode the references of a batch and render its targets."""
    num_lip = batch.lip_images.shape[1]
    images = torch.cat([batch.lip_images, batch.face_images], 1)
    maps = torch.cat([batch.lip_maps, batch.face_maps], 1)
    features = model.encode_references(images.flatten(0, 1), maps.flatten(0, 1)).unflatten(0, images.shape[:2])
    return model(
        batch.target,
        References(
            features=features[:, :num_lip], images=batch.lip_images, grids=batch.lip_grids,
            log_weights=batch.lip_log_weights,
        ),
        References(
            features=features[:, num_lip:], images=batch.face_images, grids=batch.face_grids,
            log_weights=batch.face_log_weights,
        ),
    )  # fmt: skip


class RendererLosses:
    """The named losses of stage 2.

    Args:
        config: of the run.
        perceptual: frozen network whose features are compared.
    """

    def __init__(self, config: RendererTrainingConfig, perceptual: EfficientNetLite0) -> None:
        self.config, self.perceptual = config, perceptual

    def __call__(self, model: nn.Module, batch: RendererBatch) -> dict[str, Tensor]:
        rendering = render_batch(model, batch)
        mask, truth = batch.target.mask, batch.truth
        lips = F.interpolate(batch.target.geometry[:, -1:], size=mask.shape[-2:], mode="bilinear", align_corners=False)
        weight = mask * (1 + self.config.lip_weight * lips)
        weight = weight / weight.mean()
        faces = rendering.faces.float()
        composed = faces * mask + truth * (1 - mask)
        reconstruction = sum(
            (F.avg_pool2d((faces - truth).abs() * weight, scale) if scale == 1 else
             (F.avg_pool2d((faces - truth) * weight, scale)).abs()).mean()
            for scale in (1, 4)
        )  # fmt: skip
        lip_error = ((rendering.lip.texture.float() - truth).abs() * mask * lips).mean() / (mask * lips).mean()
        face_error = ((rendering.face.texture.float() - truth).abs() * mask * (1 - lips)).mean()
        return {
            "reconstruction": reconstruction,
            "samples": lip_error + face_error / (mask * (1 - lips)).mean(),
            "gradient": gradient_difference(faces, truth, weight),
            "perceptual": self.perceptual_difference(composed, truth),
        }

    def perceptual_difference(self, images: Tensor, truth: Tensor) -> Tensor:
        """Relative distance of the features of two images [B, 3, H, W], summed over stages."""
        with torch.no_grad():
            wanted = self.perceptual.features(truth)
        got = self.perceptual.features(images)
        return sum((a - b).abs().mean() / (b.abs().mean() + 1e-6) for a, b in zip(got, wanted, strict=True))


def gradient_difference(images: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean difference of the differences of neighbouring pixels, which asks for edges where they belong."""
    difference = images - truth
    across = (difference[..., 1:] - difference[..., :-1]).abs() * weight[..., 1:]
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * weight[..., 1:, :]
    return across.mean() + down.mean()


class Prefetcher:
    """Builds the batches of coming steps in a thread.

    Args:
        build: step -> batch.
        depth: how many steps ahead.
    """

    def __init__(self, build, depth: int = 3) -> None:
        self.build, self.depth = build, depth
        self.pool = ThreadPoolExecutor(1)
        self.pending: dict = {}

    def __call__(self, step: int):
        for ahead in range(step, step + self.depth):
            if ahead not in self.pending:
                self.pending[ahead] = self.pool.submit(self.build, ahead)
        return self.pending.pop(step).result()


def region_psnr(images: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """[B] PSNR in dB of images [B, 3, H, W] in [0, 1] within a soft region [B, 1, H, W]."""
    error = ((images.clamp(0, 1) - truth).square() * region).flatten(1).sum(1) / (3 * region.flatten(1).sum(1))
    return -10 * torch.log10(error + 1e-10)


@torch.no_grad()
def validate_renderer(model: DualAttentionRenderer, batches: list[RendererBatch]) -> dict[str, float]:
    """Measure PSNR on held-out persons; `loss` is the negative of the lips' and the lower face's mean."""
    lower, lips, sampled = [], [], []
    for batch in batches:
        rendering = render_batch(model, batch)
        mask = (batch.target.mask > 0.5).float()
        region = F.interpolate(batch.target.geometry[:, -1:], size=mask.shape[-2:], mode="bilinear", align_corners=False)
        lower.append(region_psnr(rendering.faces, batch.truth, mask))
        lips.append(region_psnr(rendering.faces, batch.truth, (region > 0.5) * mask))
        sampled.append(region_psnr(rendering.lip.texture, batch.truth, (region > 0.5) * mask))
    lower_db, lips_db = torch.cat(lower).mean().item(), torch.cat(lips).mean().item()
    sampled_db = torch.cat(sampled).mean().item()
    return {"loss": -(lower_db + lips_db) / 2, "lower_psnr": lower_db, "lips_psnr": lips_db, "lip_sample_psnr": sampled_db}


def train_renderer(
    corpus: Path,
    clips: list[Clip],
    folder: Path,
    *,
    checkpoints: Path,
    config: RendererTrainingConfig,
    model_config,
    bfloat16: bool = False,
) -> DualAttentionRenderer:
    """Train, or go on training, stage 2; returns the averaged model.

    Args:
        corpus: folder that `preprocess` filled.
        clips: of the manifest; splits decide.
        folder: of the run; an existing state is continued.
        checkpoints: where face model and perceptual network lie.
        config: of the run.
        model_config: of the renderer.
        bfloat16: compute in bfloat16 where the processor is fast at it.
    """
    from personatalk.training.loop import STATE_NAME, TrainState, train

    folder.mkdir(parents=True, exist_ok=True)
    mesh = FaceMesh(FaceModel.load(checkpoints / "face_model.safetensors"))
    sizes = dict(
        num_lip=model_config.num_lip_references, num_face=model_config.num_face_references, bank_size=config.bank_size
    )
    training = RendererDataset(corpus, [clip for clip in clips if clip.split == "train"], mesh, **sizes)
    held_out = RendererDataset(corpus, [clip for clip in clips if clip.split == "val"], mesh, **sizes)
    model = DualAttentionRenderer(model_config).to(memory_format=torch.channels_last)
    state = TrainState(
        model=model, optimizer=torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    )
    if (folder / STATE_NAME).exists():
        state.load(folder / STATE_NAME)
    losses = RendererLosses(config, EfficientNetLite0.load(checkpoints / "efficientnet_lite0.safetensors"))
    batches = [held_out.batch_at(step, 8, seed=1) for step in range(8)]

    def losses_of(model: nn.Module, batch: RendererBatch) -> dict[str, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            return losses(model, batch)

    train(
        state,
        config,
        losses_of=losses_of,
        batch_at=Prefetcher(lambda step: training.batch_at(step, config.batch_size, config.seed)),
        validate=lambda model: validate_renderer(model, batches),
        watch="loss",
        folder=folder,
    )
    return state.ema
