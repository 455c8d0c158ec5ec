"""Distances and ratios between pictures: PSNR, LPIPS, sharpness, flicker, seam."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from personatalk.metrics.perceptual import Lpips


def psnr(output: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio over a region.

    Args:
        output: [..., H, W, 3] in [0, 255].
        truth: as output.
        mask: [..., H, W] weight at least 0; everything counts where it is None.

    Returns:
        dB; infinite where the two are equal.

    Raises:
        ValueError: the mask is empty.
    """
    squares = np.square(output.astype(np.float64) - truth).mean(-1)
    weight = np.ones(squares.shape) if mask is None else np.broadcast_to(mask, squares.shape).astype(np.float64)
    if weight.sum() == 0:
        raise ValueError("PSNR over an empty mask")
    error = (squares * weight).sum() / weight.sum()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def lpips_distance(network: Lpips, output: np.ndarray, truth: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Mean LPIPS of a part of the pictures.

    Args:
        network: the frozen network.
        output: [N, H, W, 3] in [0, 255].
        truth: as output.
        box: left, top, right, bottom px; a box under 64 px is enlarged, because AlexNet begins with a stride of 4.
    """
    with torch.no_grad():
        return float(network(crop_for_lpips(output, box), crop_for_lpips(truth, box)).mean())


def crop_for_lpips(images: np.ndarray, box: tuple[int, int, int, int]) -> torch.Tensor:
    """Cut a box out of images [N, H, W, 3] in [0, 255]: [N, 3, h, w] in [0, 1], at least 64 px wide and high."""
    left, top, right, bottom = box
    part = torch.from_numpy(np.ascontiguousarray(images[:, top:bottom, left:right])).float().permute(0, 3, 1, 2)
    scale = max(1.0, 64 / min(part.shape[-2:]))
    return torch.nn.functional.interpolate(part / 255, scale_factor=scale, mode="bilinear")


def sharpness_ratio(output: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """How much fine detail the output has, as a share of the truth's: variance of the Laplacian of the luma.

    Args:
        output: [H, W, 3] in [0, 255].
        truth: as output.
        mask: [H, W] bool.

    Returns:
        1 where the two are equally sharp, less where the output is blurred.
    """
    variances = [
        cv2.Laplacian(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY), cv2.CV_32F)[mask].var()
        for image in (output, truth)
    ]
    return float(variances[0] / max(variances[1], 1e-12))


def temporal_error(output: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """How far the change from frame to frame differs from the true change: mean |dI(out) - dI(true)|.

    Args:
        output: [T, H, W, 3] in [0, 255].
        truth: as output.
        mask: [H, W] or [T, H, W] weight; a change counts with the weight of its later frame.

    Returns:
        levels of 255.
    """
    changes = np.diff(output.astype(np.float32), axis=0) - np.diff(truth.astype(np.float32), axis=0)
    weight = np.broadcast_to(mask, output.shape[:-1])[1:].astype(np.float64)
    return float((np.abs(changes).mean(-1) * weight).sum() / weight.sum())


def seam_gradient_ratio(output: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Mean gradient across the edge of a mask, as a share of the true frame's there.

    Args:
        output: [H, W, 3] in [0, 255].
        truth: as output.
        mask: [H, W] bool, what was repainted.

    Returns:
        1 where no seam shows, more where there is one.
    """
    gradients = []
    for image in (output, truth):
        image = image.astype(np.float32)
        total, count = 0.0, 0
        for axis in (0, 1):
            across = np.diff(mask.astype(np.int8), axis=axis) != 0
            total += np.abs(np.diff(image, axis=axis)).mean(-1)[across].sum()
            count += across.sum()
        gradients.append(total / max(count, 1))
    return float(gradients[0] / max(gradients[1], 1e-12))
