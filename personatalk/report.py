"""The report of a dub: versions, options, timings and figures, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.geometry.mouth import apertures_of
from personatalk.options import DubbingOptions
from personatalk.progress import Run
from personatalk.stages import DrivenGeometry, Faces

VERSION = "0.1.0"


def dubbing_report(
    faces: Faces,
    driven: DrivenGeometry,
    bank: ReferenceBank,
    options: DubbingOptions,
    run: Run,
    *,
    passed: int,
    fps: float,
    precision: torch.dtype,
) -> dict:
    """Describe a run that went well.

    Args:
        passed: frames in which the source stands.
        fps: frames per second.
        precision: in which the renderer computed.
    """
    order, occlusion = driven.timeline.order, faces.source.occlusion
    aperture = apertures_of(driven.head_vertices)
    choices = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    return {
        "personatalk": VERSION,
        "torch": torch.__version__,
        "precision": str(precision).removeprefix("torch."),
        "label": "AI MODIFIED",
        "options": choices,
        "num_frames": len(order),
        "num_passed_through": passed,
        "num_occluded": int(occlusion.is_occluded[order].sum()) if occlusion else 0,
        "persons": faces.source.persons,
        "shots": faces.source.shots,
        "fps": fps,
        "timings_s": {name: round(value, 3) for name, value in run.timings.items()},
        "processor_s": {name: round(value, 3) for name, value in run.processor_s.items()},
        "peak_memory_mb": run.peak_memory_mb,
        "face_scale_px": round(float(np.median(faces.source.geometry.scale)), 1),
        "lip_aperture": {"mean": round(float(aperture.mean()), 4), "deviation": round(float(aperture.std()), 4)},
        "speaking_style": driven.speaker.evidence.report(),
        "speaker_calibration": driven.calibration.report(),
        "expression": driven.moment.report(options.expression) if driven.moment else None,
        "lip_references": bank.candidates.lip_frames.tolist(),
        "face_references": bank.candidates.face_frames.tolist(),
    }
