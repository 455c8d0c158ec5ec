"""Stage 1: linear baselines, lip closures, style, breath, silence, single words, offsets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import PersonaTalkError
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.speech import linear_map
from personatalk.evaluation.speech.breath import breath_figures, find_onsets
from personatalk.evaluation.speech.clips import read_features, read_speakers
from personatalk.evaluation.speech.expression import SMILE_IOD, smile_figures, smile_of, widening
from personatalk.evaluation.speech.figures import closure_events
from personatalk.evaluation.speech.languages import MIN_WORDS, read_words
from personatalk.evaluation.speech.linear_map import fit_linear_map
from personatalk.evaluation.speech.phonemes import phoneme_figures
from personatalk.evaluation.speech.prediction import THIRDS, thirds_by_aperture
from personatalk.evaluation.speech.silence import read_sounds
from personatalk.evaluation.speech.style import StyleSpace, compare
from personatalk.evaluation.speech.sync import beats_shifted
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mouth import lip_gaps, mouth_width
from personatalk.geometry_construction.style import style_of
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.noises import UNSEEN_NOISES, make_noise
from personatalk.speech.phonemes import Phoneme
from personatalk.speech.sync_network import Synchrony
from personatalk.training.corpus import read_geometry, read_manifest


@pytest.fixture(scope="module")
def face_model():
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def manifest(tmp_path, lines):
    path = tmp_path / "manifest.tsv"
    path.write_text("\n".join("\t".join(line) for line in lines))
    return path


def test_linear_map_recovers_what_is_linear_and_knows_nothing_of_the_person(face_model, tmp_path):
    """The "sound" is eight mixtures of eight coefficients, so that one frame says all about them."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8))
    (tmp_path / "geometry").mkdir()
    (tmp_path / "audio").mkdir()
    lines = [("file", "split", "person", "sound")]
    for seed in range(10):
        track = known_face(face_model, noise_iod=0, seed=seed).track
        geometry = fit_track(track, face_model)
        expression = geometry.expression[:, :8]
        lines.append((f"{seed}.mp4", "train", str(seed), "1"))
        geometry.save(tmp_path / "geometry" / f"{seed}.npz")
        at_50_hz = np.stack([np.interp(np.arange(150) / 50, track.times, column) for column in expression.T], 1)
        values = (at_50_hz - expression.mean(0)) @ mixing
        np.savez(tmp_path / "audio" / f"{seed}.npz", clean_values=values, clean_level_db=np.zeros(150))
    inputs = EvaluationInputs(
        data=tmp_path, manifest=manifest(tmp_path, lines), corpus=tmp_path, checkpoints=tmp_path, split="train"
    )
    clip = read_manifest(inputs.manifest, "train")[0]
    fitted = fit_linear_map(inputs, face_model, reach_s=0.0)
    geometry = read_geometry(tmp_path, clip)
    predicted = fitted(read_features(inputs, clip), torch.from_numpy(geometry.times))[:, :8]
    truth = geometry.expression[:, :8] - geometry.expression[:, :8].mean(0)
    assert np.abs(predicted - truth).mean() < 0.25 * np.abs(truth).mean()


def test_the_style_space_sees_persons_and_not_moods():
    """Persons differ along the first axis; the second differs as much from half to half."""
    random = np.random.default_rng(0)
    person, mood = 3 * random.normal(size=(200, 1)), 5 * random.normal(size=(200, 2))
    halves = np.stack([np.stack([person[:, 0], mood[:, half]], 1) for half in (0, 1)], 1)
    halves = np.concatenate([halves, 0.1 * random.normal(size=(200, 2, 30))], 2)
    space = StyleSpace.learn(halves)
    assert abs(space.directions[0, 0]) > 10 * abs(space.directions[1, 0])
    a, b = space(halves[:, 0])[:, 0], space(halves[:, 1])[:, 0]
    assert np.corrcoef(a, b)[0, 1] > 0.95
    with pytest.raises(PersonaTalkError, match="no training clips"):
        StyleSpace.learn(np.zeros((0, 2, 5)))


def test_the_true_offset_must_win_over_others():
    evidence = np.zeros(61)
    evidence[30 - 4] = 1  # the picture comes two frames after the sound
    found = Synchrony(offset_s=0.08, confidence=9.0, log_odds=evidence)
    assert beats_shifted(found, 2.0) == 1
    assert beats_shifted(found, -1.0) == 0


def test_closures_are_judged_as_events():
    true = np.full(40, 0.08)
    true[[5, 6, 20, 30]] = 0.005
    opened = np.full(40, 0.08)
    opened[[7, 13, 30]] = 0.01  # one a frame late, one false, one right; one is missed
    figures = closure_events(opened, true)
    assert figures["events_met"] == pytest.approx(2 / 3)
    assert figures["false_events"] == pytest.approx(1 / 3)


def test_retrieval_by_hand():
    gallery = np.eye(3)
    assert compare(np.array([0.2, 0.9, 0.1]), gallery, 1)["top_1"] == 1
    assert compare(np.array([0.2, 0.9, 0.1]), gallery, 0) == {"style_sim": pytest.approx(0.2157, abs=1e-3), "top_1": 0}


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


def test_lips_are_judged_at_the_phonemes_that_they_say(face_model):
    """In the first half of a second the lips are shut and the mouth is narrow, then open and wide."""
    gaps = lip_gaps(face_model.speech_basis)
    at_rest = SimpleNamespace(template=face_model.mean, expression=np.zeros((1, face_model.num_speech), np.float32))
    wider = widening(at_rest, face_model)
    wider = wider - wider @ gaps.reshape(len(gaps), -1) @ np.linalg.pinv(gaps.reshape(len(gaps), -1))
    closing = -lip_gaps(face_model.mean).ravel() @ np.linalg.pinv(gaps.reshape(len(gaps), -1))
    shut, open_wide = closing - wider, wider - 2 * closing
    clip = SimpleNamespace(times=torch.arange(25) / 25, template=face_model.mean)
    speech = np.where((clip.times < 0.5).numpy()[:, None], shut, open_wide)
    first = [Phoneme(name, 0.1, 0.4) for name in ("M", "F", "AE", "UW", "IY")]
    figures = phoneme_figures(speech, clip, first, face_model)
    assert figures["p_b_m_closed"] == figures["f_v_near"] == figures["vowels_shut"] == 1
    assert figures["u_o_w_width_%"] == figures["i_e_width_%"] < -1
    second = [replace(phoneme, start_s=0.6, end_s=0.9) for phoneme in first]
    figures = phoneme_figures(speech, clip, second, face_model)
    assert figures["p_b_m_closed"] == figures["f_v_near"] == figures["vowels_shut"] == 0
    assert figures["u_o_w_width_%"] == figures["i_e_width_%"] > 1
    outside = [replace(phoneme, start_s=0.9, end_s=1.1) for phoneme in first]
    assert np.isnan(list(phoneme_figures(speech, clip, outside, face_model).values())).all()


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


def test_the_linear_map_is_ridge_regression_in_closed_form(face_model, tmp_path, monkeypatch):
    """w = (X'X + a I)^-1 X'y about the means, with the penalty that is best on the last fifth of the examples."""
    random = np.random.default_rng(0)
    features = [heard([0.0] * 40) for _ in range(10)]
    features = [replace(f, values=torch.from_numpy(random.normal(size=(40, 5))).float()) for f in features]
    times = torch.arange(40, dtype=torch.float64) / 50
    targets = [f.values.numpy() @ random.normal(size=(5, 2)) for f in features]
    examples = [(f, times, target) for f, target in zip(features, targets, strict=True)]
    monkeypatch.setattr(linear_map, "training_examples", lambda *_: examples)
    inputs = EvaluationInputs(data=tmp_path, manifest=tmp_path, corpus=tmp_path, checkpoints=tmp_path)
    fitted = linear_map.fit_linear_map(inputs, face_model, reach_s=0.0)

    x, y = np.concatenate([f.values.numpy() for f in features]), np.concatenate(targets)

    def closed_form(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        centred = x - x.mean(0)
        slopes = np.linalg.solve(centred.T @ centred + penalty * np.eye(5), centred.T @ (y - y.mean(0)))
        return slopes, y.mean(0) - x.mean(0) @ slopes

    def error(penalty: float) -> float:
        slopes, intercept = closed_form(x[:320], y[:320], penalty)
        return np.square(x[320:] @ slopes + intercept - y[320:]).mean()

    slopes, intercept = closed_form(x, y, min(linear_map.PENALTIES, key=error))
    expected = features[0].values.numpy() @ slopes + intercept
    np.testing.assert_allclose(fitted(features[0], times), expected, atol=1e-4)


def test_a_limit_of_speakers_takes_every_person_first(face_model, tmp_path):
    (tmp_path / "geometry").mkdir()
    geometry = fit_track(known_face(face_model, noise_iod=0, seed=1).track, face_model)
    lines = [("file", "split", "person")]
    for name, person in zip("abcd", "1123", strict=True):
        lines.append((f"{name}.mp4", "val", person))
        geometry.save(tmp_path / "geometry" / f"{name}.npz")
    inputs = EvaluationInputs(
        data=tmp_path, manifest=manifest(tmp_path, lines), corpus=tmp_path, checkpoints=tmp_path, limit=3
    )
    assert [speaker.clip.name for speaker in read_speakers(inputs, face_model, 2.0)] == ["a", "c", "d"]
    assert read_speakers(inputs, face_model, 4.0) == []


@pytest.mark.parametrize("kept", [0.0, 0.4, 1.0])
def test_a_smile_counts_as_far_as_it_is_in_the_dub(face_model, kept):
    geometry = fit_track(known_face(face_model, noise_iod=0, seed=1).track, face_model)
    judged = np.flatnonzero(geometry.valid)
    smile = smile_of(geometry, judged)
    plain = geometry.expression[:, : face_model.num_speech]
    wide = widening(geometry, face_model)[: face_model.num_speech]
    wider = mouth_width(face_model.vertices(geometry.template, wide[None])) - mouth_width(geometry.template[None])
    assert wider == pytest.approx(SMILE_IOD, rel=0.02)
    figures = smile_figures(plain + kept * smile[:, None] * wide, plain, smile, geometry, face_model)
    assert figures["smile_kept"] == pytest.approx(kept, abs=0.05)
    if kept:
        assert figures["smile_r"] > 0.98


def test_speakers_are_sorted_by_how_far_they_open_and_not_by_where_they_rest(face_model):
    def clip(opening: float, rest: float) -> SimpleNamespace:
        count = 20
        expression = np.zeros((count, face_model.num_expression), np.float32)
        expression[:, 0] = rest + opening * np.sin(np.arange(count))  # the first coefficient lowers the jaw
        expression[-1, 0] = 50.0
        first = replace(
            fit_track(known_face(face_model, noise_iod=0, seed=0).track, face_model).at(np.arange(count)),
            expression=expression,
            valid=np.arange(count) < count - 1,
        )
        return SimpleNamespace(first=first)

    openings = (0.9, 0.1, 0.5, 0.4, 0.2, 1.0)
    clips = [clip(opening, rest) for opening, rest in zip(openings, (2.0, 3.0, 2.0, 3.0, 2.0, 3.0), strict=True)]
    little, between, wide = THIRDS
    assert thirds_by_aperture(clips, face_model) == [wide, little, between, between, little, wide]
