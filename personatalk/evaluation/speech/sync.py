"""How well the sync networks measure offsets, on real clips of persons that they never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import MIN_FIT, load_geometry_model, read_features
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
MIN_FRAMES = 10
SHIFTS = range(-6, 7)  # frames by which audio is shifted on purpose
FAR_SHIFTS = tuple(shift for shift in range(-9, 10) if abs(shift) >= 3)  # frames, which the true offset must beat
LENGTHS = {"clips of 4 s or more": (4.0, np.inf), "2 to 4 s": (2.0, 4.0), "under 2 s": (0.0, 2.0)}
NETWORKS = {"sync": "stage 1's features", "sync_judge": "judge"}


@dataclass(frozen=True, kw_only=True)
class SyncClip:
    """A real clip, its lip features, and its audio features of each kind.

    Attributes:
        clip: its line of the manifest.
        geometry: of the T frames.
        lips: [T, L] of `lip_features`.
        audio: features by kind: "speech" and "mel".
    """

    clip: Clip
    geometry: FaceGeometry
    lips: np.ndarray
    audio: dict[str, SpeechFeatures]

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return float(self.geometry.times[-1] - self.geometry.times[0]) + self.geometry.frame_s

    def measure(
        self, network: SyncNetwork, audio: dict[str, SpeechFeatures] | None = None, shift: int = 0
    ) -> Synchrony | None:
        """Measure the offset; None where the clip is too short.

        Args:
            network: takes one of the kinds of audio.
            audio: another clip's; the clip's own where None.
            shift: frames by which the picture is moved back.
        """
        features = (audio or self.audio)[network.config.audio]
        times = self.geometry.times + shift / MANIFEST_RATE
        return measure_lip_synchrony(network, features, self.lips, self.geometry.valid, times)


def evaluate_sync(inputs: EvaluationInputs) -> dict:
    """Measure both networks on real clips: as they are, shifted by -6 to 6 frames, and with another person's audio.

    The truth is the manifest's offset, a guess to a frame.

    Returns:
        what `report_of` gives, a row for each network and length of clip, one for how far apart the two are, and one
        for mouths that stage 1 makes for other people's speech, the truth being no offset.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    networks = {name: load_sync_network(inputs.checkpoints, name) for name in NETWORKS}
    chosen = spread_over_persons([c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT)], inputs.limit)
    clips = [read for clip in chosen if (read := read_sync_clip(inputs, clip, face_model)) is not None]
    rows: dict[str, list[dict[str, float]]] = {
        f"{title}, {length}": [] for title in NETWORKS.values() for length in LENGTHS
    }
    for index, clip in enumerate(clips):
        others = [o for o in clips[index + 1 :] + clips[:index] if o.clip.person != clip.clip.person]
        length = next(name for name, (low, high) in LENGTHS.items() if low <= clip.seconds < high)
        for name, network in networks.items():
            if figures := sync_figures(network, clip, others[0] if others else None):
                rows[f"{NETWORKS[name]}, {length}"].append(figures)
        if apart := frames_apart(networks["sync"], networks["sync_judge"], clip):
            rows.setdefault(f"how far apart the two are, {length}", []).append(apart)
        speaking = next((o for o in others if min(o.seconds, clip.seconds) >= MIN_DUB_S), None)
        if speaking is not None:
            figures = dub_figures(model, networks["sync_judge"], clip, speaking, face_model)
            rows.setdefault("judge, stage 1's mouths for another person's speech", []).append(figures)
    return report_of("sync", rows, clips=len(clips), skipped=len(chosen) - len(clips))


def read_sync_clip(inputs: EvaluationInputs, clip: Clip, face_model: FaceModel) -> SyncClip | None:
    """Read a clip; None where the face is seen in too few frames."""
    geometry = read_geometry(inputs.corpus, clip)
    if geometry is None or geometry.valid.sum() < MIN_FRAMES:
        return None
    mel = mel_spectrogram_features(read_audio(inputs.clip_path(clip)))
    lips = lip_features(geometry.expression, geometry.valid, geometry.template, face_model)
    return SyncClip(clip=clip, geometry=geometry, lips=lips, audio={"speech": read_features(inputs, clip), "mel": mel})


def frames_apart(first: SyncNetwork, second: SyncNetwork, clip: SyncClip) -> dict[str, float]:
    """How far apart two networks find a clip's offset, trained on other persons and on other features.

    Where they agree against the manifest, the manifest is wrong. Empty where the clip is too short for one of them.
    """
    found = [clip.measure(network) for network in (first, second)]
    if found[0] is None or found[1] is None:
        return {}
    apart = abs(found[0].offset_s - found[1].offset_s) * MANIFEST_RATE
    return {"within_1_frame": float(apart <= 1), "error_frames": apart}


def dub_figures(
    model: GeometryModel, judge: SyncNetwork, clip: SyncClip, other: SyncClip, face_model: FaceModel
) -> dict[str, float]:
    """Let stage 1 say another person's sentence in the style of a clip, and let the judge measure the mouth."""
    geometry = clip.geometry
    style = style_of(geometry.expression, geometry.valid, geometry.template, face_model)
    features = other.audio["speech"]
    times = torch.arange(int(features.duration * MANIFEST_RATE), dtype=torch.float64) / MANIFEST_RATE
    speech = predict_expression(model, features, times, style).numpy()
    valid = np.ones(len(speech), bool)
    lips = lip_features(speech, valid, geometry.template, face_model)
    found = measure_lip_synchrony(judge, other.audio[judge.config.audio], lips, valid, times.numpy())
    error = np.inf if found is None else abs(found.offset_s) * MANIFEST_RATE
    return {
        "within_1_frame": float(error <= 1),
        "error_frames": error,
        "in_sync": float(found is not None and found.in_sync),
    }


def sync_figures(network: SyncNetwork, clip: SyncClip, other: SyncClip | None) -> dict[str, float]:
    """Figures of one network on one clip; none where the clip is too short for it.

    Args:
        network: to be judged.
        clip: with a known offset.
        other: of another person, whose audio is tried; None for none.

    Returns:
        within_1_frame, of the clip as it is; shifted_within_1_frame, mean over the shifts; error_frames, the median;
        beats_shifted, see below; in_sync, whether the clip's own audio is accepted, and mismatched_in_sync, whether
        the other's is.
    """
    truth = clip.clip.offset_s * MANIFEST_RATE
    errors = {}
    for shift in SHIFTS:
        if (found := clip.measure(network, shift=shift)) is not None:
            errors[shift] = abs(found.offset_s * MANIFEST_RATE - truth - shift)
    found = clip.measure(network)
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
        false = clip.measure(network, other.audio)
        figures["mismatched_in_sync"] = float(false is not None and false.in_sync)
    return figures


def beats_shifted(found: Synchrony, truth: float) -> float:
    """Of the offsets 3 to 9 frames away from the true one, in frames, the share with lower log odds."""
    middle = (NUM_SHIFTS - 1) // 2

    def log_odds_at(frames: float) -> float:
        step = middle - round(STEPS_PER_FRAME * frames)
        return float(found.log_odds[step]) if 0 <= step < NUM_SHIFTS else float("nan")

    others = np.array([log_odds_at(truth + shift) for shift in FAR_SHIFTS])
    others = others[np.isfinite(others)]
    return float((log_odds_at(truth) > others).mean()) if len(others) else float("nan")
