"""Figures of stage 1 by language, before speech begins, and of what leaks from the source."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.dubbing import leak
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.speech.breath import breath_figures, find_onsets
from personatalk.evaluation.speech.languages import MIN_WORDS, read_words
from personatalk.evaluation.speech.silence import read_sounds
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry_construction.style import style_of
from personatalk.inspection.seen_face import SeenFace
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.noises import UNSEEN_NOISES, make_noise
from personatalk.training.corpus import read_manifest


@pytest.fixture(scope="module")
def face_model():
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def heard(level_db) -> SpeechFeatures:
    return SpeechFeatures(values=torch.zeros(len(level_db), 2), level_db=torch.tensor(level_db, dtype=torch.float32))


def test_speech_begins_after_a_pause_and_goes_on():
    quiet, loud = [-70.0], [-20.0]
    assert find_onsets(heard(30 * quiet + 40 * loud)) == [0.6]
    assert find_onsets(heard(10 * quiet + 40 * loud)) == []  # the pause is too short
    assert find_onsets(heard(30 * quiet + 2 * loud + 40 * quiet)) == []  # a click


def test_breath_is_how_far_the_mouth_opens_before_speech():
    times = np.arange(-10, 10) / 25
    true = np.where(times < 0, 0.05, 0.1)
    before = (times >= -0.3) & (times < 0)
    figures = breath_figures(np.zeros(20), true, times, before)
    assert figures["aperture_%"] == 0 and figures["opens"] == 0
    assert figures["error_%"] == pytest.approx(5)
    figures = breath_figures(true, true, times, before)
    assert figures["aperture_at_0.3_s_%"] == pytest.approx(5) and figures["opens"] == 1 and figures["error_%"] == 0


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


def test_words_are_said_in_the_style_of_the_other_words(face_model, tmp_path):
    for kind in ("geometry", "audio"):
        (tmp_path / kind).mkdir()
    lines, geometries = ["file\tsplit\tperson\tsound\tseconds\tlanguage"], []
    for seed in range(MIN_WORDS):
        track = known_face(face_model, noise_iod=0, seed=seed).track
        geometries.append(fit_track(track, face_model))
        lines.append(f"{seed}.mp4\tval\t1\t1\t1.2\tar")
        geometries[-1].save(tmp_path / "geometry" / f"{seed}.npz")
        np.savez(tmp_path / "audio" / f"{seed}.npz", clean_values=np.zeros((9, 4)), clean_level_db=np.zeros(9))
    path = tmp_path / "manifest.tsv"
    path.write_text("\n".join(lines) + "\n")
    inputs = EvaluationInputs(data=tmp_path, manifest=path, corpus=tmp_path, checkpoints=DEFAULT_FOLDER)
    clips = read_manifest(path, "val")
    assert {clip.language for clip in clips} == {"ar"}
    words = read_words(inputs, clips, face_model)
    others = np.concatenate([geometry.expression[geometry.valid] for geometry in geometries[1:]])
    expected = style_of(others, np.ones(len(others), bool), geometries[0].template, face_model)
    torch.testing.assert_close(words[0][1].style.mean, expected.mean)
    assert len(words) == MIN_WORDS and len(words[0][1].times) == geometries[0].valid.sum()
    assert read_words(inputs, clips[1:], face_model) == []  # too few for a style


def test_recordings_without_speech_are_read_by_name_and_made_as_loud_as_noises(tmp_path):
    for name, loudness in (("quiet", 0.01), ("loud", 0.5)):
        wavfile.write(tmp_path / f"{name}.wav", 16000, np.float32(loudness * np.sin(np.arange(8000) / 9)))
    sounds = read_sounds(tmp_path)
    assert sorted(sounds) == ["loud", "quiet"] and read_sounds(None) == {}
    assert [sound.std() for sound in sounds.values()] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("kind", ["reed", *UNSEEN_NOISES])
def test_noises_that_are_played_are_as_loud_as_the_others(kind):
    sound = make_noise(kind, 32000, np.random.default_rng(0))
    assert sound.shape == (32000,) and sound.std() == pytest.approx(0.1, rel=1e-6)
    assert np.abs(sound - make_noise(kind, 32000, np.random.default_rng(1))).max() > 0.05
