"""Whole dubs: whose speech is dubbed, what following and leaking are, and synchrony."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from personatalk import metrics
from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import PersonaTalkError
from personatalk.evaluation.dubbing import leak
from personatalk.evaluation.dubbing.dubs import foreign_clip, motion_figures, partial_correlation, sync_figures
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.inspection.seen_face import SeenFace
from personatalk.speech.sync_network import Synchrony
from personatalk.training.corpus import read_manifest


@pytest.fixture(scope="module")
def face_model():
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def manifest(tmp_path, lines):
    path = tmp_path / "manifest.tsv"
    path.write_text("\n".join("\t".join(line) for line in lines))
    return path


def test_partial_correlation_takes_away_what_is_shared():
    rng = np.random.default_rng(0)
    common, first, second = rng.normal(size=(3, 4000))
    assert metrics.correlation(first + common, second + common) == pytest.approx(0.5, abs=0.05)
    assert partial_correlation(first + common, second + common, common) == pytest.approx(0, abs=0.05)


def test_no_clip_is_dubbed_with_its_own_person(tmp_path):
    lines = [(f"{i}.mp4", "val", person, "1") for i, person in enumerate("aab")]
    clips = read_manifest(manifest(tmp_path, [("file", "split", "person", "sound"), *lines]), "val")
    assert [foreign_clip(clip, clips).person for clip in clips] == ["b", "b", "a"]
    with pytest.raises(PersonaTalkError, match="two persons"):
        foreign_clip(clips[0], clips[:2])


def test_speech_for_a_dub_is_as_long_as_the_clip_where_there_is_any(tmp_path):
    lines = [(f"{i}.mp4", "val", str(i), "1", seconds) for i, seconds in enumerate(("3", "1", "4", "2"))]
    clips = read_manifest(manifest(tmp_path, [("file", "split", "person", "sound", "seconds"), *lines]), "val")
    assert [foreign_clip(clip, clips).seconds for clip in clips] == [4, 4, 3, 3]


def seen_face(opening):
    geometry = SimpleNamespace(valid=np.ones(len(opening), bool))
    return SeenFace(track=None, geometry=geometry, aperture=opening, chips=np.zeros(0), num_frames=len(opening))


def test_motion_figures_tell_following_from_copying():
    rng = np.random.default_rng(0)
    true, wanted = rng.normal(size=(2, 2000))
    honest = motion_figures(seen_face(true), seen_face(0.8 * wanted), wanted)
    assert honest["follows_r"] == pytest.approx(1)
    assert honest["deviation_ratio"] == pytest.approx(0.8)
    assert abs(honest["leak_r"]) < 0.1
    copying = motion_figures(seen_face(true), seen_face(wanted + true), wanted)
    assert copying["leak_r"] == pytest.approx(0.71, abs=0.05)
    assert copying["rest_leak_r"] > 0.99


def test_sync_figures_allow_for_a_lag_that_is_known():
    late = Synchrony(offset_s=0.12, confidence=9.0, log_odds=np.zeros(61))
    assert sync_figures(late, expected_s=0)["sync_within_1_frame"] == 0
    assert sync_figures(late, expected_s=0.08) == {
        "offset_frames": pytest.approx(3),
        "sync_confidence": 9.0,
        "sync_within_1_frame": 1.0,
    }
    assert sync_figures(None, expected_s=0) == {}


def test_leak_sees_copies_and_stillness_alike():
    source, trusted = np.sin(np.arange(50.0)), np.arange(50) < 40
    copied = np.where(trusted, 0.01 * source, 5.0)
    assert leak.leak_figures(copied, source, trusted)["leak_r"] == pytest.approx(1)
    still = leak.leak_figures(np.ones(50), source, trusted)
    assert np.isnan(still["leak_r"]) and still["deviation_%"] == 0


def test_a_dub_that_keeps_the_source_leaks(face_model, monkeypatch, tmp_path):
    """The "dubs" are the clips as they were: all of the source's mouth is in them."""
    geometry = fit_track(known_face(face_model, noise_iod=0, seed=1).track, face_model)
    aperture = np.sin(np.arange(len(geometry)))
    face = SeenFace(track=None, geometry=geometry, aperture=aperture, chips=np.zeros(0), num_frames=len(aperture))
    monkeypatch.setattr(leak, "see_face", lambda video, face_model: face)
    monkeypatch.setattr(leak, "read_audio", lambda path: np.zeros(16000, np.float32))
    lines = [("file", "split", "person", "sound"), ("a.mp4", "val", "1", "1"), ("b.mp4", "val", "2", "1")]
    path = tmp_path / "manifest.tsv"
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    inputs = EvaluationInputs(data=tmp_path, manifest=path, corpus=tmp_path, checkpoints=DEFAULT_FOLDER, limit=1)
    report = leak.evaluate_leak(inputs, lambda video, audio, output: np.zeros(len(aperture)))
    assert report["clips"] == 1
    assert report["table"]["video, silence"]["leak_r"]["mean"] == pytest.approx(1)
    assert report["table"]["stage 1, silence"]["deviation_%"]["mean"] < 1e-3  # digital silence: at rest
