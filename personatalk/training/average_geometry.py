"""Stage 1 as the average of several runs that began with the same weights: steadier than any one of them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from personatalk.audio import SpeechFeatures
from personatalk.checkpoints import load_config, load_into, save_model
from personatalk.config import GeometryModelConfig, GeometryTrainingConfig
from personatalk.face_model import FaceModel
from personatalk.geometry_model import GeometryModel
from personatalk.training.datasets import SpokenClip, load_spoken_clips
from personatalk.training.preprocess import read_manifest
from personatalk.training.readouts import fit_readouts
from personatalk.training.speech_cache import load_noises


def average_geometry(
    paths: list[Path],
    config: GeometryModelConfig,
    clips: list[SpokenClip],
    face_model: FaceModel,
    noises: list[SpeechFeatures] = (),
) -> GeometryModel:
    """Average the weights of networks, and fit the readouts of the average.

    Args:
        paths: .safetensors of runs that began with the same weights; others cannot be averaged.
        config: of all of them.
        clips: of training.
        face_model: of the coefficients.
        noises: in which nobody speaks.

    Raises:
        CheckpointError: weights are missing or do not fit.

    Source: Wortsman et al. 2022, Model soups; all runs are taken, none is chosen.
    """
    models = [GeometryModel(config) for _ in paths]
    for model, path in zip(models, paths, strict=True):
        load_into(model, path)
    average = models[0]
    states = [model.state_dict() for model in models]
    average.load_state_dict({name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]})
    fit_readouts(average, clips, face_model, noises)
    return average


def main(arguments: list[str] | None = None) -> None:
    """Average the weights of runs of `train geometry --start-from`, fit the readouts, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m personatalk.training.average_geometry", description=main.__doc__)
    parser.add_argument("corpus", type=Path, help="folder that preprocess filled")
    parser.add_argument("folder", type=Path, help="folder for the weights")
    parser.add_argument("weights", type=Path, nargs="+", help=".safetensors of the runs, and of what they began with")
    parser.add_argument("--manifest", type=Path, required=True, help="table of the clips")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="where the face model lies")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    face_model = FaceModel.load(options.checkpoints / "face_model.safetensors")
    spoken = load_spoken_clips(
        read_manifest(options.manifest), options.corpus, face_model, min_fit=GeometryTrainingConfig().min_fit
    )
    training = [clip for clip in spoken if clip.clip.split == "train"]
    config = load_config(GeometryModelConfig, options.weights[0].with_suffix(".json"))
    model = average_geometry(options.weights, config, training, face_model, load_noises(options.corpus))
    save_model(model, config, options.folder, "geometry")


if __name__ == "__main__":
    main()
