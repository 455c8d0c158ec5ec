"""Tables: what each stage took, and figures of merit that need no true dub to compare with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError, NoFaceError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.mouth import lip_aperture
from personatalk.inspection.attention import switching
from personatalk.inspection.recording import Inspection
from personatalk.inspection.seen_face import see_face
from personatalk.metrics.geometry import LIP_INDICES, correlation, deviation_ratio, jitter
from personatalk.metrics.identity import FaceEmbedder, identity_distance
from personatalk.pipeline import SAMPLE_RATE
from personatalk.speech.features import mel_spectrogram_features
from personatalk.speech.sync_network import load_sync_network, measure_synchrony

TOO_SHORT = "speech and face are there together for too short a time"
JITTER_UNIT = "thousandths of the eyes' distance"
STAGES = {
    "listen": "listening to the speech",
    "track": "following the face",
    "fit": "fitting the face",
    "geometry": "stage 1: shaping the mouth",
    "references": "choosing and encoding references",
    "render": "stage 2: rendering and writing",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a run.

    Attributes:
        name: what is measured.
        value: rounded for reading; None where it could not be measured.
        unit: of the value.
        meaning: how to read it.
    """

    name: str
    value: float | None
    unit: str
    meaning: str


def stage_table(inspection: Inspection) -> list[dict]:
    """What each stage took: rows of stage, seconds, share of the whole, ms a frame, peak memory (MB, or None)."""
    timings = inspection.report["timings_s"]
    memory = inspection.report.get("peak_memory_mb", {})
    total = sum(timings.values())
    rows = [
        {
            "stage": STAGES.get(name, name),
            "seconds": seconds,
            "share": seconds / total if total else 0.0,
            "ms_per_frame": 1000 * seconds / inspection.num_frames,
            "peak_memory_mb": memory.get(name),
        }
        for name, seconds in timings.items()
    ]
    peaks = [row["peak_memory_mb"] for row in rows if row["peak_memory_mb"] is not None]
    whole = {"stage": "all", "seconds": total, "share": 1.0, "ms_per_frame": 1000 * total / inspection.num_frames}
    return [*rows, whole | {"peak_memory_mb": max(peaks, default=None)}]


def figures(inspection: Inspection) -> list[Figure]:
    """Figures of the dub; identity needs the weights of the face embedder (half a second)."""
    valid = inspection.posed.valid
    driven, source = inspection.driven_vertices[valid], inspection.source_vertices[valid]
    shaken, shaken_source = (_jitter(vertices) for vertices in (driven, source))
    found = [
        *_synchrony(inspection, replace(inspection.posed, times=inspection.times), "driven"),
        Figure(
            name="jitter of the lips", value=round(shaken, 2), unit=JITTER_UNIT,
            meaning=f"what shakes from frame to frame; the source's own lips {shaken_source:.2f}",
        ),
        Figure(
            name="liveliness of the mouth", value=round(deviation_ratio(lip_aperture(driven), lip_aperture(source)), 2),
            unit="of the source's", meaning="deviation of openness as a share of the source's; under 1 mumbles",
        ),
    ]  # fmt: skip
    if len(inspection.seams):
        found.append(
            Figure(
                name="seam", value=round(float(inspection.seams.mean()), 3), unit="of the source's gradient",
                meaning=f"gradient across the mask's edge, {len(inspection.seams)} frames; 1 where no seam shows",
            )
        )  # fmt: skip
        found.append(_identity(inspection))
    for kind in ("lip", "face"):
        value = switching(inspection, kind)
        found.append(
            Figure(
                name=f"switching of {kind} references", value=round(value, 3) if np.isfinite(value) else None,
                unit="of the weight, a frame", meaning="share of the weight that changes references; 0 is steady",
            )
        )  # fmt: skip
    return found


def seen_figures(inspection: Inspection, video: Path) -> list[Figure]:
    """Figures of the mouth that is seen in the dubbed video: follows its face anew, as long as that stage took.

    Args:
        inspection: a recorded run.
        video: the dubbed video.
    """
    try:
        seen = see_face(Path(video), inspection.face_model)
    except NoFaceError as error:
        return [Figure(name="seen mouth", value=None, unit="", meaning=str(error))]
    count = min(len(seen.geometry), inspection.num_frames)
    valid = seen.geometry.valid[:count] & inspection.posed.valid[:count]
    asked, opening = lip_aperture(inspection.driven_vertices[:count]), seen.aperture[:count]
    vertices = inspection.face_model.vertices(seen.geometry.template, seen.geometry.expression)
    follows = correlation(opening[valid], asked[valid])
    return [
        *_synchrony(inspection, replace(seen.geometry, times=seen.geometry.times - seen.geometry.times[0]), "seen"),
        Figure(
            name="seen mouth follows", value=round(follows, 2) if np.isfinite(follows) else None, unit="correlation",
            meaning="openness that is seen in the dub with the one that was asked for; 1 is perfect",
        ),
        Figure(
            name="jitter of the seen lips", value=round(_jitter(vertices[seen.geometry.valid]), 2), unit=JITTER_UNIT,
            meaning="the same for the lips as they are seen in the dub",
        ),
    ]  # fmt: skip


def _synchrony(inspection: Inspection, geometry: FaceGeometry, which: str) -> list[Figure]:
    """How a moving mouth and the new speech belong together while the speech lasts, by the judging network."""
    names = (f"sync offset, {which} mouth", f"sync confidence, {which} mouth")
    try:
        network = load_sync_network(DEFAULT_FOLDER, "sync_judge")
    except CheckpointError as error:
        return [Figure(name=name, value=None, unit="", meaning=str(error)) for name in names]
    spoken = geometry.times <= len(inspection.waveform) / SAMPLE_RATE
    parts = {name: values[spoken] for name, values in vars(geometry).items() if name != "template"}
    geometry = FaceGeometry(template=geometry.template, **parts)
    found = measure_synchrony(network, mel_spectrogram_features(inspection.waveform), geometry, inspection.face_model)
    values = (None, None) if found is None else (round(1000 * found.offset_s), round(found.confidence, 1))
    return [
        Figure(
            name=names[0], value=values[0], unit="ms",
            meaning="by which the mouth comes after the sound; negative before it" if found else TOO_SHORT,
        ),
        Figure(
            name=names[1], value=values[1], unit="log odds",
            meaning="of that offset against the others; the offset says something from about 6 on",
        ),
    ]  # fmt: skip


def _jitter(vertices: np.ndarray) -> float:
    """Mean second difference of a lip vertex, thousandths of the IOD."""
    if len(vertices) < 3:
        return float("nan")
    return float(1000 * jitter(vertices[:, LIP_INDICES]) / np.sqrt(len(LIP_INDICES)))


def _identity(inspection: Inspection) -> Figure:
    """Distance of the dubbed face to the source's, by dlib's embedding; chips of the judged frames."""
    name, unit = "identity", "distance of embeddings"
    try:
        embedder = FaceEmbedder.load()
    except CheckpointError as error:
        return Figure(name=name, value=None, unit=unit, meaning=str(error))
    chips = torch.from_numpy(inspection.chips).permute(1, 0, 4, 2, 3).float() / 255
    with torch.inference_mode():
        source, dubbed = (embedder(part).numpy() for part in chips)
    # the same person in another frame: what the distance is without any dub
    apart = identity_distance(source[1:], source[:-1]) if len(source) > 1 else float("nan")
    return Figure(
        name=name, value=round(identity_distance(source, dubbed), 3), unit=unit,
        meaning=f"dub to its own source frame; the source's frames among each other {apart:.3f}; .6 is another person",
    )  # fmt: skip
