"""A folder of videos becomes training clips: each stage once, broken files counted, not fatal."""

from __future__ import annotations

import shutil

import numpy as np

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.training.corpus import load_track
from personatalk.training.preprocess import preprocess

ASSETS = DEFAULT_FOLDER.parent / "assets"


def test_a_folder_is_prepared_once_and_a_broken_file_is_counted(tmp_path):
    videos, corpus = tmp_path / "videos", tmp_path / "corpus"
    (videos / "one").mkdir(parents=True)
    shutil.copy(ASSETS / "grid_speaker.mp4", videos / "one" / "clip.mp4")
    (videos / "one" / "broken.mp4").write_bytes(b"no video")
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    first = preprocess(videos, corpus, face_model, workers=1)
    assert first["track"] == {"tracked": 1, "refused": 1}
    assert first["fit"]["fitted"] == 1 and first["windows"] == {"cut": 1}
    again = preprocess(videos, corpus, face_model, workers=1)
    assert again["track"]["cached"] == again["fit"]["cached"] == again["windows"]["cached"] == 1

    track = load_track(corpus / "tracks" / "one__clip.npz")
    geometry = FaceGeometry.load(corpus / "geometry" / "one__clip.npz")
    windows = np.load(corpus / "windows" / "one__clip.npy")
    assert len(track) == len(geometry) == len(windows) == 75
    assert not np.array_equal(geometry.expression, fit_track(track, face_model).expression)  # fitted to the frames too
    assert windows.shape == (75, 160, 192, 3) and windows.std() > 20
