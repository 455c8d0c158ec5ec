"""How good the renderer is when the true geometry is given, beside other frames of the clip, as they are and warped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from personatalk.camera import WINDOW_HEIGHT, WINDOW_WIDTH, apply_affine, warp_image, window_from_image
from personatalk.errors import NoFaceError
from personatalk.evaluation import metrics
from personatalk.evaluation.corpus import (
    Clip,
    EvaluationInputs,
    read_clips,
    read_track,
    report_of,
    spread_over_persons,
)
from personatalk.evaluation.geometry import FACE_MODEL_FILE
from personatalk.face_model import LIPS, OUTER_LIPS, FaceModel
from personatalk.fitting import FaceGeometry, fit_track
from personatalk.media import read_frames
from personatalk.perceptual import Lpips
from personatalk.rasterizer import interpolate, rasterize

RUN_FRAMES = 6  # consecutive frames judged, so that motion is judged too
RUNS_PER_CLIP = 2
REFERENCE_GAP = 8  # frames this near to a judged one are nobody's references
MIN_REFERENCES = 10
MAX_FRAMES = 200
LIP_MARGIN_PX = 4


@dataclass(frozen=True, kw_only=True)
class WindowClip:
    """A clip seen through the renderer's window.

    Attributes:
        images: [T, H, W, 3] uint8.
        vertices: [T, V, 3] px in the window; z in px of the window, larger is farther.
        geometry: of the same T frames.
        head_vertices: [T, V, 3] IOD.
    """

    images: np.ndarray
    vertices: np.ndarray
    geometry: FaceGeometry
    head_vertices: np.ndarray


# (clip, judged frames [N], allowed references [R]) -> [N, H, W, 3] uint8
Renderer = Callable[[WindowClip, np.ndarray, np.ndarray], np.ndarray]


def evaluate_rendering(inputs: EvaluationInputs, renderers: dict[str, Renderer]) -> dict:
    """Repaint judged frames of each clip from frames at least eight away, true geometry given.

    Args:
        renderers: name to what is judged beside the four baselines.

    Returns:
        what `report_of` gives, a row a method.
    """
    face_model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE)
    lpips = Lpips.load(inputs.checkpoints / "lpips_alexnet.safetensors")
    methods = {**baselines(face_model), **renderers}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    chosen = spread_over_persons(read_clips(inputs.manifest, inputs.split), inputs.limit)
    judged_clips = 0
    for clip in chosen:
        windows = read_windows(inputs, clip, face_model)
        runs = choose_runs(windows.geometry.valid) if windows is not None else []
        judged_clips += bool(runs)
        judged: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
        for run, allowed in runs:
            painted = {name: method(windows, run, allowed) for name, method in methods.items()}
            for name, images in painted.items():
                judged[name].append(rendering_figures(images, windows, run, face_model, lpips))
            if inputs.output is not None:
                write_sheet(inputs, f"{clip.name}_{run[0]}", windows.images[run], painted)
        for name, figures in judged.items():
            rows[name] += [{key: float(np.mean([f[key] for f in figures])) for key in figures[0]}] if figures else []
    return report_of("rendering", rows, clips=judged_clips, skipped=len(chosen) - judged_clips)


def baselines(face_model: FaceModel) -> dict[str, Renderer]:
    """Four ways to fill the lower face that need no learning."""

    def copy(pick: Callable[..., np.ndarray]) -> Renderer:
        return lambda clip, run, allowed: clip.images[pick(clip, run, allowed)]

    def warp(pick: Callable[..., np.ndarray]) -> Renderer:
        def render(clip: WindowClip, run: np.ndarray, allowed: np.ndarray) -> np.ndarray:
            picked = pick(clip, run, allowed)
            return np.stack([warp_frame(clip, s, t, face_model) for s, t in zip(picked, run, strict=True)])

        return render

    return {
        "another frame": copy(pick_other),
        "another frame, warped": warp(pick_other),
        "nearest frame": copy(pick_nearest),
        "nearest frame, warped": warp(pick_nearest),
    }


def pick_other(clip: WindowClip, run: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """One reference for the whole run, drawn at random but always alike."""
    return np.full(len(run), np.random.default_rng(int(run[0])).choice(allowed))


def pick_nearest(clip: WindowClip, run: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """For each judged frame, the reference whose lips are shaped most alike."""
    lips = clip.head_vertices[:, list(LIPS)]
    distance = np.linalg.norm(lips[run][:, None] - lips[allowed][None], axis=-1).mean(-1)
    return allowed[distance.argmin(1)]


def warp_frame(clip: WindowClip, source: int, target: int, face_model: FaceModel) -> np.ndarray:
    """Carry a frame through the mesh to another frame's geometry; outside the mesh it stays as it is."""
    triangles = face_model.triangles.astype(np.int32)
    index, barycentric = rasterize(clip.vertices[target], triangles, WINDOW_HEIGHT, WINDOW_WIDTH)
    places = np.ascontiguousarray(clip.vertices[source, :, :2])
    x, y = interpolate(index, barycentric, triangles, places) - 0.5
    warped = cv2.remap(clip.images[source], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where((index >= 0)[..., None], warped, clip.images[source])


def read_windows(inputs: EvaluationInputs, clip: Clip, face_model: FaceModel) -> WindowClip | None:
    """Cut the renderer's window out of a clip; None where the clip was not tracked or is too short."""
    track = read_track(inputs.corpus, clip)
    if track is None or len(track) < RUN_FRAMES + 2 * REFERENCE_GAP + MIN_REFERENCES:
        return None
    try:
        geometry = fit_track(track, face_model)
    except NoFaceError:
        return None
    count = min(len(geometry), MAX_FRAMES)
    geometry = FaceGeometry(
        **{name: value if name == "template" else value[:count] for name, value in vars(geometry).items()}
    )
    window = window_from_image(geometry)
    images = []
    for frame in read_frames(inputs.clip_path(clip)):
        if frame.index >= count:
            break
        images.append(warp_image(frame.image, window[frame.index], WINDOW_WIDTH, WINDOW_HEIGHT))
    head = face_model.vertices(geometry.template, geometry.expression)
    vertices = geometry.project(head)
    gain = np.sqrt(np.abs(np.linalg.det(window[:, :, :2])))
    placed = np.concatenate([apply_affine(window, vertices[..., :2]), vertices[..., 2:] * gain[:, None, None]], -1)
    return WindowClip(
        images=np.stack(images), vertices=placed.astype(np.float32), geometry=geometry, head_vertices=head
    )


def choose_runs(valid: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Choose runs of frames to judge, and for each the references allowed.

    Args:
        valid: [T] bool.

    Returns:
        (judged frames [N], allowed references [R]) for each run.
    """
    runs = []
    for index in range(RUNS_PER_CLIP):
        middle = (2 * index + 1) * len(valid) // (2 * RUNS_PER_CLIP)
        run = np.arange(middle - RUN_FRAMES // 2, middle - RUN_FRAMES // 2 + RUN_FRAMES)
        if run[0] < 0 or run[-1] >= len(valid) or not valid[run].all():
            continue
        frames = np.flatnonzero(valid)
        allowed = frames[(frames <= run[0] - REFERENCE_GAP) | (frames >= run[-1] + REFERENCE_GAP)]
        if len(allowed) >= MIN_REFERENCES:
            runs.append((run, allowed))
    return runs


def face_masks(vertices: np.ndarray, face_model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Where the lower face and the lips are.

    Args:
        vertices: [V, 3] px in the window.

    Returns:
        lower face [H, W] bool, the mesh where speech moves it; lips [H, W] bool, with a margin.
    """
    triangles = face_model.triangles.astype(np.int32)
    index, barycentric = rasterize(vertices, triangles, WINDOW_HEIGHT, WINDOW_WIDTH)
    moved = interpolate(index, barycentric, triangles, np.ascontiguousarray(face_model.speech_weight[:, None]))[0]
    lips = np.zeros((WINDOW_HEIGHT, WINDOW_WIDTH), np.uint8)
    cv2.fillPoly(lips, [np.round(vertices[list(OUTER_LIPS), :2]).astype(np.int32)], 1)
    lips = cv2.dilate(lips, np.ones((2 * LIP_MARGIN_PX + 1, 2 * LIP_MARGIN_PX + 1), np.uint8))
    return moved > 0.3, lips > 0


def rendering_figures(
    images: np.ndarray, clip: WindowClip, run: np.ndarray, face_model: FaceModel, lpips: Lpips
) -> dict[str, float]:
    """Judge painted windows [N, H, W, 3] of a run by the true ones.

    Returns:
        PSNR of lower face and lips in dB; LPIPS of the lower face and of the lips' box; sharpness in the lips as a
        share of the truth's; flicker, mean |dI(out) - dI(true)| in the lower face, levels of 255.
    """
    truth = clip.images[run]
    lower, lips = (
        np.stack(masks) for masks in zip(*(face_masks(clip.vertices[t], face_model) for t in run), strict=True)
    )
    masked = [np.where(lower[..., None], x, 127).astype(np.uint8) for x in (images, truth)]
    return {
        "psnr_lower_face": metrics.psnr(images, truth, lower),
        "psnr_lips": metrics.psnr(images, truth, lips),
        "lpips_lower_face": metrics.lpips_distance(lpips, *masked, box=(0, 0, WINDOW_WIDTH, WINDOW_HEIGHT)),
        "lpips_lips": metrics.lpips_distance(lpips, images, truth, box=_box(lips.any(0))),
        # a ratio, so its mean is the geometric one
        "sharpness_lips": float(
            np.exp(np.mean([np.log(metrics.sharpness_ratio(*x)) for x in zip(images, truth, lips, strict=True)]))
        ),
        "flicker": metrics.temporal_error(images, truth, lower),
    }


def write_sheet(inputs: EvaluationInputs, name: str, truth: np.ndarray, painted: dict[str, np.ndarray]) -> None:
    """Write a picture with a row a method, the truth on top."""
    rows = [np.concatenate(list(images[::2]), 1) for images in (truth, *painted.values())]
    inputs.output.mkdir(parents=True, exist_ok=True)
    sheet = cv2.cvtColor(np.concatenate(rows).astype(np.uint8), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(inputs.output / f"{name}.png"), sheet)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
