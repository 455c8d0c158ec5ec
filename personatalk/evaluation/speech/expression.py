"""The expression of the moment: what keeping it gains with own speech, and what of the source it lets through."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from personatalk import metrics
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import (
    MIN_SECONDS,
    Speaker,
    SpeechClip,
    beginning_of,
    halves_of,
    load_geometry_model,
    on_audio_clock,
    read_features,
    read_speakers,
)
from personatalk.evaluation.speech.figures import speech_figures
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import LIPS, FaceModel
from personatalk.geometry.mouth import driven_aperture, lip_aperture, mouth_width
from personatalk.geometry_construction.expression import Filter, moment_expression
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate, find_offset
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.sync_network import SyncNetwork, load_sync_network

# name to the widths of the filter; the first drops the expression, the second is what a dub keeps
FILTERS = {
    "dropped": Filter(aperture_s=0, shape_s=0),
    "kept": Filter(),
    "kept, aperture 0.42 s": Filter(aperture_s=0.42),
    "kept, aperture 0.85 s": Filter(aperture_s=0.85),
    "kept, shape 0.2 s": Filter(shape_s=0.2),
    "kept, shape 0.42 s": Filter(shape_s=0.42),
    "kept, shape 0.6 s": Filter(shape_s=0.6),
    "kept, shape 0.85 s": Filter(shape_s=0.85),
    "kept, shape alone": Filter(aperture_s=0),
}
SMILE_IOD, SMILE_S = 0.06, 0.3  # by which a smile widens the mouth; it sets in within some of the second
SPLIT_S = 0.4  # slower than this is the expression's, faster is speech's


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A speaker as a dub would know them: style and calibration from the first half, at the offset found there."""

    speaker: Speaker
    geometry: FaceGeometry
    features: SpeechFeatures
    model: GeometryModel
    offset_s: float


def evaluate_expression(inputs: EvaluationInputs) -> dict:
    """Drive the second half of each clip by its own speech, by another's and by silence, with the expression kept.

    The kept expression is read off the second half itself, as a dub of it does. So with own speech it sees the slow
    part of the truth, and the other two say what else it lets through.

    Returns:
        what `report_of` gives, a row a filter: figures of `speech` with own speech and the lip error as a share of
        the mean mouth's; with another's speech the correlation of lip aperture with the source's (leak), and of the
        slow and fast parts of the mouth's width; how much stays of a smile that is added to the source, and how well
            the mouth's width follows it; in silence how far the lips stand apart above rest, and
        how that follows the source's aperture.
    """
    face_model = inputs.load_face_model()
    model, network = load_geometry_model(inputs.checkpoints), load_sync_network(inputs.checkpoints)
    speakers = [prepare(inputs, s, model, network, face_model) for s in read_speakers(inputs, face_model, MIN_SECONDS)]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in FILTERS}
    for index, one in enumerate(speakers):
        other = next(s for s in speakers[index + 1 :] + speakers if s.speaker.clip.person != one.speaker.clip.person)
        for name, widths in FILTERS.items():
            rows[name].append(expression_figures(one, other.features, widths, face_model))
    return report_of("expression", rows, clips=len(speakers), persons=len({s.speaker.clip.person for s in speakers}))


def prepare(
    inputs: EvaluationInputs, speaker: Speaker, model: GeometryModel, network: SyncNetwork, face_model: FaceModel
) -> Prepared:
    """Calibrate stage 1 to the first half of a speaker's clip, at the offset found there."""
    geometry, features = on_audio_clock(speaker.geometry, speaker.clip), read_features(inputs, speaker.clip)
    first = beginning_of(geometry, halves_of(geometry)[0])
    found = find_offset(network, model, features, first, face_model)
    offset_s = (found.offset_s or 0.0) if found.in_sync else 0.0
    own, _ = calibrate(model, features, first, speaker.first, offset_s=offset_s)
    return Prepared(speaker=speaker, geometry=geometry, features=features, model=own, offset_s=offset_s)


def expression_figures(
    one: Prepared, foreign: SpeechFeatures, widths: Filter, face_model: FaceModel
) -> dict[str, float]:
    """Judge one filter on the second half of a clip."""
    geometry, style = one.geometry, one.speaker.first
    judged = np.flatnonzero(halves_of(geometry)[1])
    moment = moment_expression(one.model, geometry, style, one.features, offset_s=one.offset_s, widths=widths).values
    times = torch.from_numpy(geometry.times)

    def drive(features: SpeechFeatures, offset_s: float, kept: np.ndarray = moment) -> np.ndarray:
        driven = predict_expression(one.model, features, times - offset_s, style, moment=torch.from_numpy(kept))
        return driven.numpy()[judged]

    truth = face_model.vertices(geometry.template, geometry.expression[judged])
    clip = SpeechClip(
        features=one.features,
        times=times[judged],
        truth=truth,
        speech=geometry.expression[judged, : face_model.num_speech],
        style=style,
        template=geometry.template,
        first=geometry,
    )
    figures = speech_figures(drive(one.features, one.offset_s), clip, face_model)
    mean_mouth = face_model.vertices(geometry.template, np.broadcast_to(style.mean.numpy(), clip.speech.shape))
    share = figures["lip_error_%"] / (100 * metrics.lip_vertex_error(mean_mouth, truth))
    rest = style.rest.numpy()
    above_rest = driven_aperture(rest + moment[judged], geometry.template, face_model) - driven_aperture(
        rest[None], geometry.template, face_model
    )
    driven, smile = drive(foreign, 0.0), smile_of(geometry, judged)
    smiling = replace(geometry, expression=geometry.expression + smile[:, None] * widening(geometry, face_model))
    kept = moment_expression(one.model, smiling, style, one.features, offset_s=one.offset_s, widths=widths).values
    return {
        **figures,
        "lip_error_of_mean_mouth": share,
        **foreign_figures(driven, truth, geometry, face_model),
        **smile_figures(drive(foreign, 0.0, kept), driven, smile[judged], geometry, face_model),
        "silence_above_rest_%": 100 * float(np.abs(above_rest).mean()),
        "silence_deviation_%": 100 * float(above_rest.std()),
        "silence_leak_r": metrics.correlation(above_rest, lip_aperture(truth)),
    }


def widening(geometry: FaceGeometry, face_model: FaceModel) -> np.ndarray:
    """[K] the least change of a face's coefficients that widens its mouth by SMILE_IOD."""
    steps = np.eye(geometry.expression.shape[1], dtype=np.float32)
    widths = mouth_width(face_model.vertices(geometry.template, np.concatenate([0 * steps[:1], steps])))
    gradient = np.where(np.arange(len(steps)) < face_model.num_speech, widths[1:] - widths[0], 0)
    return (SMILE_IOD * gradient / (gradient @ gradient)).astype(np.float32)


def smile_of(geometry: FaceGeometry, judged: np.ndarray) -> np.ndarray:
    """[T] in [0, 1]: a smile that sets in midway of the judged frames [N], and stays."""
    begins = geometry.times[judged[len(judged) // 2]]
    return 1 / (1 + np.exp(-(geometry.times - begins) / (SMILE_S / 4)))


def smile_figures(
    smiling: np.ndarray, plain: np.ndarray, smile: np.ndarray, geometry: FaceGeometry, face_model: FaceModel
) -> dict[str, float]:
    """What of a smile [N] is in a mouth [N, K] driven as a smiling source has it, beside the same without the smile."""
    widths = [mouth_width(face_model.vertices(geometry.template, driven)) for driven in (smiling, plain)]
    wider = (widths[0] - widths[1]) / SMILE_IOD
    centred = smile - smile.mean()
    return {"smile_kept": float(centred @ wider / (centred @ centred)), "smile_r": metrics.correlation(wider, smile)}


def foreign_figures(
    driven: np.ndarray, truth: np.ndarray, geometry: FaceGeometry, face_model: FaceModel
) -> dict[str, float]:
    """How far a mouth [N, K] driven by another's speech follows the source's true one [N, V, 3]."""
    vertices = face_model.vertices(geometry.template, driven)
    width, true_width = mouth_width(vertices), mouth_width(truth)
    sigma = SPLIT_S / geometry.frame_s
    slow, true_slow = (gaussian_filter1d(x, sigma) for x in (width, true_width))
    lips = list(LIPS)
    shift = np.linalg.norm(vertices[:, lips].mean(0) - truth[:, lips].mean(0), axis=-1).mean()
    return {
        "leak_r": metrics.correlation(lip_aperture(vertices), lip_aperture(truth)),
        "slow_width_r": metrics.correlation(slow, true_slow),
        "fast_width_r": metrics.correlation(width - slow, true_width - true_slow),
        "mean_lip_shift_%": 100 * float(shift),
    }
