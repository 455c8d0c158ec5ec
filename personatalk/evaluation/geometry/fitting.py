"""How good the geometry estimation is: on tracked clips, and on faces whose geometry is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from personatalk import metrics
from personatalk.errors import NoFaceError
from personatalk.evaluation.geometry.known_faces import known_face, round_trip_figures
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.camera import invert_affine, warp_image, window_from_image
from personatalk.geometry.estimation import refine_face
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import LIPS, NUM_VERTICES, FaceModel, stability_weight
from personatalk.geometry.face_refinement import GreyWindows
from personatalk.geometry.landmark_fitting import fit_track, procrustes, unpose
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.geometry.tracking import FaceTrack, MediaPipeTracker, track_face
from personatalk.media import read_frames
from personatalk.training.corpus import read_track, spread_over_persons

RENDERED_CLIPS, RENDERED_MIN_FRAMES = 12, 40
NOISE_LEVELS_IOD = (0.0, 0.005, 0.01)


def evaluate_fitting(inputs: EvaluationInputs) -> dict:
    """Fit each clip's track and compare the fit with the landmarks; then fit faces of known geometry.

    Returns:
        what `report_of` gives: a row for the clips, two for faces that are rendered with known geometry and tracked
        again, and one for each level of noise on the landmarks of synthetic faces.
    """
    face_model = inputs.load_face_model()
    rows, skipped = [], 0
    for clip in spread_over_persons(inputs.read_clips(), inputs.limit):
        track = read_track(inputs.corpus, clip)
        try:
            geometry = fit_track(track, face_model) if track is not None else None
        except NoFaceError:
            geometry = None
        if track is None or geometry is None:
            skipped += 1
            continue
        rows.append(fitting_figures(track, geometry, face_model))
    table = {"tracked clips": rows, "rendered faces, fitted to landmarks": [], "rendered faces, refined": []}
    for clip in spread_over_persons(inputs.read_clips(), RENDERED_CLIPS):
        track = read_track(inputs.corpus, clip)
        if track is not None and track.detected.sum() >= RENDERED_MIN_FRAMES:
            frames = [frame.image for frame in read_frames(inputs.clip_path(clip))]
            for name, figures in zip(list(table)[1:3], rendered_figures(track, frames, face_model), strict=True):
                table[name].append(figures)
    for noise in NOISE_LEVELS_IOD:
        faces = [known_face(face_model, noise_iod=noise, seed=seed) for seed in range(10)]
        table[f"known faces, noise {100 * noise:g} %"] = [round_trip_figures(face, face_model) for face in faces]
    return report_of("fitting", table, clips=len(rows), skipped=skipped)


def fitting_figures(track: FaceTrack, geometry: FaceGeometry, face_model: FaceModel) -> dict[str, float]:
    """Judge one fit by the landmarks that it explains.

    Returns:
        errors in % of the inter-ocular distance; jitter, the mean length of the second difference over time; lip
        aperture of the fit against that of the landmarks in head space.
    """
    valid = geometry.valid
    points = track.landmarks[valid, :NUM_VERTICES].astype(np.float64)
    vertices = face_model.vertices(geometry.template, geometry.expression)[valid]
    miss = np.linalg.norm(geometry.project(vertices, valid)[..., :2] - points[..., :2], axis=-1)
    miss = 100 * miss / geometry.scale[valid][:, None]
    pose = procrustes(geometry.template, points, stability_weight(face_model.mean))
    tracked = lip_aperture(unpose(points, *pose))
    iod = geometry.scale[valid].mean()
    return {
        "lips_%": float(miss[:, list(LIPS)].mean()),
        "face_%": float(miss.mean()),
        "rotation_jitter_before_deg": rotation_jitter(pose[0]),
        "rotation_jitter_after_deg": rotation_jitter(geometry.rotation[valid]),
        "translation_jitter_before_%": 100 * metrics.jitter(pose[2][:, :2]) / iod,
        "translation_jitter_after_%": 100 * metrics.jitter(geometry.translation[valid]) / iod,
        "scale_jitter_before_%": 100 * metrics.jitter(np.log(pose[1])),
        "scale_jitter_after_%": 100 * metrics.jitter(np.log(geometry.scale[valid])),
        "aperture_r": metrics.correlation(lip_aperture(vertices), tracked),
        "aperture_deviation_ratio": metrics.deviation_ratio(lip_aperture(vertices), tracked),
    }


def rendered_figures(
    track: FaceTrack,
    frames: list[np.ndarray],
    face_model: FaceModel,
    *,
    refinements: tuple[str, ...] = ("none", "flow"),
) -> list[dict[str, float]]:
    """Render a clip's face with known geometry, track the pictures, fit, and compare with what was rendered.

    The face is textured with the clip's frame whose mouth is widest open; that frame's surroundings follow the head's
    position, size and roll. It speaks the clip's own coefficients backwards, so that no picture is one of the clip.

    Args:
        frames: the clip's pictures, uint8 [H, W, 3].
        face_model: to fit.
        refinements: of the fit, see `estimation.refine_face`.

    Returns:
        figures of the fit refined in each way; "none" is the fit to the landmarks.
    """
    geometry = fit_track(track, face_model)
    geometry = replace(geometry, expression=geometry.expression[::-1].copy())
    known = geometry.project(face_model.vertices(geometry.template, geometry.expression))
    valid = np.flatnonzero(geometry.valid)
    widest = int(valid[np.argmax(lip_aperture(track.landmarks[valid, :NUM_VERTICES]) / geometry.scale[valid])])
    textured = track.landmarks[widest, :NUM_VERTICES, :2]
    triangles = face_model.triangles.astype(np.int32)
    window = window_from_image(geometry)
    pictures = [
        draw_face(frames[widest], textured, known[t], triangles, chain_affine(invert_affine(window[t]), window[widest]))
        for t in valid
    ]
    with MediaPipeTracker() as tracker:
        timed = zip(track.times[valid], pictures, strict=True)
        again = track_face(timed, tracker, width=track.width, height=track.height)
    fitted = fit_track(again, face_model)
    windows = GreyWindows(fitted)
    for picture in pictures:
        windows.append(picture)
    aperture = lip_aperture(face_model.vertices(geometry.template, geometry.expression))[valid]
    mesh = FaceMesh(face_model)
    refined = [refine_face(again, fitted, windows, mesh, refine=name) for name in refinements]
    return [known_figures(found, known[valid], geometry.scale[valid], aperture, face_model) for found in refined]


def known_figures(
    fitted: FaceGeometry, known: np.ndarray, scale: np.ndarray, aperture: np.ndarray, face_model: FaceModel
) -> dict[str, float]:
    """Judge a fit by what was rendered.

    Args:
        known: [T, V, 3] px, the true vertices.
        scale: [T] px per IOD.
        aperture: [T] IOD, the true lip aperture.

    Returns:
        errors in % of the inter-ocular distance; `lips_scatter_%` is what is left of the lips' when each vertex' mean
        error is taken away; agreement of the lip aperture; share of frames in which a face was found.
    """
    found = fitted.valid
    head = face_model.vertices(fitted.template, fitted.expression)
    miss = 100 * (fitted.project(head) - known)[found, :, :2] / scale[found][:, None, None]
    scatter = miss[:, list(LIPS)] - miss[:, list(LIPS)].mean(0)
    distance = np.linalg.norm(miss, axis=-1)
    return {
        "lips_%": float(distance[:, list(LIPS)].mean()),
        "lips_scatter_%": float(np.linalg.norm(scatter, axis=-1).mean()),
        "face_%": float(distance.mean()),
        "aperture_r": metrics.correlation(lip_aperture(head[found]), aperture[found]),
        "aperture_deviation_ratio": metrics.deviation_ratio(lip_aperture(head[found]), aperture[found]),
        "found": float(found.mean()),
    }


def draw_face(
    picture: np.ndarray, texture_points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    """Render a mesh over a picture, textured with that picture.

    Args:
        picture: uint8 [H, W, 3].
        texture_points: [V, 2] px, where the vertices lie in the picture.
        vertices: [V, 3] px, where they are to lie.
        triangles: [F, 3].
        moved: [2, 3] target_from_picture of the surroundings.

    Returns:
        uint8 [H, W, 3]
    """
    height, width = picture.shape[:2]
    index, barycentric = rasterize(vertices.astype(np.float32), triangles, height, width)
    source = interpolate(index, barycentric, triangles, texture_points.astype(np.float32)) - 0.5
    drawn = cv2.remap(picture, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where((index >= 0)[..., None], drawn, warp_image(picture, moved, width, height))


def chain_affine(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Compose two affine maps [2, 3]: first one, then the other."""
    return np.concatenate([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]], 1)


def rotation_jitter(rotation: np.ndarray) -> float:
    """Mean length of the second difference of rotations [T, 3, 3], in degrees."""
    turns = Rotation.from_matrix(rotation)
    return float(np.degrees(metrics.jitter((turns.mean().inv() * turns).as_rotvec())))
