"""What a person's own mouths add to stage 1: attention from the driving speech to the clip's own sound and mouth.

For each driven frame the frames of the first half are weighed by how like their hidden features are, and what
stage 1 missed there is added, beside the ridge regression that a dub uses; the second half is judged.

python -m benchmarks.own_mouths CLIPS CORPUS --manifest MANIFEST
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.samples import CHECKPOINTS
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.speech.clips import (
    MIN_FIT,
    MIN_SECONDS,
    SpeechClip,
    load_geometry_model,
    read_speech_clip,
)
from personatalk.evaluation.speech.figures import speech_figures
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate, hidden_and_prediction
from personatalk.training.corpus import spread_over_persons, with_measured_offsets

WIDTHS = (0.2, 0.4, 0.8)  # of the attention, in deviations of the hidden features
STRENGTHS = (0.25, 0.5, 1.0)
FIGURES = ("aperture_r", "deviation_ratio", "lip_error_%", "lip_velocity_error_%", "events_met", "false_events")


class AttendedHead(nn.Module):
    """A last layer that adds what it missed where the person said alike.

    Args:
        head: the layer.
        keys: [N, D] its inputs in the person's own speech.
        values: [N, K] what it missed there, in its output's unit.
        width: of the attention, in deviations of the keys.
        strength: factor on what is added.
    """

    def __init__(self, head: nn.Linear, keys: Tensor, values: Tensor, *, width: float, strength: float) -> None:
        super().__init__()
        self.head, self.keys, self.values, self.strength = head, keys, values, strength
        variance = (keys - keys.mean(0)).square().sum(1).mean().clamp(min=1e-12)
        self.sharpness = 1 / (2 * width**2 * variance)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [..., K] for [..., D]."""
        distance = torch.cdist(hidden.reshape(-1, hidden.shape[-1]), self.keys).square()
        missed = torch.softmax(-self.sharpness * distance, -1) @ self.values
        return self.head(hidden) + self.strength * missed.reshape(*hidden.shape[:-1], -1)


@torch.inference_mode()
def with_own_mouths(model: GeometryModel, clip: SpeechClip, *, width: float, strength: float) -> GeometryModel:
    """Let stage 1 attend to the first half of a clip; the model itself where that shows nothing."""
    trusted = torch.from_numpy(clip.first.valid) & torch.from_numpy(clip.first.times >= 0)
    if not trusted.any():
        return model
    keys, predicted = hidden_and_prediction(
        model, clip.features, torch.from_numpy(clip.first.times)[trusted], clip.style
    )
    missed = torch.from_numpy(clip.first.expression[trusted.numpy(), : model.config.expression_dim]) - predicted
    missed = missed - keys @ model.population_residual.T  # what it misses of everybody
    missed = (missed - missed.mean(0)) / model.expression_deviation
    attending = copy.deepcopy(model)
    head = AttendedHead(model.head, keys, missed.float(), width=width, strength=strength)
    attending.head = cast(nn.Linear, head)  # it takes and gives what the layer does
    return attending


def variants(model: GeometryModel, clip: SpeechClip) -> dict[str, GeometryModel]:
    """Stage 1 as it is, calibrated, and with attention to the person's own mouths."""
    calibrated, _ = calibrate(model, clip.features, clip.first, clip.style, offset_s=0.0)
    made = {"not calibrated": model, "calibrated by ridge regression": calibrated}
    for width in WIDTHS:
        for strength in STRENGTHS:
            name = f"attention of width {width:g}, strength {strength:g}"
            made[name] = with_own_mouths(model, clip, width=width, strength=strength)
            made[f"calibrated, and {name}"] = with_own_mouths(calibrated, clip, width=width, strength=strength)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What attention to a person's own mouths adds to stage 1.")
    parser.add_argument("data", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    args = parser.parse_args(arguments)
    inputs = EvaluationInputs(data=args.data, manifest=args.manifest, corpus=args.corpus, checkpoints=CHECKPOINTS)
    face_model, model = inputs.load_face_model(), load_geometry_model(CHECKPOINTS)
    usable = [c for c in inputs.read_clips() if c.has_fitting_sound(MIN_FIT) and c.is_long_enough(MIN_SECONDS)]
    chosen = spread_over_persons(with_measured_offsets(usable, args.corpus, is_required=True))
    rows: dict[str, list[dict[str, float]]] = {}
    for chosen_clip in chosen:
        clip = read_speech_clip(inputs, chosen_clip, face_model)
        if clip is None:
            continue
        for name, variant in variants(model, clip).items():
            speech = predict_expression(variant, clip.features, clip.times, clip.style).numpy()
            rows.setdefault(name, []).append(speech_figures(speech, clip, face_model))
    print("\t".join(("stage 1", *FIGURES)))
    for name, figures in rows.items():
        means = (np.nanmean([row[figure] for row in figures]) for figure in FIGURES)
        print("\t".join((f"{name}, {len(figures)} clips", *(f"{mean:.3f}" for mean in means))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
