"""The report of a dub: versions, options, timings and figures, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.geometry.mouth import apertures_of
from personatalk.options import DubbingOptions
from personatalk.progress import Run
from personatalk.stages import FaceDub

VERSION = "0.1.0"


def dubbing_report(
    dubs: Sequence[FaceDub],
    is_dubbed: np.ndarray,
    options: DubbingOptions,
    run: Run,
    *,
    fps: float,
    renderers: Sequence[ClipRenderer],
) -> dict[str, Any]:
    """Describe a run that went well.

    What belongs to one face stands beside the rest where one was dubbed; of several, it stands in a list, "faces".

    Args:
        dubs: of the faces.
        is_dubbed: [N, faces] bool, whether each was dubbed in each frame.
        options: of all.
        run: with its timings.
        fps: frames per second.
        renderers: of the faces.
    """
    choices = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    report = {
        "personatalk": VERSION,
        "torch": torch.__version__,
        "precision": str(renderers[0].precision).removeprefix("torch."),
        "label": "AI MODIFIED",
        "options": choices,
        "num_frames": len(is_dubbed),
        "num_passed_through": int((~is_dubbed.any(1)).sum()),
        "persons": _persons_of(dubs),
        "fps": fps,
        "timings_s": {name: round(value, 3) for name, value in run.timings.items()},
        "processor_s": {name: round(value, 3) for name, value in run.processor_s.items()},
        "peak_memory_mb": run.peak_memory_mb,
    }
    if len(dubs) == 1:
        return report | _face_report(dubs[0], renderers[0])
    passed = (~is_dubbed).sum(0).tolist()
    return report | {
        "faces": [
            {"face": dub.role.options.face, "speech": dub.role.audio.name, "num_passed_through": count}
            | _face_report(dub, renderer)
            for dub, renderer, count in zip(dubs, renderers, passed, strict=True)
        ]
    }


def _persons_of(dubs: Sequence[FaceDub]) -> list[dict[str, Any]]:
    """Everybody who is seen; whoever one of the dubs has dubbed was not left alone."""
    told = zip(*(dub.faces.source.persons for dub in dubs), strict=True)
    return [next((each for each in same if each["left_alone_because"] is None), same[0]) for same in told]


def _face_report(dub: FaceDub, renderer: ClipRenderer) -> dict[str, Any]:
    """What was done with one face."""
    source, driven, candidates = dub.faces.source, dub.driven, dub.bank.candidates
    aperture = apertures_of(driven.head_vertices)
    return {
        "num_occluded": int(source.occlusion.is_occluded[driven.timeline.order].sum()) if source.occlusion else 0,
        "shots": source.shots,
        "face_scale_px": round(float(np.median(source.geometry.scale)), 1),
        "lip_aperture": {"mean": round(float(aperture.mean()), 4), "deviation": round(float(aperture.std()), 4)},
        "painted_share": round(renderer.painted_share(), 3),
        "speaking_style": driven.speaker.evidence.report(),
        "speaker_calibration": driven.calibration.report(),
        "expression": driven.moment.report(dub.role.options.expression) if driven.moment else None,
        "lip_references": candidates.lip_frames.tolist(),
        "face_references": candidates.face_frames.tolist(),
    }
