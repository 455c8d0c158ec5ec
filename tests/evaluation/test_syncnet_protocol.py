"""The protocol around SyncNet: boxes, crops, whole videos, and what it says without weights."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from personatalk.__main__ import main
from personatalk.evaluation.dubbing.syncnet import crop_faces, face_boxes, measure_video
from personatalk.media import Frame
from personatalk.speech.syncnet import SyncNet

ASSETS = Path(__file__).parents[2] / "assets"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SyncNet().eval()


def test_boxes_are_held_where_no_face_is_found_and_crops_show_the_chin():
    landmarks = np.full((30, 468, 3), np.nan)
    landmarks[:, :, :] = np.random.default_rng(0).uniform(100, 140, (30, 468, 3))
    detected = np.ones(30, bool)
    detected[10:14], landmarks[10:14] = False, np.nan
    boxes = face_boxes(landmarks, detected)
    np.testing.assert_allclose(boxes, np.broadcast_to([120, 120, 20], (30, 3)), atol=0.5)
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, :, 0] = np.arange(200)[:, None]  # red is the row
    frames = [Frame(index=i, time=i / 25, pixels=image, pts=i, time_base=Fraction(1, 25)) for i in range(30)]
    crops = crop_faces(frames, np.array([[120.0, 120.0, 20.0]] * 30), np.arange(30) / 25)
    assert crops.shape == (30, 224, 224, 3)
    assert abs(int(crops[0, 0, 112, 2]) - 100) <= 1 and abs(int(crops[0, -1, 112, 2]) - 155) <= 1  # blue comes first
    beyond = crop_faces(frames, np.array([[5.0, 120.0, 20.0]] * 30), np.arange(30) / 25)
    assert beyond[0, 112, 0].tolist() == [110] * 3


def test_a_whole_video_is_measured(network):
    found = measure_video(network, ASSETS / "grid_speaker.mp4")
    assert abs(found.offset_s) <= 0.6 and found.distance > 0 and found.confidence >= 0


def test_without_weights_it_says_what_to_give(tmp_path, capsys):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("file\tsplit\tperson\tsound\n")
    arguments = ["evaluate", "syncnet", str(tmp_path), str(tmp_path), "--manifest", str(manifest)]
    assert main(arguments) == 2
    assert "--syncnet" in capsys.readouterr().err
