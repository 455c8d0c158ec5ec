"""How good whole dubs are: each clip is dubbed with another's speech, and the result is tracked and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from personatalk import metrics
from personatalk.errors import NoFaceError, PersonaTalkError
from personatalk.evaluation.dubbing.jaw_band import jaw_band_figures
from personatalk.evaluation.inputs import FACE_MODEL_FILE, EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.inspection.seen_face import SeenFace, see_face
from personatalk.media import probe_video, read_audio
from personatalk.metrics.perceptual import LPIPS_FILES, Lpips
from personatalk.options import DubbingOptions
from personatalk.persons.embedding import FACE_FILES, FaceEmbedder, embed
from personatalk.pipeline import load_pipeline
from personatalk.speech.features import SAMPLE_RATE, mel_spectrogram_features
from personatalk.speech.sync_network import Synchrony, load_sync_network, measure_synchrony
from personatalk.training.corpus import MANIFEST_RATE, Clip, spread_over_persons

MIN_SECONDS = 2.0  # shorter clips are only judged by what they keep, not by how the mouth moves
MAX_LAG = 8  # frames
AUDIO_TOLERANCE_S = 0.08  # encoders pad by up to two packets

# (video, audio, output) -> lip aperture [T] in IOD that stage 1 drove; writes the dubbed video
Dub = Callable[[Path, Path, Path], np.ndarray]
# (waveform [S] at 16 kHz, a face's geometry) -> their offset; None where they are too short to measure it
Judge = Callable[[np.ndarray, FaceGeometry], Synchrony | None]


@dataclass(frozen=True, kw_only=True)
class DubbingProtocol:
    """What the evaluation of dubs runs on every clip.

    Attributes:
        inputs: where the clips are.
        dub: writes a dubbed video.
        judge: measures the offset of mouth and audio; it has no part in the dubs.
        mesh: of the face model, to measure the faces with.
        embedder: of identity.
        lpips: of the band outside of the jaw.
    """

    inputs: EvaluationInputs
    dub: Dub
    judge: Judge
    mesh: FaceMesh
    embedder: FaceEmbedder
    lpips: Lpips

    def figures(self, clip: Clip, other: Clip) -> tuple[dict[str, float], dict[str, float]]:
        """Dub a clip with the speech of another: figures of the dub, and of the clip itself where it is long enough.

        Raises:
            NoFaceError: no face is found in the clip or in the dub.
        """
        video, waveform = self.inputs.clip_path(clip), read_audio(self.inputs.clip_path(other))
        with tempfile.TemporaryDirectory() as folder:
            output = (self.inputs.output or Path(folder)) / f"{clip.name}.dub.mp4"
            output.parent.mkdir(parents=True, exist_ok=True)
            speech = Path(folder) / "speech.wav"
            soundfile.write(speech, waveform, SAMPLE_RATE)
            source = see_face(video, self.mesh.face_model)
            driven = self.dub(video, speech, output)
            seen = see_face(output, self.mesh.face_model)
            figures = kept_figures(video, output, speech)
            if clip.is_long_enough(MIN_SECONDS):
                figures |= jaw_band_figures(video, output, (source, seen), self.mesh, self.lpips)
        figures["kept_frames"] = float(source.num_frames == seen.num_frames)
        figures |= identity_figures(source, seen, self.embedder)
        if not clip.is_long_enough(MIN_SECONDS):
            return figures, {}
        figures |= motion_figures(source, seen, driven)
        figures |= sync_figures(self.judge(waveform, seen.geometry), expected_s=0.0)
        return figures, sync_figures(self.judge(read_audio(video), source.geometry), expected_s=clip.offset_s)


def evaluate_dubbing(inputs: EvaluationInputs, dub: Dub, judge: Judge) -> dict:
    """Dub each clip that has sound with the speech of another person's clip.

    Args:
        inputs: the clips.
        dub: writes a dubbed video.
        judge: measures the offset of mouth and audio; it has no part in the dubs.

    Returns:
        what `report_of` gives, a row for the dubs and one for the clips as they are; `details` has each clip's figures.
    """
    protocol = DubbingProtocol(
        inputs=inputs,
        dub=dub,
        judge=judge,
        mesh=FaceMesh(inputs.load_face_model()),
        embedder=FaceEmbedder.load(*(inputs.checkpoints / name for name in FACE_FILES)).to(inputs.device),
        lpips=Lpips.load(*(inputs.checkpoints / name for name in LPIPS_FILES)),
    )
    clips = spread_over_persons([c for c in inputs.read_clips() if c.has_sound], inputs.limit)
    rows: dict[str, list[dict[str, float]]] = {"dubs": [], "the clips themselves": []}
    details, skipped = [], []
    for clip in clips:
        other = foreign_clip(clip, clips)
        try:
            dubbed, itself = protocol.figures(clip, other)
        except NoFaceError as error:
            skipped.append({"clip": clip.name, "reason": str(error)})
            continue
        rows["dubs"].append(dubbed)
        if itself:
            rows["the clips themselves"].append(itself)
        details.append({"clip": clip.name, "speech": other.name, **dubbed})
    return report_of("dubbing", rows, clips=len(details), skipped=len(skipped), details=details, why=skipped)


def evaluate_pipeline(inputs: EvaluationInputs) -> dict:
    """Judge whole dubs by the pipeline as it ships."""
    return evaluate_dubbing(inputs, shipped_dub(inputs), network_judge(inputs.checkpoints))


def shipped_dub(inputs: EvaluationInputs) -> Dub:
    """Dub as the pipeline does where no option is given, stage 2 on the device of the inputs."""
    pipeline = load_pipeline(inputs.checkpoints, str(inputs.device))

    def dub(video: Path, audio: Path, output: Path) -> np.ndarray:
        return pipeline.dub(video, audio, output, DubbingOptions()).driven_aperture

    return dub


def network_judge(checkpoints: Path) -> Judge:
    """The sync network that judges: it takes spectrograms, and learnt from other persons than stage 1's."""
    face_model, network = FaceModel.load(checkpoints / FACE_MODEL_FILE), load_sync_network(checkpoints, "sync_judge")

    def judge(waveform: np.ndarray, geometry: FaceGeometry) -> Synchrony | None:
        return measure_synchrony(network, mel_spectrogram_features(waveform), geometry, face_model)

    return judge


def foreign_clip(clip: Clip, clips: list[Clip]) -> Clip:
    """The next clip of another person that lasts as long as this one; the longest of all where none does.

    Raises:
        PersonaTalkError: all clips show one person.
    """
    start = clips.index(clip)
    others = [other for other in clips[start + 1 :] + clips[:start] if other.person != clip.person]
    if not others:
        raise PersonaTalkError("dubs need clips with sound of at least two persons")
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


def sync_figures(found: Synchrony | None, *, expected_s: float) -> dict[str, float]:
    """Whether mouth and audio are where they should be.

    Args:
        found: by a judge; None where it could not measure.
        expected_s: seconds by which the picture is known to come after the audio.

    Returns:
        offset_frames, of 25 Hz, confidence, and whether the offset is within a frame of the known one; nothing where
        it was not measured.
    """
    if found is None:
        return {}
    return {
        "offset_frames": found.offset_s * MANIFEST_RATE,
        "sync_confidence": found.confidence,
        "sync_within_1_frame": float(abs(found.offset_s - expected_s) * MANIFEST_RATE <= 1 + 1e-6),
    }


def identity_figures(source: SeenFace, seen: SeenFace, embedder: FaceEmbedder) -> dict[str, float]:
    """Distance of face embeddings from source to dub, beside that of source frames ten apart."""
    count = min(len(source.chips), len(seen.chips))
    if count < 2:
        return {}
    before, after = (embed(embedder, chips[:count]) for chips in (source.chips, seen.chips))
    identity, real = metrics.identity_distance(before, after), metrics.identity_distance(before[1:], before[:-1])
    return {"identity": identity, "identity_real": real, "identity_ratio": identity / real}


def kept_figures(video: Path, dubbed: Path, speech: Path) -> dict[str, float]:
    """1 for each thing that a dub must keep and keeps: frame rate, size, and all of the speech."""
    before, after = probe_video(video), probe_video(dubbed)
    missing = len(read_audio(speech)) / SAMPLE_RATE - len(read_audio(dubbed)) / SAMPLE_RATE
    return {
        "kept_fps": float(before.fps == after.fps),
        "kept_size": float((before.width, before.height) == (after.width, after.height)),
        "kept_sound": float(missing <= AUDIO_TOLERANCE_S),
    }


def partial_correlation(first: np.ndarray, second: np.ndarray, given: np.ndarray) -> float:
    """Correlation of two series [T] given a third: of what is left of them after regression on it."""

    def rest(series: np.ndarray) -> np.ndarray:
        centred, other = series - series.mean(), given - given.mean()
        return centred - other * (centred @ other) / max(other @ other, 1e-12)

    return metrics.correlation(rest(first), rest(second))
