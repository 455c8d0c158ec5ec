"""Figures of merit: pure functions of arrays, used by inspection, training and evaluation."""

from __future__ import annotations

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
from personatalk.metrics.attention import attention_change, offset_change
from personatalk.metrics.geometry import (
    aperture_scores,
    best_lag,
    correlation,
    deviation_ratio,
    jitter,
    lip_velocity_error,
    lip_vertex_error,
)
from personatalk.metrics.identity import identity_distance
from personatalk.metrics.image import (
    crop_for_lpips,
    lpips_distance,
    psnr,
    seam_gradient_ratio,
    sharpness_ratio,
    temporal_error,
)
from personatalk.metrics.statistics import confidence_interval, summarise

__all__ = [
    "attention_change",
    "best_lag",
    "confidence_interval",
    "correlation",
    "crop_for_lpips",
    "deviation_ratio",
    "identity_distance",
    "jitter",
    "lip_velocity_error",
    "lip_vertex_error",
    "lpips_distance",
    "offset_change",
    "aperture_scores",
    "psnr",
    "seam_gradient_ratio",
    "sharpness_ratio",
    "summarise",
    "temporal_error",
]
