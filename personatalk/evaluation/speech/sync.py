"""How well the sync networks see that mouth and sound are apart, on real clips of persons that they never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from personatalk.evaluation.geometry.fitting import FACE_MODEL_FILE
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.prediction import MIN_FIT, load_geometry_model, read_features
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.style import style_of
from personatalk.media import read_audio
from personatalk.speech.features import SpeechFeatures, mel_spectrogram_features
from personatalk.speech.sync_network import (
    NUM_SHIFTS,
    STEPS_PER_FRAME,
    Synchrony,
    SyncNetwork,
    lip_features,
    load_sync_network,
    measure_lip_synchrony,
)
from personatalk.training.corpus import MANIFEST_RATE, Clip, read_geometry, spread_over_persons

MIN_DUB_S = 2.0
SHIFTS = range(-6, 7)  # frames by which sounds are moved on purpose
FAR_SHIFTS = tuple(shift for shift in range(-9, 10) if abs(shift) >= 3)  # frames, against which the truth must win
LENGTHS = {"clips of 4 s or more": (4.0, np.inf), "2 to 4 s": (2.0, 4.0), "under 2 s": (0.0, 2.0)}
NETWORKS = {"sync": "stage 1's features", "sync_judge": "judge"}


@dataclass(frozen=True, kw_only=True)
class SeenClip:
    """A real clip, its mouth, and its sound as each network hears it."""

    clip: Clip
    geometry: FaceGeometry
    lips: np.ndarray
    valid: np.ndarray
    times: np.ndarray
    sounds: dict[str, SpeechFeatures]


def evaluate_sync(inputs: EvaluationInputs) -> dict:
    """Measure both networks on real clips, each as it is, moved by -6 to 6 frames, and with another person's sound.

    The truth is the manifest's offset, a guess to a frame.

    Returns:
        what `report_of` gives, a row for each network and length of clip, one for how far apart the two are, and one
        for mouths that stage 1 makes for other people's speech, the truth being no offset.
    """
    face_model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE)
    networks = {name: load_sync_network(inputs.checkpoints, name) for name in NETWORKS}
    usable = [c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT)]
    chosen = spread_over_persons(usable, inputs.limit)
    clips = [seen for clip in chosen if (seen := see_clip(inputs, clip, face_model)) is not None]
    rows: dict[str, list[dict[str, float]]] = {
        f"{title}, {length}": [] for title in NETWORKS.values() for length in LENGTHS
    }
    model = load_geometry_model(inputs.checkpoints)
    for index, seen in enumerate(clips):
        other = next((o for o in clips[index + 1 :] + clips[:index] if o.clip.person != seen.clip.person), None)
        length = next(key for key, (low, high) in LENGTHS.items() if low <= len(seen.times) / MANIFEST_RATE < high)
        for name, network in networks.items():
            figures = sync_figures(network, seen, other)
            if figures:
                rows[f"{NETWORKS[name]}, {length}"].append(figures)
        if apart := frames_apart(*networks.values(), seen):
            rows.setdefault(f"how far apart the two are, {length}", []).append(apart)
        speaking = next((o for o in clips[index + 1 :] + clips[:index] if speaks_to(o, seen)), None)
        if speaking is not None:
            figures = dub_figures(model, networks["sync_judge"], seen, speaking, face_model)
            rows.setdefault("judge, stage 1's mouths for another person's speech", []).append(figures)
    return report_of("sync", rows, clips=len(clips), skipped=len(chosen) - len(clips))


def frames_apart(first: SyncNetwork, second: SyncNetwork, seen: SeenClip) -> dict[str, float]:
    """How far apart two networks find a clip's offset, which they learnt from other persons and hear differently.

    Where they agree against the manifest, its guess is at fault. Empty where the clip is too short for one.
    """
    found = [
        measure_lip_synchrony(n, seen.sounds[n.config.audio], seen.lips, seen.valid, seen.times)
        for n in (first, second)
    ]
    if None in found:
        return {}
    apart = abs(found[0].offset_s - found[1].offset_s) * MANIFEST_RATE
    return {"within_1_frame": float(apart <= 1), "error_frames": apart}


def speaks_to(other: SeenClip, seen: SeenClip) -> bool:
    """Whether a clip is another person's, and it and the one seen are both of 2 s or more."""
    long_enough = min(len(other.times), len(seen.times)) >= MIN_DUB_S * MANIFEST_RATE
    return long_enough and other.clip.person != seen.clip.person


def dub_figures(
    model: GeometryModel, judge: SyncNetwork, seen: SeenClip, other: SeenClip, face_model: FaceModel
) -> dict[str, float]:
    """Let stage 1 say another person's sentence in a person's style, and let the judge look at the mouth."""
    geometry = seen.geometry
    style = style_of(geometry.expression, geometry.valid, geometry.template, face_model)
    sound = other.sounds["speech"]
    times = torch.arange(int(sound.duration * MANIFEST_RATE), dtype=torch.float64) / MANIFEST_RATE
    said = predict_expression(model, sound, times, style).numpy()
    valid = np.ones(len(said), bool)
    lips = lip_features(said, valid, geometry.template, face_model)
    found = measure_lip_synchrony(judge, other.sounds[judge.config.audio], lips, valid, times.numpy())
    error = np.inf if found is None else abs(found.offset_s) * MANIFEST_RATE
    return {
        "within_1_frame": float(error <= 1),
        "error_frames": error,
        "in_sync": float(found is not None and found.in_sync),
    }


def see_clip(inputs: EvaluationInputs, clip: Clip, face_model: FaceModel) -> SeenClip | None:
    """Read a clip; None where no face was tracked."""
    geometry = read_geometry(inputs.corpus, clip)
    if geometry is None:
        return None
    if geometry.valid.sum() < 10:
        return None
    sounds = {
        "speech": read_features(inputs, clip),
        "mel": mel_spectrogram_features(read_audio(inputs.clip_path(clip))),
    }
    lips = lip_features(geometry.expression, geometry.valid, geometry.template, face_model)
    return SeenClip(clip=clip, geometry=geometry, lips=lips, valid=geometry.valid, times=geometry.times, sounds=sounds)


def sync_figures(network: SyncNetwork, seen: SeenClip, other: SeenClip | None) -> dict[str, float]:
    """Figures of one network on one clip; none where the clip is too short for it.

    Returns:
        within_1_frame as it is; shifted_within_1_frame, mean over the shifts; error_frames; beats_shifted, how often
        the evidence is greater where the manifest says than 3 to 9 frames away; in_sync, whether its own sound is
        taken for its own, and stranger_belongs, whether another person's is.
    """
    sound = seen.sounds[network.config.audio]
    truth = seen.clip.offset_s * MANIFEST_RATE
    errors = {}
    for shift in SHIFTS:
        found = measure_lip_synchrony(network, sound, seen.lips, seen.valid, seen.times + shift / MANIFEST_RATE)
        if found is not None:
            errors[shift] = abs(found.offset_s * MANIFEST_RATE - truth - shift)
    found = measure_lip_synchrony(network, sound, seen.lips, seen.valid, seen.times)
    if found is None or not errors:
        return {}
    figures = {
        "within_1_frame": float(errors.get(0, np.inf) <= 1),
        "shifted_within_1_frame": float(np.mean([error <= 1 for error in errors.values()])),
        "error_frames": float(np.median(list(errors.values()))),
        "beats_shifted": beats_shifted(found, truth),
        "in_sync": float(found.in_sync),
    }
    if other is not None:
        false = measure_lip_synchrony(network, other.sounds[network.config.audio], seen.lips, seen.valid, seen.times)
        figures["stranger_belongs"] = float(false is not None and false.in_sync)
    return figures


def beats_shifted(found: Synchrony, truth: float) -> float:
    """How often the evidence at the true offset, in frames, is greater than 3 to 9 frames away from it."""
    middle = (NUM_SHIFTS - 1) // 2

    def at(frames: float) -> float:
        step = middle - round(STEPS_PER_FRAME * frames)
        return float(found.log_odds[step]) if 0 <= step < NUM_SHIFTS else float("nan")

    others = np.array([at(truth + shift) for shift in FAR_SHIFTS])
    others = others[np.isfinite(others)]
    return float((at(truth) > others).mean()) if len(others) else float("nan")
