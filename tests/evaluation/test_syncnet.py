"""SyncNet as a judge: built to fit its published weights, hearing as it was trained to, and finding shifts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from personatalk.__main__ import main
from personatalk.errors import CheckpointError
from personatalk.evaluation.syncnet import (
    SyncNet,
    cepstra,
    compare_streams,
    crop_faces,
    embed_streams,
    face_boxes,
    judge_video,
    load_syncnet,
)
from personatalk.media import Frame

ASSETS = Path(__file__).parents[2] / "assets"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SyncNet().eval()


def test_the_names_are_those_of_the_published_weights(network):
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["netcnnaud.14.weight"] == (256, 256, 3, 3)  # the Nth of a flat list of layers
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)


def test_weights_are_read_from_either_kind_of_file_and_must_fit(network, tmp_path):
    weights = network.state_dict()
    torch.save(weights, tmp_path / "syncnet_v2.model")
    save_file(weights, tmp_path / "syncnet.safetensors")
    for name in ("syncnet_v2.model", "syncnet.safetensors"):
        loaded = load_syncnet(tmp_path / name).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in weights.items())
    torch.save({key: value for key, value in weights.items() if "netfclip" not in key}, tmp_path / "half.model")
    (tmp_path / "text.model").write_text("not found")
    for name in ("half.model", "text.model", "missing.model"):
        with pytest.raises(CheckpointError, match=name):
            load_syncnet(tmp_path / name)


def test_every_window_is_embedded_alone(network):
    crops = np.random.default_rng(0).integers(0, 255, (7, 224, 224, 3)).astype(np.uint8)
    heard = np.random.default_rng(1).normal(size=(30, 13))
    seen, sounds = embed_streams(network, crops, heard)
    assert seen.shape == sounds.shape == (3, 1024)
    alone, _ = embed_streams(network, crops[1:6], heard[4:24])
    torch.testing.assert_close(seen[1:2], alone, atol=1e-4, rtol=1e-3)
    assert embed_streams(network, crops[:4], heard)[0].shape == (0, 1024)


def test_cepstra_are_those_of_the_usual_definition():
    """A fading tone of 440 Hz; the figures are python_speech_features 0.6's with its defaults, as int16."""
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000) * np.hanning(8000)
    expected = [
        19.362,
        19.518,
        2.652,
        -13.19,
        -26.187,
        -32.553,
        -28.713,
        -17.691,
        -2.364,
        10.82,
        18.918,
        18.715,
        12.397,
    ]
    values = cepstra(tone)
    assert values.shape == (49, 13)
    np.testing.assert_allclose(values[20], expected, atol=6e-4)


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_a_picture_that_comes_late_is_found_late(late):
    sounds = torch.randn(80, 16, generator=torch.Generator().manual_seed(0))
    found = compare_streams(sounds.roll(late, 0), sounds)
    assert found.offset_s == pytest.approx(late / 25)
    assert found.distance < 0.2 * (found.distance + found.confidence)
    assert compare_streams(sounds[:0], sounds[:0]) is None


def test_boxes_are_held_where_no_face_is_found_and_crops_show_the_chin():
    landmarks = np.full((30, 468, 3), np.nan)
    landmarks[:, :, :] = np.random.default_rng(0).uniform(100, 140, (30, 468, 3))
    detected = np.ones(30, bool)
    detected[10:14], landmarks[10:14] = False, np.nan
    boxes = face_boxes(landmarks, detected)
    np.testing.assert_allclose(boxes, np.broadcast_to([120, 120, 20], (30, 3)), atol=0.5)
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, :, 0] = np.arange(200)[:, None]  # red is the row
    frames = [Frame(index=i, time=i / 25, image=image, pts=i, time_base=Fraction(1, 25)) for i in range(30)]
    crops = crop_faces(frames, np.array([[120.0, 120.0, 20.0]] * 30), np.arange(30) / 25)
    assert crops.shape == (30, 224, 224, 3)
    assert abs(int(crops[0, 0, 112, 2]) - 100) <= 1 and abs(int(crops[0, -1, 112, 2]) - 155) <= 1  # blue comes first
    beyond = crop_faces(frames, np.array([[5.0, 120.0, 20.0]] * 30), np.arange(30) / 25)
    assert beyond[0, 112, 0].tolist() == [110] * 3


def test_a_video_is_judged_whole(network):
    found = judge_video(network, ASSETS / "grid_speaker.mp4")
    assert abs(found.offset_s) <= 0.6 and found.distance > 0 and found.confidence >= 0


def test_without_weights_it_says_what_to_give(tmp_path, capsys):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("file\tsplit\tperson\tsound\n")
    arguments = ["evaluate", "syncnet", str(tmp_path), str(tmp_path), "--manifest", str(manifest)]
    assert main(arguments) == 2
    assert "--syncnet" in capsys.readouterr().err
