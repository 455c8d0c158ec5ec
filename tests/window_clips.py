"""Random pictures over a known face, seen through the renderer's window, and a renderer too small to be good."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.evaluation.rendering.windows import cut_windows
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.landmark_fitting import fit_track


def pictures(seed):
    """75 random pictures, smooth enough that resampling them hardly matters."""
    noise = np.random.default_rng(seed).normal(size=(75, 60, 60, 3)).astype(np.float32)
    large = [cv2.resize(image, (300, 300), interpolation=cv2.INTER_CUBIC) for image in 128 + 50 * noise]
    return np.clip(large, 0, 255).astype(np.uint8)


def window_clip(mesh, seed):
    """Random pictures over a known face of 75 frames."""
    geometry = fit_track(known_face(mesh.face_model, noise_iod=0, seed=seed).track, mesh.face_model)
    return cut_windows(pictures(seed), geometry, mesh)


def tiny_renderer(attention="anchored"):
    torch.manual_seed(0)
    config = RendererConfig(
        dim=8, widths=(8, 8, 8), num_lip_references=3, num_face_references=2, attention=attention, max_offset_px=2.0
    )
    model = DualAttentionRenderer(config).eval()
    for weight in model.parameters():  # some are zero at the start, and would hide a leak
        torch.nn.init.normal_(weight, std=0.2)
    return model
