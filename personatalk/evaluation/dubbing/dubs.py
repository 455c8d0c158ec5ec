"""How good whole dubs are: each clip is given another's speech, and the result is tracked and measured again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import soundfile

from personatalk import metrics
from personatalk.errors import NoFaceError
from personatalk.evaluation.geometry.fitting import FACE_MODEL_FILE
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.inspection.seen_face import SeenFace, see_face
from personatalk.media import probe_video, read_audio, read_frames
from personatalk.metrics.identity import FACE_FILES, FaceEmbedder, embed
from personatalk.speech.sync_network import Synchrony
from personatalk.training.corpus import MANIFEST_RATE, Clip, spread_over_persons

MIN_SECONDS = 2.0  # of shorter clips it is only said what they kept, not how the mouth moves
MAX_LAG = 8  # frames
SAMPLE_RATE = 16000
AUDIO_TOLERANCE_S = 0.08  # encoders pad by up to two packets

# (video, audio, output) -> lip aperture [T] in IOD that stage 1 drove; writes the dubbed video
Dub = Callable[[Path, Path, Path], np.ndarray]
# (waveform [S] at 16 kHz, a face's geometry) -> how far the two are apart, None where that cannot be told
Judge = Callable[[np.ndarray, FaceGeometry], Synchrony | None]


def evaluate_dubbing(inputs: EvaluationInputs, dub: Dub, judge: Judge) -> dict:
    """Dub each clip that has sound with the speech of another person's clip.

    Args:
        dub: writes a dubbed video.
        judge: measures how far mouth and sound are apart, and had no part in the dub.

    Returns:
        what `report_of` gives, a row for the dubs and one for the clips as they are; `details` has each clip's figures.
    """
    face_model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE)
    embedder = FaceEmbedder.load(*(inputs.checkpoints / name for name in FACE_FILES))
    clips = spread_over_persons([c for c in inputs.read_clips() if c.has_sound], inputs.limit)
    rows: dict[str, list[dict[str, float]]] = {"dubs": [], "the clips themselves": []}
    details, skipped = [], []
    for clip in clips:
        other = foreign_clip(clip, clips)
        video, waveform = inputs.clip_path(clip), read_audio(inputs.clip_path(other))
        with tempfile.TemporaryDirectory() as folder:
            output = (inputs.output or Path(folder)) / f"{clip.name}.dub.mp4"
            output.parent.mkdir(parents=True, exist_ok=True)
            sound = Path(folder) / "speech.wav"
            soundfile.write(sound, waveform, SAMPLE_RATE)
            try:
                source = see_face(video, face_model)
                driven = dub(video, sound, output)
                seen = see_face(output, face_model)
            except NoFaceError as error:
                skipped.append({"clip": clip.name, "reason": str(error)})
                continue
            kept = kept_figures(video, output, sound, source.num_frames, seen.num_frames)
        figures = {**kept, **identity_figures(source, seen, embedder)}
        if clip.is_long_enough(MIN_SECONDS):
            figures |= motion_figures(source, seen, driven)
            figures |= sync_figures(judge(waveform, seen.geometry), expected=0.0)
            own = judge(read_audio(video), source.geometry)
            rows["the clips themselves"].append(sync_figures(own, expected=clip.offset_s * MANIFEST_RATE))
        rows["dubs"].append(figures)
        details.append({"clip": clip.name, "speech": other.name, **figures})
    return report_of("dubbing", rows, clips=len(details), skipped=len(skipped), details=details, why=skipped)


def foreign_clip(clip: Clip, clips: list[Clip]) -> Clip:
    """The next clip of another person that speaks as long as this one; the longest of all where none does.

    Raises:
        ValueError: all clips show one person.
    """
    start = clips.index(clip)
    others = [other for other in clips[start + 1 :] + clips[:start] if other.person != clip.person]
    if not others:
        raise ValueError("dubs need clips with sound of at least two persons")
    long_enough = (other for other in others if clip.seconds is None or other.is_long_enough(clip.seconds))
    return next(long_enough, max(others, key=lambda other: other.seconds or 0.0))


def motion_figures(source: SeenFace, seen: SeenFace, driven: np.ndarray) -> dict[str, float]:
    """Compare the mouth seen in a dub with the one that stage 1 drove, and with the source's.

    Args:
        driven: [T] IOD, lip aperture.

    Returns:
        follows_r, lag_frames, deviation_ratio against the driven mouth; leak_r against the source's own mouth, to be
        read beside driven_leak_r, the same of the driven mouth, and rest_leak_r, the partial correlation given it.
    """
    count = min(source.num_frames, seen.num_frames)
    trusted = (source.geometry.valid[:count] & seen.geometry.valid[:count]).nonzero()[0]
    result, true, target = seen.aperture[trusted], source.aperture[trusted], driven[trusted]
    return {
        "follows_r": metrics.correlation(result, target),
        "lag_frames": float(metrics.best_lag(result, target, MAX_LAG)[0]),
        "deviation_ratio": metrics.deviation_ratio(result, target),
        "leak_r": metrics.correlation(result, true),
        "driven_leak_r": metrics.correlation(target, true),
        "rest_leak_r": partial_correlation(result, true, target),
    }


def sync_figures(found: Synchrony | None, expected: float) -> dict[str, float]:
    """Whether mouth and sound are where they should be.

    Args:
        found: by a judge; None where it could not tell.
        expected: frames by which the picture is known to come after the sound.

    Returns:
        offset_frames, confidence, and whether the offset is within a frame of the one known; none without a judgement.
    """
    if found is None:
        return {}
    offset = found.offset_s * MANIFEST_RATE
    return {
        "offset_frames": offset,
        "sync_confidence": found.confidence,
        "sync_within_1_frame": float(abs(offset - expected) <= 1),
    }


def identity_figures(source: SeenFace, seen: SeenFace, embedder: FaceEmbedder) -> dict[str, float]:
    """Distance of face embeddings from source to dub, beside that of source frames ten apart."""
    count = min(len(source.chips), len(seen.chips))
    if count < 2:
        return {}
    before, after = (embed(embedder, chips[:count]) for chips in (source.chips, seen.chips))
    identity, real = metrics.identity_distance(before, after), metrics.identity_distance(before[1:], before[:-1])
    return {"identity": identity, "identity_real": real, "identity_ratio": identity / real}


def kept_figures(video: Path, dubbed: Path, sound: Path, frames_before: int, frames_after: int) -> dict[str, float]:
    """1 for each thing that a dub must keep and kept: frame count, rate, size, and all of the sound."""
    before, after = probe_video(video), probe_video(dubbed)
    missing = len(read_audio(sound)) / SAMPLE_RATE - len(read_audio(dubbed)) / SAMPLE_RATE
    return {
        "kept_frames": float(frames_before == frames_after),
        "kept_fps": float(before.fps == after.fps),
        "kept_size": float((before.width, before.height) == (after.width, after.height)),
        "kept_sound": float(missing <= AUDIO_TOLERANCE_S),
    }


def partial_correlation(first: np.ndarray, second: np.ndarray, given: np.ndarray) -> float:
    """Correlation of two series [T] once what each shares with a third is taken away."""

    def rest(series: np.ndarray) -> np.ndarray:
        centred, other = series - series.mean(), given - given.mean()
        return centred - other * (centred @ other) / max(other @ other, 1e-12)

    return metrics.correlation(rest(first), rest(second))


def write_comparison(video: Path, dubbed: Path, path: Path, count: int = 6) -> None:
    """Write a picture of source frames above the dub's, spread over the clip."""
    pairs = list(zip(read_frames(video), read_frames(dubbed), strict=False))
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, count).astype(int)]
    rows = [np.concatenate([pair[side].image for pair in chosen], 1) for side in (0, 1)]
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
