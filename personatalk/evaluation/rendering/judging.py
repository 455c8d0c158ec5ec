"""MethodOutput frames of a clip, judged by the true ones: likeness, sharpness, filter_over_time, seam and identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from personatalk import metrics
from personatalk.evaluation.rendering.windows import MethodOutput, WindowClip, masks_of
from personatalk.face_rendering.inputs import device_of
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_SCALE, WINDOW_WIDTH, invert_affine
from personatalk.geometry.face_model import OUTER_LIPS
from personatalk.geometry.mesh import MAP_STRIDE, FaceMesh
from personatalk.metrics.perceptual import LPIPS_FILES, Lpips
from personatalk.persons.embedding import CHIP_PX, FACE_FILES, FaceEmbedder, chip_from_image, embed

LIP_MARGIN_PX = 4  # of the window
IDENTITY_STEP = 10  # frames between the true frames that say how much a face differs from itself
IDENTITY_EVERY = 3  # frames of a run whose identity is judged, since it changes slowly


@dataclass(frozen=True, kw_only=True)
class Judges:
    """The networks that judge."""

    lpips: Lpips
    embedder: FaceEmbedder

    @classmethod
    def load(cls, checkpoints: Path, device: torch.device | str = "cpu") -> Judges:
        """Load them from a folder of weights, onto a device."""
        return cls(
            lpips=Lpips.load(*(checkpoints / name for name in LPIPS_FILES)).to(device),
            embedder=FaceEmbedder.load(*(checkpoints / name for name in FACE_FILES)).to(device),
        )


class RunTruth:
    """Judges what methods painted of one run of frames; what depends on the truth alone is computed once.

    The lower face is where the mask is above a half.

    Args:
        clip: gives the true frames.
        run: [N] judged frames.
        mesh: the face mesh.
        judges: the networks.
    """

    def __init__(self, clip: WindowClip, run: np.ndarray, mesh: FaceMesh, judges: Judges) -> None:
        self.clip, self.run, self.judges = clip, run, judges
        self.images, self.masks = clip.images[run], masks_of(clip, run, mesh)
        self.lower = self.masks > 0.5
        self.lips = np.stack([lip_mask(points, WINDOW_HEIGHT, WINDOW_WIDTH) for points in clip.projected[run]])
        self.boxes = {"lower_face": (0, 0, WINDOW_WIDTH, WINDOW_HEIGHT), "lips": _box(np.asarray(self.lips.any(0)))}
        self.features = {name: self._lpips_features(name, self.images) for name in self.boxes}
        self.identity_rows = np.arange(0, len(run), IDENTITY_EVERY)
        self.embedded = embed(judges.embedder, clip.chips[run[self.identity_rows]])
        self.own_distance = clip.once("own distance", lambda: own_identity_distance(clip, judges.embedder))

    def blend(self, painted: MethodOutput) -> np.ndarray:
        """Put what was painted into the true frames: [N, H, W, 3] uint8; alike for every method."""
        return put_into(self.images, painted.images, self.masks)

    def figures(self, painted: MethodOutput) -> dict[str, float]:
        """Judge what a method painted.

        Returns:
            PSNR of lower face and lips in dB; LPIPS of the lower face and of the lips' box; sharpness in the lips as a
            share of the truth's; flicker, mean |dI(out) - dI(true)| in the lower face, levels of 255; seam, gradient
            where the mask is a half, as a share of the truth's; identity, distance of embeddings as a share of that
            between true frames ten apart; of renderers also the shares of attention that change references a frame.
        """
        images = self.blend(painted)
        pairs = list(zip(images, self.images, self.lips, strict=True))
        edges = zip(images, self.images, self.lower, strict=True)
        return {
            "psnr_lower_face": metrics.psnr(images, self.images, self.lower),
            "psnr_lips": metrics.psnr(images, self.images, self.lips),
            **{f"lpips_{name}": self._lpips(name, images) for name in self.boxes},
            # a ratio, so its mean is the geometric one
            "sharpness_lips": float(np.exp(np.mean([np.log(metrics.sharpness_ratio(*pair)) for pair in pairs]))),
            "flicker": metrics.temporal_error(images, self.images, self.lower),
            "seam": float(np.mean([metrics.seam_gradient_ratio(*edge) for edge in edges])),
            "identity": self._identity(images) / self.own_distance,
            **attention_figures(painted, self.masks),
        }

    def _lpips(self, name: str, images: np.ndarray) -> float:
        with torch.no_grad():
            return float(self.judges.lpips.compare(self._lpips_features(name, images), self.features[name]).mean())

    @torch.no_grad()
    def _lpips_features(self, name: str, images: np.ndarray) -> list[torch.Tensor]:
        if name == "lower_face":
            images = np.where(self.lower[..., None], images, 127).astype(np.uint8)
        crops = metrics.crop_for_lpips(images, self.boxes[name])
        return self.judges.lpips.features(crops.to(device_of(self.judges.lpips)))

    def _identity(self, images: np.ndarray) -> float:
        rows = self.identity_rows.tolist()
        chips = np.stack([fill_chip(self.clip, int(self.run[row]), images[row]) for row in rows])
        return metrics.identity_distance(embed(self.judges.embedder, chips), self.embedded)


def attention_figures(painted: MethodOutput, masks: np.ndarray) -> dict[str, float]:
    """How steady attention is from frame to frame; nothing for a method that has none.

    Args:
        painted: by a renderer.
        masks: [N, H, W] in [0, 1]; a place counts as much as it is rendered anew, and as the layer gives of it.

    Returns:
        the share of each layer's weight that changes reference frames, and px of the window by which the places move
        that pixels are taken from, beside the mesh's correspondence; each a frame step.
    """
    rendering = painted.rendering
    if rendering is None or painted.lip_frames is None or painted.face_frames is None:
        return {}
    gate = F.avg_pool2d(rendering.gate, MAP_STRIDE)[:, 0].numpy()
    region = F.avg_pool2d(torch.from_numpy(masks)[:, None], MAP_STRIDE)[:, 0].numpy()
    layers = {
        "lip": (rendering.lip, painted.lip_frames, region * gate),
        "face": (rendering.face, painted.face_frames, region * (1 - gate)),
    }
    figures, moves, counts = {}, [], []
    for name, (sample, frames, share) in layers.items():
        weights = sample.weights.numpy()
        figures[f"{name}_attention_change"] = metrics.attention_change(weights, frames, share)
        moves.append(metrics.offset_change(weights, sample.offsets.numpy(), frames, share))
        counts.append(share.sum())
    if painted.has_offsets:
        figures["offset_change_px"] = float(np.average(moves, weights=counts))
    return figures


def own_identity_distance(clip: WindowClip, embedder: FaceEmbedder) -> float:
    """Mean distance of embeddings between true frames of a clip ten apart; no number where there are none."""
    frames = np.arange(0, len(clip.chips), IDENTITY_STEP)
    frames = frames[clip.geometry.valid[frames]]
    pairs = np.diff(frames) == IDENTITY_STEP
    if not pairs.any():
        return float("nan")
    embedded = embed(embedder, clip.chips[frames])
    return metrics.identity_distance(embedded[1:][pairs], embedded[:-1][pairs])


def fill_chip(clip: WindowClip, frame: int, window: np.ndarray) -> np.ndarray:
    """Put a painted window [H, W, 3] into the chip of its frame: [150, 150, 3] uint8.

    Only what differs from the true window is carried over, so that a true window gives the true chip.
    """
    chip_from_window = _compose(chip_from_image(clip.landmarks(frame)), invert_affine(clip.window[frame]))
    chip_from_window[:, 2] += chip_from_window[:, :2] @ (0.5, 0.5) - 0.5  # cv2 counts from the first pixel's middle
    difference = window.astype(np.float32) - clip.images[frame]
    carried = cv2.warpAffine(difference, chip_from_window, (CHIP_PX, CHIP_PX), flags=cv2.INTER_LINEAR)
    return np.clip(clip.chips[frame] + carried, 0, 255).round().astype(np.uint8)


def lip_mask(projected: np.ndarray, height: int, width: int, scale: float = WINDOW_SCALE) -> np.ndarray:
    """Where the lips are, with a margin.

    Args:
        projected: [N, 2 or more] px, the vertices.
        height: px.
        width: px.
        scale: px per IOD, by which the margin grows.

    Returns:
        [height, width] bool
    """
    mask, margin = np.zeros((height, width), np.uint8), max(1, round(LIP_MARGIN_PX * scale / WINDOW_SCALE))
    cv2.fillPoly(mask, [np.round(projected[list(OUTER_LIPS), :2]).astype(np.int32)], 1)
    return cv2.dilate(mask, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0


def put_into(truth: np.ndarray, painted: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Blend what was painted [N, H, W, 3] into the true frames, by masks [N, H, W]."""
    share = masks[..., None]
    return np.round(truth * (1 - share) + painted * share).clip(0, 255).astype(np.uint8)


def _compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """[2, 3] that applies `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.concatenate([linear, (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], 1)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
