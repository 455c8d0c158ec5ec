"""How good the renderer is when the true geometry is given, beside other frames of the clip, as they are and warped."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from personatalk.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.evaluation import metrics
from personatalk.evaluation.corpus import EvaluationInputs, read_clips, report_of, spread_over_persons
from personatalk.evaluation.geometry import FACE_MODEL_FILE
from personatalk.evaluation.windows import Renderer, WindowClip, read_windows
from personatalk.face_model import LIPS, OUTER_LIPS, FaceModel
from personatalk.geometry_maps import FaceMesh
from personatalk.perceptual import LPIPS_FILES, Lpips

RUN_FRAMES = 6  # consecutive frames judged, so that motion is judged too
RUNS_PER_CLIP = 2
REFERENCE_GAP = 8  # frames this near to a judged one are nobody's references
MIN_REFERENCES = 10
LIP_MARGIN_PX = 4


def evaluate_rendering(inputs: EvaluationInputs, renderers: dict[str, Renderer]) -> dict:
    """Repaint judged frames of each clip from frames at least eight away, true geometry given.

    Args:
        renderers: name to what is judged beside the baselines.

    Returns:
        what `report_of` gives, a row a method.
    """
    face_model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE)
    lpips = Lpips.load(*(inputs.checkpoints / name for name in LPIPS_FILES))
    mesh = FaceMesh(face_model)
    methods = {**baselines(mesh), **renderers}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    chosen = spread_over_persons(read_clips(inputs.manifest, inputs.split), inputs.limit)
    judged_clips = 0
    for clip in chosen:
        windows = read_windows(inputs, clip, mesh)
        runs = choose_runs(windows.geometry.valid) if windows is not None else []
        judged_clips += bool(runs)
        judged: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
        for run, allowed in runs:
            painted = paint(methods, windows, run, allowed)
            for name, images in painted.items():
                judged[name].append(rendering_figures(images, windows, run, lpips))
            if inputs.output is not None:
                write_sheet(inputs, f"{clip.name}_{run[0]}", windows.images[run], painted)
        for name, figures in judged.items():
            rows[name] += [{key: float(np.mean([f[key] for f in figures])) for key in figures[0]}] if figures else []
    return report_of("rendering", rows, clips=judged_clips, skipped=len(chosen) - judged_clips)


def paint(
    methods: dict[str, Renderer], clip: WindowClip, run: np.ndarray, allowed: np.ndarray
) -> dict[str, np.ndarray]:
    """Let each method that has something to say paint a run: [N, H, W, 3] uint8, blended into the true frames."""
    painted = {name: method(clip, run, allowed) for name, method in methods.items()}
    return {
        name: put_into(clip.images[run], images, clip.masks[run])
        for name, images in painted.items()
        if images is not None
    }


def baselines(mesh: FaceMesh) -> dict[str, Renderer]:
    """Five ways to fill the lower face that need no learning."""

    def copy(pick: Callable[..., np.ndarray]) -> Renderer:
        return lambda clip, run, allowed: clip.images[pick(clip, run, allowed)]

    def warp(pick: Callable[..., np.ndarray]) -> Renderer:
        def render(clip: WindowClip, run: np.ndarray, allowed: np.ndarray) -> np.ndarray:
            picked = pick(clip, run, allowed)
            return np.stack([warp_frame(clip, s, t, mesh) for s, t in zip(picked, run, strict=True)])

        return render

    nearest = warp(pick_nearest)
    return {
        "another frame": copy(pick_other),
        "another frame, warped": warp(pick_other),
        "nearest frame": copy(pick_nearest),
        "nearest frame, warped": nearest,
        "nearest frame, warped, smoothed over time": lambda *given: smooth_over_time(nearest(*given)),
    }


def smooth_over_time(images: np.ndarray) -> np.ndarray:
    """Weigh each image [N, ...] with its neighbours 1 : 2 : 1; the ends stand for their own neighbours."""
    padded = np.concatenate([images[:1], images, images[-1:]]).astype(np.float32)
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def pick_other(clip: WindowClip, run: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """One reference for the whole run, drawn at random but always alike."""
    return np.full(len(run), np.random.default_rng(int(run[0])).choice(allowed))


def pick_nearest(clip: WindowClip, run: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """For each judged frame, the reference whose lips are shaped most alike."""
    lips = clip.head_vertices[:, list(LIPS)]
    distance = np.linalg.norm(lips[run][:, None] - lips[allowed][None], axis=-1).mean(-1)
    return allowed[distance.argmin(1)]


def warp_frame(clip: WindowClip, source: int, target: int, mesh: FaceMesh) -> np.ndarray:
    """Carry a frame through the mesh to another frame's geometry; outside the mesh it stays as it is."""
    places = np.ascontiguousarray(clip.placed[source : source + 1, :, :2])
    grid = mesh.correspondence(clip.placed[target], places, WINDOW_HEIGHT, WINDOW_WIDTH)[0]
    x, y = np.moveaxis(grid - 0.5, -1, 0).astype(np.float32)
    warped = cv2.remap(clip.images[source], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where((grid[..., :1] > -1e3), warped, clip.images[source])


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


def lip_mask(placed: np.ndarray) -> np.ndarray:
    """Where the lips are, with a margin: [N, 3] px in the window -> [H, W] bool."""
    mask = np.zeros((WINDOW_HEIGHT, WINDOW_WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.round(placed[list(OUTER_LIPS), :2]).astype(np.int32)], 1)
    return cv2.dilate(mask, np.ones((2 * LIP_MARGIN_PX + 1, 2 * LIP_MARGIN_PX + 1), np.uint8)) > 0


def put_into(truth: np.ndarray, painted: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Blend what was painted [N, H, W, 3] into the true frames, by masks [N, H, W]; alike for every method."""
    share = masks[..., None]
    return np.round(truth * (1 - share) + painted * share).clip(0, 255).astype(np.uint8)


def rendering_figures(images: np.ndarray, clip: WindowClip, run: np.ndarray, lpips: Lpips) -> dict[str, float]:
    """Judge painted windows [N, H, W, 3] of a run by the true ones.

    The lower face is where the mask is above a half.

    Returns:
        PSNR of lower face and lips in dB; LPIPS of the lower face and of the lips' box; sharpness in the lips as a
        share of the truth's; flicker, mean |dI(out) - dI(true)| in the lower face, levels of 255; seam, gradient
        where the mask is a half, as a share of the truth's.
    """
    truth, lower = clip.images[run], clip.masks[run] > 0.5
    lips = np.stack([lip_mask(clip.placed[frame]) for frame in run])
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
        "seam": float(np.mean([metrics.seam_gradient_ratio(*x) for x in zip(images, truth, lower, strict=True)])),
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
