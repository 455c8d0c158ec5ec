"""A manifest in, a report and a table out: every evaluation by its name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np

from personatalk.checkpoints import load_config
from personatalk.evaluation.dubbing.dubs import Dub, Judge, evaluate_dubbing
from personatalk.evaluation.dubbing.leak import evaluate_leak
from personatalk.evaluation.dubbing.syncnet import evaluate_syncnet
from personatalk.evaluation.geometry.fitting import FACE_MODEL_FILE, evaluate_fitting
from personatalk.evaluation.geometry.occlusion import evaluate_occlusion
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.native import evaluate_native
from personatalk.evaluation.rendering.renderers import evaluate_renderers
from personatalk.evaluation.report import to_markdown
from personatalk.evaluation.speech.breath import evaluate_breath
from personatalk.evaluation.speech.expression import evaluate_expression
from personatalk.evaluation.speech.languages import evaluate_languages
from personatalk.evaluation.speech.persons import evaluate_calibration, evaluate_silence, evaluate_style
from personatalk.evaluation.speech.prediction import evaluate_speech
from personatalk.evaluation.speech.sync import evaluate_sync
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.options import DubbingOptions
from personatalk.pipeline import load_pipeline
from personatalk.speech.config import SpeechEncoderConfig
from personatalk.speech.features import mel_spectrogram_features
from personatalk.speech.sync_network import Synchrony, load_sync_network, measure_synchrony
from personatalk.training.speech_cache import check_cache


def run_evaluation(what: str, inputs: EvaluationInputs) -> dict:
    """Run one evaluation; with an output folder its report is kept there as JSON and as a table.

    Args:
        what: one of EVALUATIONS.

    Raises:
        ValueError: there is no evaluation of that name.
        CheckpointError: the corpus holds features of another speech encoder than that of the checkpoints.
    """
    if what not in EVALUATIONS:
        raise ValueError(f"no evaluation {what!r}, there are {sorted(EVALUATIONS)}")
    if (inputs.corpus / "audio").is_dir():
        check_cache(inputs.corpus, load_config(SpeechEncoderConfig, inputs.checkpoints / "speech_encoder.json"))
    report = EVALUATIONS[what](inputs)
    if inputs.output is not None:
        inputs.output.mkdir(parents=True, exist_ok=True)
        (inputs.output / f"{what}.json").write_text(json.dumps(report, indent=1))
        (inputs.output / f"{what}.md").write_text(to_markdown(report) + "\n")
    return report


def evaluate_pipeline(inputs: EvaluationInputs) -> dict:
    """Judge whole dubs by the pipeline as it ships."""
    return evaluate_dubbing(inputs, shipped_dub(inputs), network_judge(inputs.checkpoints))


def evaluate_pipeline_leak(inputs: EvaluationInputs) -> dict:
    """Look for the source's mouth in dubs by the pipeline as it ships."""
    return evaluate_leak(inputs, shipped_dub(inputs))


def shipped_dub(inputs: EvaluationInputs) -> Dub:
    """Dub as the pipeline does where no option is given, stage 2 on the device of the inputs."""
    pipeline = load_pipeline(inputs.checkpoints, str(inputs.device))

    def dub(video: Path, audio: Path, output: Path) -> np.ndarray:
        return pipeline.dub(video, audio, output, DubbingOptions()).driven_aperture

    return dub


def network_judge(checkpoints: Path) -> Judge:
    """A judge of synchrony that has no part in the dubs: it takes spectrograms, and learnt from other persons."""
    face_model, network = FaceModel.load(checkpoints / FACE_MODEL_FILE), load_sync_network(checkpoints, "sync_judge")

    def judge(waveform: np.ndarray, geometry: FaceGeometry) -> Synchrony | None:
        return measure_synchrony(network, mel_spectrogram_features(waveform), geometry, face_model)

    return judge


EVALUATIONS = {
    "fitting": evaluate_fitting,
    "speech": evaluate_speech,
    "speech-measured": partial(evaluate_speech, measured_offsets=True),
    "sync": evaluate_sync,
    "style": evaluate_style,
    "calibration": evaluate_calibration,
    "silence": evaluate_silence,
    "breath": evaluate_breath,
    "languages": evaluate_languages,
    "expression": evaluate_expression,
    "rendering": evaluate_renderers,
    "native": evaluate_native,
    "occlusion": evaluate_occlusion,
    "dubbing": evaluate_pipeline,
    "leak": evaluate_pipeline_leak,
    "syncnet": evaluate_syncnet,
}
