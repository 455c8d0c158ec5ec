"""The ways to refine a fit, beside one another: how well warped frames agree, and errors on rendered faces."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice

import numpy as np

from personatalk import metrics
from personatalk.errors import NoFaceError
from personatalk.evaluation.geometry.fitting import RENDERED_MIN_FRAMES, rendered_figures
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.baselines import pick_nearest, warping_method
from personatalk.evaluation.rendering.judging import lip_mask, put_into
from personatalk.evaluation.rendering.windows import WindowClip, choose_runs, cut_windows, masks_of
from personatalk.evaluation.report import report_of
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.estimation import check_refinement, refine_face
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.face_refinement import GreyWindows
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.tracking import FaceTrack
from personatalk.media import read_frames
from personatalk.training.corpus import read_track, spread_over_persons

ROWS = {"none": "landmarks alone", "flow": "flow", "photometric": "photometric"}
MAX_FRAMES = 100  # of a clip
NUM_RENDERED = 4  # clips whose face is also rendered with known geometry


def evaluate_refinement(inputs: EvaluationInputs) -> dict:
    """Refine each clip's fit in every way there is, and compare.

    Returns:
        what `report_of` gives: for each way a row on the clips, and one on faces that are rendered with known geometry
        and tracked again.

    Raises:
        AdapterError: PyTorch3D is not installed.
    """
    check_refinement("photometric")
    face_model = inputs.load_face_model()
    on_clips, on_rendered = {name: [] for name in ROWS}, {name: [] for name in ROWS}
    for clip in spread_over_persons(inputs.read_clips(), inputs.limit):
        track = read_track(inputs.corpus, clip)
        if track is None:
            continue
        frames = [frame.image for frame in islice(read_frames(inputs.clip_path(clip)), MAX_FRAMES)]
        track = first_frames(track, len(frames))
        try:
            found = refined_figures(track, frames, face_model)
        except NoFaceError:
            continue
        for name, figures in found.items():
            on_clips[name].append(figures)
        if len(on_rendered["none"]) < NUM_RENDERED and track.detected.sum() >= RENDERED_MIN_FRAMES:
            rendered = rendered_figures(track, frames, face_model, refinements=tuple(ROWS))
            for name, figures in zip(ROWS, rendered, strict=True):
                on_rendered[name].append(figures)
    table = {title: on_clips[name] for name, title in ROWS.items()}
    table |= {f"{title}, rendered faces": on_rendered[name] for name, title in ROWS.items()}
    return report_of("refinement", table, clips=len(on_clips["none"]), rendered=len(on_rendered["none"]))


def refined_figures(track: FaceTrack, frames: list[np.ndarray], face_model: FaceModel) -> dict[str, dict[str, float]]:
    """Refine one clip's fit in every way.

    All are judged through the same window, in the same places.

    Args:
        track: of the frames.
        frames: uint8 [H, W, 3].
        face_model: to fit.

    Returns:
        for each way the PSNR of lips and lower face of the nearest frame, as this geometry picks and warps it, in dB;
        time that the refinement takes of one processor; no PSNR where a clip is too short for frames far enough apart.

    Raises:
        NoFaceError: fewer than three frames show a face.
    """
    mesh, fitted = FaceMesh(face_model), fit_track(track, face_model)
    windows = GreyWindows(fitted)
    for image in frames:
        windows.append(image)
    seen = cut_windows(frames, fitted, mesh)
    found = {}
    for name in ROWS:
        start = time.process_time()
        refined = refine_face(track, fitted, windows, mesh, refine=name)
        spent = 1000 * (time.process_time() - start) / len(frames)
        found[name] = {**warped_figures(seen, refined, mesh), "processor_ms_a_frame": spent}
    return found


def first_frames(track: FaceTrack, count: int) -> FaceTrack:
    """The beginning of a track."""
    names = ("landmarks", "detected", "times", "shot", "light")
    return replace(track, **{name: getattr(track, name)[:count] for name in names})


def warped_figures(seen: WindowClip, geometry: FaceGeometry, mesh: FaceMesh) -> dict[str, float]:
    """PSNR of the nearest warped frame by a geometry, through the window and in the places of another one's clip."""
    head = mesh.face_model.vertices(geometry.template, geometry.expression)
    poses = [geometry.pose(t, head[t], seen.window[t]) for t in range(len(head))]
    clip = replace(
        seen, geometry=geometry, head_vertices=head, projected=np.stack([mesh.project(pose) for pose in poses]), kept={}
    )
    warp, found = warping_method(mesh, pick_nearest), []
    for run in choose_runs(seen.geometry):
        painted = warp(clip, run)
        if painted is None:
            continue
        masks, truth = masks_of(seen, run, mesh), seen.images[run]
        images = put_into(truth, painted.images, masks)
        lips = np.stack([lip_mask(points, WINDOW_HEIGHT, WINDOW_WIDTH) for points in seen.projected[run]])
        found.append((metrics.psnr(images, truth, lips), metrics.psnr(images, truth, masks > 0.5)))
    if not found:
        return {}
    lips, lower_face = np.mean(found, axis=0).tolist()
    return {"psnr_lips": lips, "psnr_lower_face": lower_face}
