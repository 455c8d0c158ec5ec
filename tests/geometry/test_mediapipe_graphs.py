"""MediaPipe's networks run without a word on standard error; what others write there gets through."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOK_FOR_FACE_AND_HANDS = """
from pathlib import Path

import numpy as np

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.tracking import MediaPipeTracker
from personatalk.media import read_frames
from personatalk.occlusion.hands import HandTracker

image = next(iter(read_frames(Path("assets/grid_speaker.mp4")))).image
with MediaPipeTracker() as tracker:
    landmarks = tracker.track(image)
    tracker.track(np.zeros_like(image))
    tracker.track(image)
geometry = FaceGeometry(
    template=np.zeros((468, 3), np.float32), expression=np.zeros((1, 1), np.float32),
    rotation=np.eye(3, dtype=np.float32)[None], translation=landmarks[None, 13, :2], scale=np.full(1, 60, np.float32),
    valid=np.ones(1, bool), times=np.zeros(1),
)
with HandTracker(geometry) as hands:
    hands.look(0, image)
print(len(landmarks), len(hands.hands()))
"""
OPEN_AND_COMPLAIN = """
import os
import sys

from mediapipe.python.solutions.face_detection import FaceDetection

from personatalk.geometry.mediapipe_graphs import open_graph

def create():
    os.write(2, b"from native code\\n")
    print("from Python", file=sys.stderr)
    return FaceDetection()

open_graph(create).close()
print("afterwards", file=sys.stderr)
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)


def test_face_and_hands_are_looked_for_in_silence():
    finished = run_python(LOOK_FOR_FACE_AND_HANDS)
    assert finished.stdout == "478 0\n"
    assert finished.stderr == ""


def test_other_messages_get_through():
    assert run_python(OPEN_AND_COMPLAIN).stderr == "from native code\nfrom Python\nafterwards\n"


def test_a_failure_gives_standard_error_back(capfd):
    from personatalk.geometry.mediapipe_graphs import open_graph

    def fail():
        raise RuntimeError("no graph")

    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="no graph"):
        open_graph(fail)
    print("still here", file=sys.stderr)
    assert capfd.readouterr().err == "still here\n"
