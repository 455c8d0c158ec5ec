"""A manifest in, a report and a table out: every evaluation by its name."""

from __future__ import annotations

import json
from functools import partial

from personatalk.checkpoints import load_config
from personatalk.evaluation.dubbing.dubs import evaluate_pipeline
from personatalk.evaluation.dubbing.leak import evaluate_pipeline_leak
from personatalk.evaluation.dubbing.silent_sources import evaluate_silent_sources
from personatalk.evaluation.dubbing.syncnet import evaluate_syncnet
from personatalk.evaluation.geometry.fitting import evaluate_fitting
from personatalk.evaluation.geometry.occlusion import evaluate_occlusion
from personatalk.evaluation.geometry.refinement import evaluate_refinement
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.native import evaluate_native
from personatalk.evaluation.rendering.renderers import evaluate_renderers
from personatalk.evaluation.rendering.shut_mouth import evaluate_shut_mouth
from personatalk.evaluation.report import to_markdown
from personatalk.evaluation.speech.breath import evaluate_breath
from personatalk.evaluation.speech.calibration import evaluate_calibration
from personatalk.evaluation.speech.expression import evaluate_expression
from personatalk.evaluation.speech.languages import evaluate_languages
from personatalk.evaluation.speech.own_speech import evaluate_own_speech
from personatalk.evaluation.speech.phonemes import evaluate_phonemes
from personatalk.evaluation.speech.prediction import evaluate_speech
from personatalk.evaluation.speech.robustness import evaluate_robustness
from personatalk.evaluation.speech.silence import evaluate_silence
from personatalk.evaluation.speech.style import evaluate_style
from personatalk.evaluation.speech.style_seconds import evaluate_style_seconds
from personatalk.evaluation.speech.sync import evaluate_sync
from personatalk.speech.config import SpeechEncoderConfig
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


EVALUATIONS = {
    "fitting": evaluate_fitting,
    "refinement": evaluate_refinement,
    "speech": evaluate_speech,
    "speech-measured": partial(evaluate_speech, measured_offsets=True),
    "own-speech": evaluate_own_speech,
    "sync": evaluate_sync,
    "style": evaluate_style,
    "style-seconds": evaluate_style_seconds,
    "calibration": evaluate_calibration,
    "silence": evaluate_silence,
    "breath": evaluate_breath,
    "phonemes": evaluate_phonemes,
    "robustness": evaluate_robustness,
    "languages": evaluate_languages,
    "expression": evaluate_expression,
    "rendering": evaluate_renderers,
    "native": evaluate_native,
    "shut-mouth": evaluate_shut_mouth,
    "occlusion": evaluate_occlusion,
    "dubbing": evaluate_pipeline,
    "leak": evaluate_pipeline_leak,
    "silent-sources": evaluate_silent_sources,
    "syncnet": evaluate_syncnet,
}
