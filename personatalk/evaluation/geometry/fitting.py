"""How good the geometry estimation is: on tracked clips, and on faces whose geometry is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from personatalk import metrics
from personatalk.errors import NoFaceError
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
from personatalk.geometry.tracking import NUM_LANDMARKS, FaceTrack, MediaPipeTracker, track_face
from personatalk.media import read_frames
from personatalk.training.corpus import read_track, spread_over_persons

FACE_MODEL_FILE = "face_model.safetensors"
SYNTHETIC_SCALE_PX = 80.0
SYNTHETIC_FRAMES = 75
SYNTHETIC_FPS = 25.0
RENDERED_CLIPS, RENDERED_MIN_FRAMES = 12, 40
NOISE_LEVELS_IOD = (0.0, 0.005, 0.01)


@dataclass(frozen=True, kw_only=True)
class KnownFace:
    """A face whose geometry is known: [T, V, 3] IOD vertices, [T, 3, 3] camera_from_head, and its track."""

    vertices: np.ndarray
    rotation: np.ndarray
    track: FaceTrack


def evaluate_fitting(inputs: EvaluationInputs) -> dict:
    """Fit each clip's track and compare the fit with the landmarks, then faces of known geometry.

    Returns:
        what `report_of` gives: one row of real clips, one for each level of noise on the known faces.
    """
    face_model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE)
    rows, skipped = [], 0
    for clip in spread_over_persons(inputs.read_clips(), inputs.limit):
        track = read_track(inputs.corpus, clip)
        try:
            geometry = fit_track(track, face_model) if track is not None else None
        except NoFaceError:
            geometry = None
        if geometry is None:
            skipped += 1
            continue
        rows.append(fitting_figures(track, geometry, face_model))
    table = {"tracked clips": rows, "rendered faces, tracked again": [], "the same, laid on what the frames show": []}
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
        errors in % of the inter-ocular distance; jitter = mean length of the second difference over time; openness
        of the fit against that of the landmarks, unposed.
    """
    valid = geometry.valid
    points = track.landmarks[valid, :NUM_VERTICES].astype(np.float64)
    vertices = face_model.vertices(geometry.template, geometry.expression)[valid]
    miss = np.linalg.norm(geometry.project(vertices, valid)[..., :2] - points[..., :2], axis=-1)
    miss = 100 * miss / geometry.scale[valid][:, None]
    pose = procrustes(geometry.template, points, stability_weight(face_model.mean))
    seen = lip_aperture(unpose(points, *pose))
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
        "aperture_r": metrics.correlation(lip_aperture(vertices), seen),
        "aperture_deviation_ratio": metrics.deviation_ratio(lip_aperture(vertices), seen),
    }


def rendered_figures(
    track: FaceTrack, frames: list[np.ndarray], face_model: FaceModel
) -> tuple[dict[str, float], dict[str, float]]:
    """Render a clip's face with known geometry, track the pictures, fit, and compare with what was drawn.

    The face is textured with the clip's frame whose mouth is widest open; that frame's surroundings follow the head's
    place, size and roll. It speaks the clip's own coefficients backwards, so that no picture is one of the clip.

    Args:
        frames: the clip's pictures, uint8 [H, W, 3].

    Returns:
        figures of the fit to the landmarks, and of the fit to what the frames show.
    """
    geometry = fit_track(track, face_model)
    geometry = replace(geometry, expression=geometry.expression[::-1].copy())
    known = geometry.project(face_model.vertices(geometry.template, geometry.expression))
    valid = np.flatnonzero(geometry.valid)
    widest = int(valid[np.argmax(lip_aperture(track.landmarks[valid, :NUM_VERTICES]) / geometry.scale[valid])])
    seen = track.landmarks[widest, :NUM_VERTICES, :2]
    triangles = face_model.triangles.astype(np.int32)
    window = window_from_image(geometry)
    pictures = [
        draw_face(frames[widest], seen, known[t], triangles, chain_affine(invert_affine(window[t]), window[widest]))
        for t in valid
    ]
    with MediaPipeTracker() as tracker:
        timed = zip(track.times[valid], pictures, strict=True)
        again = track_face(timed, tracker, width=track.width, height=track.height)
    fitted = fit_track(again, face_model)
    windows = GreyWindows(fitted)
    for picture in pictures:
        windows.append(picture)
    opening = lip_aperture(face_model.vertices(geometry.template, geometry.expression))[valid]
    refined = refine_face(again, fitted, windows, FaceMesh(face_model))
    return tuple(known_figures(found, known[valid], geometry.scale[valid], opening, face_model)
                 for found in (fitted, refined))  # fmt: skip


def known_figures(
    fitted: FaceGeometry, known: np.ndarray, scale: np.ndarray, opening: np.ndarray, face_model: FaceModel
) -> dict[str, float]:
    """Judge a fit by what was drawn.

    Args:
        known: [T, V, 3] px, the vertices as they were drawn.
        scale: [T] px per IOD.
        opening: [T] IOD, the openness that was drawn.

    Returns:
        errors in % of the inter-ocular distance; `lips_scatter_%` is what is left of the lips' when each vertex' mean
        error is taken away; openness against what was drawn; share of frames in which a face was found.
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
        "aperture_r": metrics.correlation(lip_aperture(head[found]), opening[found]),
        "aperture_deviation_ratio": metrics.deviation_ratio(lip_aperture(head[found]), opening[found]),
        "found": float(found.mean()),
    }


def draw_face(
    picture: np.ndarray, seen: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    """Draw a mesh over a picture, textured with that picture.

    Args:
        picture: uint8 [H, W, 3].
        seen: [V, 2] px, where the vertices lie in the picture.
        vertices: [V, 3] px, where they are to be drawn.
        triangles: [F, 3].
        moved: [2, 3] new place of the surroundings from their old one.

    Returns:
        uint8 [H, W, 3]
    """
    height, width = picture.shape[:2]
    index, barycentric = rasterize(vertices.astype(np.float32), triangles, height, width)
    source = interpolate(index, barycentric, triangles, seen.astype(np.float32)) - 0.5
    drawn = cv2.remap(picture, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where((index >= 0)[..., None], drawn, warp_image(picture, moved, width, height))


def chain_affine(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Do one map [2, 3] after another."""
    return np.concatenate([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]], 1)


def rotation_jitter(rotation: np.ndarray) -> float:
    """Mean length of the second difference of rotations [T, 3, 3], in degrees."""
    turns = Rotation.from_matrix(rotation)
    return float(np.degrees(metrics.jitter((turns.mean().inv() * turns).as_rotvec())))


def known_face(face_model: FaceModel, *, noise_iod: float, seed: int) -> KnownFace:
    """Make a face that speaks and turns its head, from coefficients drawn at random, and its noisy landmarks.

    Args:
        noise_iod: standard deviation of the noise on each coordinate of each landmark.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(SYNTHETIC_FRAMES) / SYNTHETIC_FPS
    shape = np.tensordot(rng.normal(size=len(face_model.shape_basis)), face_model.shape_basis, 1)
    waves = _smooth_series(rng, times, face_model.num_expression, fastest_hz=4.0)
    vertices = face_model.vertices(face_model.mean + shape, waves)
    corners = vertices[:, (33, 263)]
    vertices = (vertices / np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1).mean()).astype(np.float64)
    angles = _smooth_series(rng, times, 3, fastest_hz=0.7) * np.radians((4, 8, 3))
    rotation = Rotation.from_rotvec(angles).as_matrix()
    points = vertices @ np.swapaxes(rotation, -1, -2) * SYNTHETIC_SCALE_PX
    points = points + np.pad(_smooth_series(rng, times, 2, fastest_hz=0.7) * 5 + 150, ((0, 0), (0, 1)))[:, None]
    points += rng.normal(scale=noise_iod * SYNTHETIC_SCALE_PX, size=points.shape)
    landmarks = np.zeros((len(times), NUM_LANDMARKS, 3), np.float32)
    landmarks[:, :NUM_VERTICES] = points
    detected = np.ones(len(times), bool)
    track = FaceTrack(landmarks=landmarks, detected=detected, times=times, width=300, height=300)
    return KnownFace(vertices=vertices, rotation=rotation, track=track)


def round_trip_figures(face: KnownFace, face_model: FaceModel) -> dict[str, float]:
    """Fit a known face from its landmarks and compare with what it was made of.

    The rest pose of a face is a convention, so vertices are compared, not coefficients.
    """
    geometry = fit_track(face.track, face_model)
    fitted = face_model.vertices(geometry.template, geometry.expression).astype(np.float64)
    # head space is known up to one similarity for the whole clip
    count = len(fitted)
    weight = np.full(count * NUM_VERTICES, 1 / (count * NUM_VERTICES))
    aligned = procrustes(fitted.reshape(1, -1, 3), face.vertices.reshape(1, -1, 3), weight)
    fitted = aligned[1][0] * fitted @ aligned[0][0].T + aligned[2][0]
    turn = Rotation.from_matrix(geometry.rotation @ aligned[0][0].T) * Rotation.from_matrix(face.rotation).inv()
    miss = 100 * np.linalg.norm(fitted - face.vertices, axis=-1)
    return {
        "lips_%": float(miss[:, list(LIPS)].mean()),
        "face_%": float(miss.mean()),
        "rotation_error_deg": float(np.degrees(turn.magnitude().mean())),
        "aperture_r": metrics.correlation(lip_aperture(fitted), lip_aperture(face.vertices)),
        "aperture_deviation_ratio": metrics.deviation_ratio(lip_aperture(fitted), lip_aperture(face.vertices)),
    }


def _smooth_series(rng: np.random.Generator, times: np.ndarray, count: int, *, fastest_hz: float) -> np.ndarray:
    """[T, count] sums of waves with a standard deviation of about one."""
    rates = rng.uniform(0.2, fastest_hz, (4, count))
    phases = rng.uniform(0, 2 * np.pi, (4, count))
    return np.sin(2 * np.pi * times[:, None, None] * rates + phases).sum(1) / np.sqrt(2)
