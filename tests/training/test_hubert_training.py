"""Stage 1 trained on HuBERT features, from the command line to a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from conftest import write_speech

from personatalk.__main__ import main
from personatalk.checkpoints import DEFAULT_FOLDER, load_config, load_into
from personatalk.errors import CheckpointError
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.style import style_of
from personatalk.pipeline import load_pipeline
from personatalk.speech.encoders import load_speech_encoder

SECONDS = 5.0
TRAINING = {
    "num_steps": 2, "batch_size": 2, "num_frames": 20, "min_style_frames": 10, "validate_every": 2, "save_every": 2,
    "loss_weights": {"vertex": 1.0, "velocity": 2.0, "aperture": 0.25, "closure": 0.0, "deviation": 0.3},
}  # fmt: skip


def write_corpus(folder: Path, face_model: FaceModel) -> None:
    """Three persons with 5 s of geometry and sound each."""
    (folder / "geometry").mkdir()
    lines = ["file\tsplit\tperson\tsound\tfit"]
    for seed, split in enumerate(("train", "train", "val")):
        write_speech(folder / f"{seed}.wav", SECONDS)
        count = int(SECONDS * 25)
        expression = np.random.default_rng(seed).normal(0, 0.3, (count, len(face_model.expression_basis)))
        np.savez(
            folder / "geometry" / f"{seed}.npz", template=face_model.mean, expression=expression,
            rotation=np.tile(np.eye(3), (count, 1, 1)), translation=np.zeros((count, 2)), scale=np.ones(count),
            valid=np.ones(count, bool), times=np.arange(count) / 25,
        )  # fmt: skip
        lines.append(f"{seed}.wav\t{split}\t{seed}\t1\t0.9")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")


def write_hubert(path: Path) -> None:
    """HuBERT base with random weights and narrow layers."""
    torch.manual_seed(0)
    convolutions = [(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2
    model = torchaudio.models.wav2vec2_model(
        "group_norm", convolutions, False, 64, 0.1, 128, 16, 3, 1, 0.1, 256, 0.0, 0.1, False, 0.05, None
    )
    torch.save(model.state_dict(), path)


def test_stage_1_is_trained_on_hubert_features(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("personatalk.training.speech_cache.NUM_NOISES", 4)
    face_model, run = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"), tmp_path / "run"
    write_corpus(tmp_path, face_model)
    write_hubert(tmp_path / "hubert.pth")
    where = [str(tmp_path), str(run), "--manifest", str(tmp_path / "manifest.tsv"), "--data", str(tmp_path)]
    encoder = ["--speech-encoder", "hubert", "--hubert-weights", str(tmp_path / "hubert.pth")]
    settings = ["--config", json.dumps(TRAINING), "--model-config", json.dumps({"dim": 16, "depth": 1})]

    assert main(["train", "geometry", *where, *encoder, "--hubert-layers", "1", "3", *settings]) == 0

    config = load_config(GeometryModelConfig, run / "geometry.json")
    assert (config.speech_encoder, config.audio_dim) == ("hubert-64-1-3", 128)
    model = GeometryModel(config).eval()
    load_into(model, run / "geometry.safetensors")
    features = load_speech_encoder(run).encode(np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32))
    style = style_of(np.zeros((9, config.expression_dim)), np.ones(9, bool), face_model.mean, face_model)
    predicted = predict_expression(model, features, torch.arange(50, dtype=torch.float64) / 25, style)
    assert predicted.shape == (50, config.expression_dim) and predicted.isfinite().all()

    capsys.readouterr()
    assert main(["train", "geometry", *where, *settings]) == 2  # the corpus holds HuBERT's features now
    assert "hubert-64-1-3, not of whisper-384-2-3" in capsys.readouterr().err


def test_a_sync_network_for_other_features_is_refused(tmp_path, capsys):
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    write_corpus(tmp_path, face_model)
    write_hubert(tmp_path / "hubert.pth")
    arguments = [
        "train", "offsets", str(tmp_path), str(tmp_path / "run"), "--manifest", str(tmp_path / "manifest.tsv"),
        "--speech-encoder", "hubert", "--hubert-weights", str(tmp_path / "hubert.pth"), "--hubert-layers", "1",
    ]  # fmt: skip
    assert main(arguments) == 2
    assert "whisper-384-2-3, not for hubert-64-1" in capsys.readouterr().err


def test_weights_for_another_encoder_are_not_dubbed_with(tmp_path):
    for path in DEFAULT_FOLDER.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "geometry.json").unlink()
    config = json.loads((DEFAULT_FOLDER / "geometry.json").read_text())
    (tmp_path / "geometry.json").write_text(json.dumps(config | {"speech_encoder": "hubert-768-8"}))
    with pytest.raises(CheckpointError, match="hubert-768-8.*whisper-384-2-3"):
        load_pipeline(tmp_path)
