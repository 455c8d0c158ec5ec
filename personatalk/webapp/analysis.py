"""What the system sees in a clip, without dubbing it: face track, geometry, style, references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy.spatial.transform import Rotation

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.mouth import apertures_of, lip_aperture
from personatalk.media import probe_video
from personatalk.options import DubbingOptions
from personatalk.progress import Run

if TYPE_CHECKING:
    from personatalk.stages import Faces
from personatalk.pipeline import DubbingPipeline

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
    faces = pipeline.read_faces(clip, options, run)
    geometry = faces.source.geometry
    vertices = pipeline.face_model.vertices(geometry.template, geometry.expression)
    speaker = pipeline.speaker(faces.style, options)
    style = speaker.style
    report = {
        "clip": {"width": info.width, "height": info.height, "fps": float(info.fps), "num_frames": len(geometry)},
        "track": {"frames_usable": int(geometry.valid.sum())},
        "geometry": _geometry(geometry, vertices),
        "style": {
            "mean_displacement": _rounded(np.linalg.norm(style.vertex_mean, axis=-1).mean()),
            "deviation": _rounded(np.linalg.norm(style.vertex_deviation, axis=-1).mean()),
            "mean_coefficients": _rounded(style.mean.numpy()),
            "rest_coefficients": _rounded(style.rest.numpy()),
            **speaker.evidence.report(),
        },
        "units": "lengths in inter-ocular distances unless named _px, angles in degrees",
    }
    if speech:
        report |= _with_speech(pipeline, faces, speech, options, run)
    report["timings_s"] = {name: round(seconds, 3) for name, seconds in run.timings.items()}
    return report


def _geometry(geometry: FaceGeometry, vertices: np.ndarray) -> dict[str, Any]:
    valid = geometry.valid
    angles = Rotation.from_matrix(geometry.rotation).as_euler("yxz", degrees=True)
    aperture = lip_aperture(vertices)
    return {
        "face_scale_px": _rounded(np.median(geometry.scale[valid])),
        "yaw_pitch_roll": _rounded(angles),
        "lip_aperture": {"mean": _rounded(aperture[valid].mean()), "deviation": _rounded(aperture[valid].std())},
        "aperture_per_frame": _rounded(aperture),
        "usable": valid.tolist(),
    }


def _with_speech(
    pipeline: DubbingPipeline, faces: Faces, speech: Path, options: DubbingOptions, run: Run
) -> dict[str, Any]:
    with run.stage("listen", "encoding the speech"):
        encoded = pipeline.encode_speech(speech)
    with run.stage("geometry", "driving the geometry"):
        driven = pipeline.drive(faces, encoded, options, run)
    with run.stage("references", "selecting references"):
        candidates = pipeline.choose_references(faces, driven, options)
    aperture = apertures_of(driven.head_vertices)
    return {
        "driven": {
            "num_frames": len(driven.timeline.order),
            "lip_aperture": {"mean": _rounded(aperture.mean()), "deviation": _rounded(aperture.std())},
            "aperture_per_frame": _rounded(aperture),
            "speaker_calibration": driven.calibration.report(),
        },
        "references": {
            "strategy": options.reference_strategy,
            "lip_frames": candidates.lip_frames.tolist(),
            "face_frames": candidates.face_frames.tolist(),
        },
    }


def _rounded(values: Any) -> Any:
    """Round a number or an array for JSON; what is not finite becomes None."""
    array = np.round(np.asarray(values, np.float64), DIGITS)
    return np.where(np.isfinite(array), array, cast(Any, None)).tolist()
