"""Tables: time and memory of each stage, and figures of merit that need no true dub to compare with."""

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
from personatalk.metrics.identity import identity_distance
from personatalk.persons.embedding import FaceEmbedder
from personatalk.pipeline import SAMPLE_RATE
from personatalk.speech.features import mel_spectrogram_features
from personatalk.speech.sync_network import load_sync_network, measure_synchrony

TOO_SHORT = "speech and face overlap for too short a time"
JITTER_UNIT = "thousandths of the IOD"
STAGES = {
    "listen": "listening to the speech",
    "track": "tracking the face",
    "fit": "fitting the face",
    "geometry": "stage 1: driving the geometry",
    "references": "choosing and encoding references",
    "render": "stage 2: rendering and writing",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a run.

    Attributes:
        name: what is measured.
        value: rounded; None where it could not be measured.
        unit: of the value.
        meaning: how to read it.
    """

    name: str
    value: float | None
    unit: str
    meaning: str


def stage_table(inspection: Inspection) -> list[dict]:
    """Rows of stage, seconds, share of the whole, ms per frame, peak memory (MB, or None)."""
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
    """Measure the dub; the figure of identity needs the weights of the face embedder."""
    valid = inspection.posed.valid
    driven, source = inspection.driven_vertices[valid], inspection.source_vertices[valid]
    driven_jitter, source_jitter = (_jitter(vertices) for vertices in (driven, source))
    found = [
        *_synchrony(inspection, replace(inspection.posed, times=inspection.times), "driven"),
        Figure(
            name="lip jitter, driven",
            value=round(driven_jitter, 2),
            unit=JITTER_UNIT,
            meaning=f"mean second difference over time; the source's own lips {source_jitter:.2f}",
        ),
        Figure(
            name="lip aperture, deviation ratio",
            value=round(deviation_ratio(lip_aperture(driven), lip_aperture(source)), 2),
            unit="of the source's",
            meaning="below 1 the mouth moves less than the source's",
        ),
    ]
    if len(inspection.seams):
        found.append(
            Figure(
                name="seam",
                value=round(float(inspection.seams.mean()), 3),
                unit="of the source's gradient",
                meaning=f"gradient across the mask's edge, {len(inspection.seams)} frames; 1 is no visible seam",
            )
        )
        found.append(_identity(inspection))
    for kind in ("lip", "face"):
        value = switching(inspection, kind)
        found.append(
            Figure(
                name=f"switching of {kind} references",
                value=round(value, 3) if np.isfinite(value) else None,
                unit="of the weight, per frame",
                meaning="share of the weight that moves to other references",
            )
        )
    return found


def seen_figures(inspection: Inspection, video: Path) -> list[Figure]:
    """Measure the mouth in the dubbed video, by tracking its face again; takes as long as that stage did.

    Args:
        inspection: a recorded run.
        video: the dubbed video.
    """
    try:
        seen = see_face(Path(video), inspection.face_model)
    except NoFaceError as error:
        return [Figure(name="measured mouth", value=None, unit="", meaning=str(error))]
    count = min(len(seen.geometry), inspection.num_frames)
    valid = seen.geometry.valid[:count] & inspection.posed.valid[:count]
    driven, measured = lip_aperture(inspection.driven_vertices[:count]), seen.aperture[:count]
    vertices = inspection.face_model.vertices(seen.geometry.template, seen.geometry.expression)
    follows = correlation(measured[valid], driven[valid])
    return [
        *_synchrony(inspection, replace(seen.geometry, times=seen.geometry.times - seen.geometry.times[0]), "measured"),
        Figure(
            name="lip aperture, measured",
            unit="correlation",
            value=round(follows, 2) if np.isfinite(follows) else None,
            meaning="of the lip aperture in the dub with the driven one; 1 is perfect",
        ),
        Figure(
            name="lip jitter, measured",
            value=round(_jitter(vertices[seen.geometry.valid]), 2),
            unit=JITTER_UNIT,
            meaning="mean second difference over time of the lips in the dub",
        ),
    ]


def _synchrony(inspection: Inspection, geometry: FaceGeometry, which: str) -> list[Figure]:
    """Synchrony of a mouth with the new speech while the speech lasts, by the evaluation's sync network."""
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
            name=names[0],
            value=values[0],
            unit="ms",
            meaning="of the mouth after the sound; negative before it" if found else TOO_SHORT,
        ),
        Figure(
            name=names[1],
            value=values[1],
            unit="log odds",
            meaning="of that offset against the others; the offset is reliable from about 6 on",
        ),
    ]


def _jitter(vertices: np.ndarray) -> float:
    """Mean second difference of a lip vertex, thousandths of the IOD."""
    if len(vertices) < 3:
        return float("nan")
    return float(1000 * jitter(vertices[:, LIP_INDICES]) / np.sqrt(len(LIP_INDICES)))


def _identity(inspection: Inspection) -> Figure:
    """Distance of the dubbed face to the source's in dlib's embedding, over the judged frames."""
    name, unit = "identity", "distance of embeddings"
    try:
        embedder = FaceEmbedder.load()
    except CheckpointError as error:
        return Figure(name=name, value=None, unit=unit, meaning=str(error))
    chips = torch.from_numpy(inspection.chips).permute(1, 0, 4, 2, 3).float() / 255
    with torch.inference_mode():
        source, dubbed = (embedder(part).numpy() for part in chips)
    # for comparison: the same person in another frame of the source
    apart = identity_distance(source[1:], source[:-1]) if len(source) > 1 else float("nan")
    return Figure(
        name=name,
        value=round(identity_distance(source, dubbed), 3),
        unit=unit,
        meaning=f"dub to its source frame; between frames of the source {apart:.3f}; from .6 on another person",
    )
