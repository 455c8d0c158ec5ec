"""A folder of videos becomes training clips: each stage once, broken files counted, not fatal."""

from __future__ import annotations

import shutil

import numpy as np

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import FaceGeometry, fit_track
from personatalk.training.preprocess import clips_of_folder, load_track, preprocess, read_manifest

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

    track = load_track(corpus / "tracks" / "clip.npz")
    geometry = FaceGeometry.load(corpus / "geometry" / "clip.npz")
    windows = np.load(corpus / "windows" / "clip.npy")
    assert len(track) == len(geometry) == len(windows) == 75
    assert not np.array_equal(geometry.expression, fit_track(track, face_model).expression)  # fitted to the frames too
    assert windows.shape == (75, 160, 192, 3) and windows.std() > 20


def test_persons_of_a_folder_are_split_by_folder(tmp_path):
    for index in range(40):
        (tmp_path / f"person{index}").mkdir()
        for name in ("a", "b"):
            (tmp_path / f"person{index}" / f"{name}{index}.mp4").touch()
    clips = clips_of_folder(tmp_path)
    splits = {person: {clip.split for clip in clips if clip.person == person} for person in {c.person for c in clips}}
    assert len(clips) == 80 and all(len(split) == 1 for split in splits.values())
    assert 1 <= sum("val" in split for split in splits.values()) <= 12


def test_blank_fields_of_a_manifest_are_not_measured(tmp_path):
    manifest = tmp_path / "m.tsv"
    manifest.write_text("file\tsplit\tperson\tsound\toffset\tfit\na.mp4\ttrain\t7\t0\t\t\nb.mp4\tval\t8\t1\t2\t.5\n")
    first, second = read_manifest(manifest)
    assert (first.name, first.has_sound, first.offset, first.fit) == ("a", False, None, None)
    assert (second.split, second.has_sound, second.offset, second.fit) == ("val", True, 2.0, 0.5)
