"""Whether a dub's mouth follows the source's: silence and other people's speech say nothing of how the source moved."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from personatalk import metrics
from personatalk.errors import NoFaceError
from personatalk.evaluation.dubbing.dubs import MIN_SECONDS, Dub, foreign_clip, shipped_dub
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.face_model import FaceModel
from personatalk.inspection.seen_face import SeenFace, see_face
from personatalk.media import read_audio
from personatalk.speech.features import SAMPLE_RATE
from personatalk.training.corpus import Clip, spread_over_persons


@dataclass(frozen=True, kw_only=True)
class LeakProtocol:
    """What the evaluation of leaks runs on every clip.

    Attributes:
        inputs: where the clips are.
        dub: writes a dubbed video.
        face_model: to measure the faces with.
    """

    inputs: EvaluationInputs
    dub: Dub
    face_model: FaceModel

    def figures(self, clip: Clip, clips: list[Clip]) -> dict[str, dict[str, float]]:
        """Dub one clip with silence and with the speech of another of the clips: row to figures.

        Raises:
            NoFaceError: no face is found in the clip or in a dub.
        """
        video = self.inputs.clip_path(clip)
        source = see_face(video, self.face_model)
        seconds = source.geometry.times[-1] - source.geometry.times[0] + 0.1
        sounds = {
            "another person's speech": read_audio(self.inputs.clip_path(foreign_clip(clip, clips))),
            "silence": np.zeros(int(seconds * SAMPLE_RATE), np.float32),
        }
        rows = {"the source": {"deviation_%": 100 * float(source.aperture[source.geometry.valid].std())}}
        for name, waveform in sounds.items():
            driven, seen = self.dub_and_measure(video, waveform)
            rows[f"stage 1, {name}"] = leak_figures(driven, source.aperture, source.geometry.valid)
            count = min(source.num_frames, seen.num_frames)
            trusted = source.geometry.valid[:count] & seen.geometry.valid[:count]
            rows[f"video, {name}"] = leak_figures(seen.aperture[:count], source.aperture[:count], trusted)
        return rows

    def dub_and_measure(self, video: Path, waveform: np.ndarray) -> tuple[np.ndarray, SeenFace]:
        """Dub a video with a waveform [S] at 16 kHz: the driven lip aperture [T], and the face in the result."""
        with tempfile.TemporaryDirectory() as folder:
            sound, output = Path(folder) / "sound.wav", Path(folder) / "dub.mp4"
            soundfile.write(sound, waveform, SAMPLE_RATE)
            driven = self.dub(video, sound, output)
            return driven, see_face(output, self.face_model)


def evaluate_leak(inputs: EvaluationInputs, dub: Dub) -> dict:
    """Dub clips with silence and with another person's speech, and look for the source's mouth in the result.

    Args:
        dub: writes a dubbed video.

    Returns:
        what `report_of` gives, with a row for stage 1 and one for the video, each for either sound: correlation with
        the source's lip aperture, not a number where nothing moves, and the standard deviation of the lip aperture in %
        of the inter-ocular distance.
    """
    face_model = inputs.load_face_model()
    protocol = LeakProtocol(inputs=inputs, dub=dub, face_model=face_model)
    clips = [c for c in inputs.read_clips() if c.has_sound and c.is_long_enough(MIN_SECONDS)]
    chosen = spread_over_persons(clips, inputs.limit)
    rows: dict[str, list[dict[str, float]]] = {}
    skipped = []
    for clip in chosen:
        try:
            for name, figures in protocol.figures(clip, clips).items():
                rows.setdefault(name, []).append(figures)
        except NoFaceError as error:
            skipped.append({"clip": clip.name, "reason": str(error)})
    return report_of("leak", rows, clips=len(chosen) - len(skipped), skipped=len(skipped), why=skipped)


def evaluate_pipeline_leak(inputs: EvaluationInputs) -> dict:
    """Look for the source's mouth in dubs by the pipeline as it ships."""
    return evaluate_leak(inputs, shipped_dub(inputs))


def leak_figures(result: np.ndarray, source: np.ndarray, trusted: np.ndarray) -> dict[str, float]:
    """How far lip aperture [T] follows the source's [T], over the trusted frames [T] bool."""
    result, source = result[trusted], source[trusted]
    return {"leak_r": metrics.correlation(result, source), "deviation_%": 100 * float(result.std())}
