"""The mouth while nobody speaks: in silence, in noises of the kinds trained on, in other kinds, in recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.evaluation.speech.clips import load_geometry_model, read_speakers
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.model import predict_expression
from personatalk.media import read_audio
from personatalk.speech.encoders import load_speech_encoder
from personatalk.speech.features import SAMPLE_RATE
from personatalk.speech.noises import NOISES, UNSEEN_NOISES, make_noise

MIN_STYLE_S = 2.0
FRAME_RATE = 25.0
NOISE_S, NOISE_SEED, NOISE_LEVEL = 3.0, 77, 0.1
REST_IOD = 0.02  # a lip aperture nearer to that of the mouth at rest counts as rest


def evaluate_silence(inputs: EvaluationInputs) -> dict:
    """Measure how far the mouth leaves its rest in audio without a voice.

    Where the inputs name a folder of recordings without speech, each of them is judged too.

    Returns:
        what `report_of` gives: away_%, the 95th percentile of the distance of the lip aperture from rest, in % of the
        inter-ocular distance, and within_2_%, the share of frames nearer than 2 %.
    """
    face_model, model = inputs.load_face_model(), load_geometry_model(inputs.checkpoints)
    encoder, rng = load_speech_encoder(inputs.checkpoints), np.random.default_rng(NOISE_SEED)
    speakers = read_speakers(inputs, face_model, MIN_STYLE_S)
    rows: dict[str, list[dict[str, float]]] = {}
    made = {kind: make_noise(kind, int(NOISE_S * SAMPLE_RATE), rng) for kind in (*NOISES, *UNSEEN_NOISES)}
    for kind, waveform in (made | read_sounds(inputs.sounds)).items():
        features = encoder.encode(waveform.astype(np.float32))
        times = torch.arange(int(features.duration * FRAME_RATE), dtype=torch.float64) / FRAME_RATE
        for speaker in speakers:
            style, template = speaker.first, speaker.geometry.template
            speech = torch.cat([style.rest[None], predict_expression(model, features, times, style)])
            aperture = driven_aperture(speech.numpy(), template, face_model)
            away = np.abs(aperture[1:] - aperture[0])
            rows.setdefault(kind, []).append(
                {"away_%": 100 * float(np.quantile(away, 0.95)), "within_2_%": float((away < REST_IOD).mean())}
            )
    return report_of("silence", rows, clips=len(speakers))


def read_sounds(folder: Path | None) -> dict[str, np.ndarray]:
    """Read the recordings of a folder, by name: [S] mono at 16 kHz, as loud as made noise; none without a folder.

    Raises:
        MediaError: a file cannot be read.
    """
    sounds = {path.stem: read_audio(path) for path in sorted(folder.iterdir())} if folder else {}
    return {name: NOISE_LEVEL * sound / (sound.std() + 1e-12) for name, sound in sounds.items()}
