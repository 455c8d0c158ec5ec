"""Stage 2 at the source's own pixels: true geometry through a dub's own compositing, on the largest faces."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial

import cv2
import numpy as np

from personatalk import metrics
from personatalk.concurrency import map_in_order, num_workers
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.judging import lip_mask
from personatalk.evaluation.rendering.page import OURS
from personatalk.evaluation.rendering.protocol import mean_figures
from personatalk.evaluation.rendering.renderers import load_renderer
from personatalk.evaluation.rendering.windows import WindowClip, choose_runs, read_windows
from personatalk.evaluation.report import report_of
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import choose_candidates
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.camera import invert_affine
from personatalk.geometry.face_model import NUM_VERTICES
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.media import read_frames
from personatalk.training.corpus import Clip, read_track

NUM_PERSONS = 8  # whose largest clip is judged, unless a limit says otherwise
FULL_STRENGTH = 0.99  # of a frame's dub; less is meant to show the source


def evaluate_native(inputs: EvaluationInputs) -> dict:
    """Judge frames of the persons whose faces are largest in pixels, beside the renderer's window enlarged.

    Returns:
        what `report_of` gives, two rows a renderer; `changed_outside` counts pixels in all frames that differ from the
        decoded source though the mask is 0 there: it must be 0.
    """
    mesh = FaceMesh(inputs.load_face_model())
    models = {OURS: load_renderer(inputs.checkpoints, inputs.device)}
    models |= {name: load_renderer(path, inputs.device) for name, path in inputs.renderers.items()}
    chosen = largest_faces(inputs, inputs.limit or NUM_PERSONS)
    judge = partial(judge_clip, inputs, models, mesh)
    with closing(map_in_order(judge, [clip for clip, _ in chosen], num_workers())) as results:
        judged = list(results)
    names = dict.fromkeys(name for rows in judged for name in rows)
    rows = {name: [found[name] for found in judged if name in found] for name in names}
    heights = [round(height) for _, height in chosen]
    clips = sum(bool(rows) for rows in judged)
    return report_of("native", rows, clips=clips, face_px=f"{min(heights)} to {max(heights)}" if heights else "")


def largest_faces(inputs: EvaluationInputs, count: int) -> list[tuple[Clip, float]]:
    """The clip in which each person's face is largest, of the persons with the largest: clip, px from brow to chin."""
    largest: dict[str, tuple[Clip, float]] = {}
    for clip in inputs.read_clips():
        track = read_track(inputs.corpus, clip)
        if track is None or not track.detected.any():
            continue
        heights = np.ptp(track.landmarks[track.detected, :NUM_VERTICES, 1], axis=1)
        found = clip, float(np.median(heights))
        largest[clip.person] = max(largest.get(clip.person, found), found, key=lambda pair: pair[1])
    return sorted(largest.values(), key=lambda pair: -pair[1])[:count]


def judge_clip(
    inputs: EvaluationInputs, models: dict[str, DualAttentionRenderer], mesh: FaceMesh, source: Clip
) -> dict[str, dict[str, float]]:
    """Judge a clip's runs as each renderer dubs them: row to figures; empty where the clip cannot be judged."""
    clip = read_windows(inputs, source, mesh)
    runs = choose_runs(clip.geometry) if clip is not None else []
    if clip is None or not runs:
        return {}
    frames = np.concatenate(runs)
    found: dict[str, list[dict[str, float]]] = {}
    truth = {f.index: f.image for f in read_frames(inputs.clip_path(source), only=set(frames.tolist()))}
    for name, model in models.items():
        dub = dub_renderer(inputs, source, clip, mesh, model)
        for frame in frames[dub.strength[frames] > FULL_STRENGTH].tolist():
            rendered = dub.render(frame, truth[frame])
            if rendered.rendering is None:
                continue
            place = Place(clip, frame, mesh, truth[frame])
            enlarged = place.enlarge(rendered.rendering.faces[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255)
            found.setdefault(name, []).append(place.figures(rendered.image))
            found.setdefault(f"{name}, the window enlarged", []).append(place.figures(enlarged))
    return {name: summed_figures(some) for name, some in found.items()}


def dub_renderer(
    inputs: EvaluationInputs, source: Clip, clip: WindowClip, mesh: FaceMesh, model: DualAttentionRenderer
) -> ClipRenderer:
    """Make what a dub of a clip renders with, driven by the clip's own geometry."""
    geometry = clip.geometry
    targets = lip_descriptors(clip.head_vertices, geometry.template, geometry.rotation)[geometry.valid]
    bank = ReferenceBank(mesh, geometry, choose_candidates(geometry, mesh, targets))
    bank.gather(read_frames(inputs.clip_path(source), only=bank.candidates.frames), model)
    return ClipRenderer(model, mesh, geometry, clip.head_vertices, bank)


class Place:
    """Where the face is in one true frame [H, W, 3], and how well a picture fills it."""

    def __init__(self, clip: WindowClip, frame: int, mesh: FaceMesh, truth: np.ndarray) -> None:
        self.truth, self.window_from_image = truth, clip.window[frame]
        height, width = truth.shape[:2]
        whole = np.eye(2, 3, dtype=np.float32)
        template = clip.geometry.template
        self.mask = mesh.mask(mesh.project(clip.geometry.pose(frame, template, whole)), template, height, width)
        lips = lip_mask(clip.landmarks(frame), height, width, float(clip.geometry.scale[frame]))
        self.lips = lips & (self.mask > 0.5)

    def enlarge(self, window: np.ndarray) -> np.ndarray:
        """Put a window [160, 192, 3] in [0, 255] into the frame, as a renderer without native pixels would."""
        affine = invert_affine(self.window_from_image).astype(np.float64)
        affine[:, 2] += affine[:, :2].sum(1) * 0.5 - 0.5  # cv2 counts from the middle of the first pixel
        size = self.truth.shape[1::-1]
        large = cv2.warpAffine(window, affine, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        blended = self.truth + self.mask[..., None] * (large - self.truth)
        return np.clip(blended, 0, 255).round().astype(np.uint8)

    def figures(self, image: np.ndarray) -> dict[str, float]:
        """Judge a finished frame: PSNR, sharpness and seam as of windows; pixels changed where nothing may change."""
        return {
            "psnr_lower_face": metrics.psnr(image, self.truth, self.mask > 0.5),
            "psnr_lips": metrics.psnr(image, self.truth, self.lips),
            "log_sharpness_lips": float(np.log(metrics.sharpness_ratio(image, self.truth, self.lips))),
            "seam": metrics.seam_gradient_ratio(image, self.truth, self.mask > 0.5),
            "changed_outside": float(((image != self.truth).any(-1) & (self.mask == 0)).sum()),
        }


def summed_figures(frames: Iterable[dict[str, float]]) -> dict[str, float]:
    """A clip's figures out of its frames': means, but a geometric one of the sharpness and a sum of the pixels."""
    frames = list(frames)
    means = mean_figures(frames)
    sharpness = float(np.exp(means.pop("log_sharpness_lips")))
    outside = means.pop("changed_outside") * len(frames)
    return {**means, "sharpness_lips": sharpness, "changed_outside": outside}
