"""Does the old mouth show in the new one: silence, and another person's speech, say nothing of how the source moved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from personatalk import metrics
from personatalk.errors import NoFaceError
from personatalk.evaluation.dubbing import MIN_SECONDS, foreign_clip
from personatalk.evaluation.geometry import FACE_MODEL_FILE
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech import load_geometry_model
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.model import predict_expression
from personatalk.geometry_construction.style import style_of
from personatalk.inspection.seen_face import SeenFace, see_face
from personatalk.media import read_audio
from personatalk.speech.encoders import load_speech_encoder
from personatalk.speech.features import SAMPLE_RATE
from personatalk.training.corpus import Clip, spread_over_persons

# (waveform [S] at 16 kHz, what is seen of a clip) -> openness [T] that stage 1 asks for at its frames
Predictor = Callable[[np.ndarray, SeenFace], np.ndarray]
# (video, audio, output) -> None: writes the dubbed video
Dub = Callable[[Path, Path, Path], None]


def evaluate_leak(inputs: EvaluationInputs, dub: Dub) -> dict:
    """Dub clips with silence and with another person's speech, and look for the source's mouth in the result.

    Args:
        dub: writes a dubbed video.

    Returns:
        what `report_of` gives, with a row for stage 1 and one for the video, each for either sound: r with the source's
        openness, not a number where nothing moves, and the deviation of openness in % of the inter-ocular distance.
    """
    face_model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE)
    ask = stage_one(inputs.checkpoints, face_model)
    clips = [c for c in inputs.read_clips() if c.has_sound and c.is_long_enough(MIN_SECONDS)]
    chosen = spread_over_persons(clips, inputs.limit)
    rows: dict[str, list[dict[str, float]]] = {}
    skipped = []
    for clip in chosen:
        try:
            for name, figures in leak_of_clip(inputs, clip, clips, face_model, ask, dub).items():
                rows.setdefault(name, []).append(figures)
        except NoFaceError as error:
            skipped.append({"clip": clip.name, "reason": str(error)})
    return report_of("leak", rows, clips=len(chosen) - len(skipped), skipped=len(skipped), why=skipped)


def leak_of_clip(
    inputs: EvaluationInputs, clip: Clip, clips: list[Clip], face_model: FaceModel, ask: Predictor, dub: Dub
) -> dict[str, dict[str, float]]:
    """Figures of one clip, by row.

    Raises:
        NoFaceError: no face is found in the clip or in a dub.
    """
    source = see_face(inputs.clip_path(clip), face_model)
    silence = np.zeros(int((source.geometry.times[-1] - source.geometry.times[0] + 0.1) * SAMPLE_RATE), np.float32)
    sounds = {
        "another person's speech": read_audio(inputs.clip_path(foreign_clip(clip, clips))),
        "silence": silence,
    }
    rows = {"the source": {"deviation_%": 100 * float(source.aperture[source.geometry.valid].std())}}
    for name, waveform in sounds.items():
        asked = ask(waveform, source)
        rows[f"stage 1, {name}"] = leak_figures(asked, source.aperture, source.geometry.valid)
        with tempfile.TemporaryDirectory() as folder:
            sound, output = Path(folder) / "sound.wav", Path(folder) / "dub.mp4"
            soundfile.write(sound, waveform, SAMPLE_RATE)
            dub(inputs.clip_path(clip), sound, output)
            seen = see_face(output, face_model)
        count = min(source.num_frames, seen.num_frames)
        trusted = source.geometry.valid[:count] & seen.geometry.valid[:count]
        rows[f"video, {name}"] = leak_figures(seen.aperture[:count], source.aperture[:count], trusted)
    return rows


def leak_figures(result: np.ndarray, source: np.ndarray, trusted: np.ndarray) -> dict[str, float]:
    """How far openness [T] follows the source's [T], over the trusted frames [T] bool."""
    result, source = result[trusted], source[trusted]
    return {"leak_r": metrics.correlation(result, source), "deviation_%": 100 * float(result.std())}


def stage_one(checkpoints: Path, face_model: FaceModel) -> Predictor:
    """What stage 1 asks of a mouth, in the style of the clip that is seen."""
    model, encoder = load_geometry_model(checkpoints), load_speech_encoder(checkpoints)

    def ask(waveform: np.ndarray, seen: SeenFace) -> np.ndarray:
        geometry = seen.geometry
        style = style_of(geometry.expression, geometry.valid, geometry.template, face_model)
        times = torch.from_numpy(geometry.times - geometry.times[0])
        said = predict_expression(model, encoder.encode(waveform), times, style)
        return driven_aperture(said.numpy(), geometry.template, face_model)

    return ask
