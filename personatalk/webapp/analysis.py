"""What the system sees in a clip, without dubbing it: face track, geometry, style, references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from personatalk.face_rendering.reference_bank import ClipReferences
from personatalk.geometry.estimation import follow_face
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.mouth import apertures_of, lip_aperture, lip_descriptors
from personatalk.geometry_construction.style import style_of
from personatalk.media import probe_video, read_audio
from personatalk.media.timeline import plan_timeline
from personatalk.occlusion.search import FaceEstimate, estimate_face
from personatalk.options import DubbingOptions
from personatalk.progress import Run

if TYPE_CHECKING:
    from personatalk.pipeline import DrivenGeometry, DubbingPipeline

SAMPLE_RATE = 16000  # Hz
DIGITS = 4


def analyse(pipeline: DubbingPipeline, clip: Path, speech: Path | None, options: DubbingOptions, run: Run) -> dict:
    """Measure a clip, and with a speech also what a dub would ask for.

    Returns:
        JSON-ready: "clip", "track", "geometry", "style"; with a speech "driven" and "references".

    Raises:
        PersonaTalkError: no face, a broken file, stopped.
    """
    info = probe_video(clip)
    with run.stage("track", "following the face"):
        track, pts = follow_face(clip, point=options.face_point, step=run.step)
    with run.stage("fit", "fitting the face"):
        face = estimate_face(clip, track, pipeline.mesh, step=run.step)
        geometry = face.geometry
    vertices = pipeline.face_model.vertices(geometry.template, geometry.expression)
    style = style_of(geometry.expression, geometry.valid, geometry.template, pipeline.face_model)
    report = {
        "clip": {"width": info.width, "height": info.height, "fps": float(info.fps), "num_frames": len(track)},
        "track": {"frames_with_face": int(track.detected.sum()), "frames_usable": int(geometry.valid.sum())},
        "geometry": _geometry(geometry, vertices),
        "style": {
            "mean_displacement": _rounded(np.linalg.norm(style.vertex_mean, axis=-1).mean()),
            "deviation": _rounded(np.linalg.norm(style.vertex_deviation, axis=-1).mean()),
            "mean_coefficients": _rounded(style.mean.numpy()),
            "rest_coefficients": _rounded(style.rest.numpy()),
        },
        "units": "lengths in inter-ocular distances unless named _px, angles in degrees",
    }
    if speech:
        report |= _with_speech(pipeline, clip, speech, face, (track.times, pts), options, run)
    report["timings_s"] = {name: round(seconds, 3) for name, seconds in run.timings.items()}
    return report


def _geometry(geometry: FaceGeometry, vertices: np.ndarray) -> dict[str, Any]:
    valid = geometry.valid
    angles = Rotation.from_matrix(geometry.rotation).as_euler("yxz", degrees=True)
    opening = lip_aperture(vertices)
    return {
        "face_scale_px": _rounded(np.median(geometry.scale[valid])),
        "yaw_pitch_roll": _rounded(angles),
        "openness": {"mean": _rounded(opening[valid].mean()), "deviation": _rounded(opening[valid].std())},
        "aperture_per_frame": _rounded(opening),
        "usable": valid.tolist(),
    }


def _with_speech(
    pipeline: DubbingPipeline, clip: Path, speech: Path, face: FaceEstimate,
    timing: tuple[np.ndarray, np.ndarray], options: DubbingOptions, run: Run,
) -> dict[str, Any]:  # fmt: skip
    with run.stage("listen", "listening to the speech"):
        waveform = read_audio(speech, SAMPLE_RATE)
        features = pipeline.speech_encoder.encode(waveform)
    with run.stage("geometry", "shaping the mouth"):
        timeline = plan_timeline(*timing, len(waveform) / SAMPLE_RATE, options.length)
        driven = pipeline.drive(face, features, timeline, options, run)
    with run.stage("references", "choosing references"):
        references = _references(pipeline, face.geometry, driven, options)
    opening = apertures_of(driven.head_vertices)
    return {
        "driven": {
            "num_frames": len(timeline.order),
            "openness": {"mean": _rounded(opening.mean()), "deviation": _rounded(opening.std())},
            "aperture_per_frame": _rounded(opening),
        },
        "references": {
            "strategy": options.reference_strategy,
            "lip_frames": references.lip_indices.tolist(),
            "face_frames": references.face_indices.tolist(),
        },
    }


def _references(
    pipeline: DubbingPipeline, geometry: FaceGeometry, driven: DrivenGeometry, options: DubbingOptions
) -> ClipReferences:
    posed = driven.posed
    demanded = lip_descriptors(driven.head_vertices, posed.template, posed.rotation)[posed.valid]
    return ClipReferences(pipeline.mesh, geometry, demanded, options.reference_strategy)


def _rounded(values: Any) -> Any:
    """Round a number or an array for JSON; what is not finite becomes None."""
    array = np.round(np.asarray(values, np.float64), DIGITS)
    return np.where(np.isfinite(array), array, None).tolist()
