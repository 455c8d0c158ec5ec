from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from personatalk import metrics
from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import PersonaTalkError
from personatalk.evaluation import protocols
from personatalk.evaluation.dubbing.dubs import foreign_clip, motion_figures, partial_correlation, sync_figures
from personatalk.evaluation.geometry.fitting import fitting_figures
from personatalk.evaluation.geometry.known_faces import known_face, round_trip_figures
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of, to_markdown
from personatalk.evaluation.speech.clips import read_features
from personatalk.evaluation.speech.figures import closure_events
from personatalk.evaluation.speech.linear_map import fit_linear_map
from personatalk.evaluation.speech.style import StyleSpace, compare
from personatalk.evaluation.speech.sync import beats_shifted
from personatalk.geometry.face_model import LIP_PAIRS, LIPS, FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.inspection.seen_face import SeenFace
from personatalk.metrics.perceptual import Lpips
from personatalk.speech.sync_network import Synchrony
from personatalk.training.corpus import read_geometry, read_manifest


@pytest.fixture(scope="module")
def face_model():
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def face(opening: np.ndarray) -> np.ndarray:
    """[T, 468, 3] all at 0, the lower of the middle lip pairs moved down by opening [T]."""
    vertices = np.zeros((len(opening), 468, 3))
    vertices[:, [lower for _, lower in LIP_PAIRS], 1] = opening[:, None]
    return vertices


def test_psnr_of_a_known_error():
    truth = np.zeros((4, 4, 3))
    assert metrics.psnr(truth + 25.5, truth) == pytest.approx(20.0)  # a tenth of the range
    assert metrics.psnr(truth, truth) == np.inf


def test_psnr_sees_the_mask_only():
    truth, mask = np.zeros((4, 4, 3)), np.zeros((4, 4))
    output = truth.copy()
    output[0, 0] = 255
    mask[1:, 1:] = 1
    assert metrics.psnr(output, truth, mask) == np.inf
    mask[0, 0] = 1  # one of ten places is wrong by everything
    assert metrics.psnr(output, truth, mask) == pytest.approx(10.0)


def test_psnr_over_nothing_is_refused():
    with pytest.raises(ValueError, match="empty mask"):
        metrics.psnr(np.zeros((2, 2, 3)), np.zeros((2, 2, 3)), np.zeros((2, 2)))


def test_lpips_looks_into_the_box_only():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 255, (1, 80, 80, 3)).astype(np.uint8)
    output = truth.copy()
    output[:, :10] = 0
    network = Lpips.load()
    assert metrics.lpips_distance(network, output, truth, (0, 12, 80, 80)) == pytest.approx(0, abs=1e-6)
    assert metrics.lpips_distance(network, output, truth, (0, 0, 80, 20)) > 0.05


def test_sharpness_ratio_is_the_square_of_the_contrast():
    truth = np.random.default_rng(0).uniform(0, 255, (16, 16, 3))
    mask = np.ones((16, 16), bool)
    assert metrics.sharpness_ratio(truth * 0.5, truth, mask) == pytest.approx(0.25, rel=1e-5)


def test_temporal_error_forgives_a_constant_but_not_a_flicker():
    truth = np.random.default_rng(0).uniform(0, 255, (5, 4, 4, 3))
    mask = np.ones((4, 4))
    assert metrics.temporal_error(truth + 9, truth, mask) == pytest.approx(0, abs=1e-4)
    flicker = truth + np.array((0, 3, 0, 3, 0.0))[:, None, None, None]
    assert metrics.temporal_error(flicker, truth, mask) == pytest.approx(3, rel=1e-5)


def test_seam_gradient_of_a_step():
    truth = np.tile(np.arange(8.0)[None, :, None], (8, 1, 3))  # rises by 1 a column
    mask = np.zeros((8, 8), bool)
    mask[:, 4:] = True
    assert metrics.seam_gradient_ratio(truth, truth, mask) == pytest.approx(1)
    assert metrics.seam_gradient_ratio(truth + 4.0 * mask[..., None], truth, mask) == pytest.approx(5)


def test_correlation_agrees_with_numpy_and_refuses_stillness():
    first, second = np.random.default_rng(0).normal(size=(2, 50))
    assert metrics.correlation(first, second) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert np.isnan(metrics.correlation(first, np.ones(50)))


def test_openness_scores_of_a_halved_mouth():
    opening = np.abs(np.sin(np.arange(40) / 3))
    scores = metrics.aperture_scores(face(0.5 * opening), face(opening))
    assert scores == pytest.approx({"aperture_r": 1.0, "deviation_ratio": 0.5})


def test_lip_errors_of_a_shift_and_of_a_shake():
    truth = np.random.default_rng(0).normal(size=(6, 468, 3))
    moved = truth.copy()
    moved[:, list(LIPS)] += (3, 0, 4)
    moved[:, 10] += 100  # the forehead is no lip
    assert metrics.lip_vertex_error(moved, truth) == pytest.approx(5)
    assert metrics.lip_velocity_error(moved, truth) == pytest.approx(0, abs=1e-9)
    shaken = truth + np.array((0, 1, 0, 1, 0, 1.0))[:, None, None] * (0, 1, 0)
    assert metrics.lip_velocity_error(shaken, truth) == pytest.approx(1)


def test_jitter_ignores_even_motion():
    even = np.arange(10.0)[:, None] * (1, 2)
    assert metrics.jitter(even) == pytest.approx(0, abs=1e-12)
    assert metrics.jitter(np.array((0, 1, 0, 1.0))[:, None]) == pytest.approx(2)


@pytest.mark.parametrize("shift", [-4, 0, 3])
def test_best_lag_finds_the_shift(shift):
    series = np.random.default_rng(1).normal(size=60)
    output, truth = series[10 - shift : 50 - shift], series[10:50]
    lag, score = metrics.best_lag(output, truth, 6)
    assert lag == shift
    assert score == pytest.approx(1)


def test_identity_distance_by_hand():
    assert metrics.identity_distance(np.zeros((2, 128)), np.eye(128)[:2] * 3) == pytest.approx(3)


def test_a_known_face_survives_the_round_trip(face_model):
    clean = round_trip_figures(known_face(face_model, noise_iod=0, seed=0), face_model)
    noisy = round_trip_figures(known_face(face_model, noise_iod=0.02, seed=0), face_model)
    assert clean["lips_%"] < 1
    assert clean["rotation_error_deg"] < 0.5
    assert clean["aperture_r"] > 0.99
    assert noisy["lips_%"] > clean["lips_%"]


def test_fitting_figures_see_a_wrong_lip_and_a_calmer_pose(face_model):
    face = known_face(face_model, noise_iod=0.01, seed=1)
    geometry = fit_track(face.track, face_model)
    figures = fitting_figures(face.track, geometry, face_model)
    assert figures["rotation_jitter_after_deg"] < 0.5 * figures["rotation_jitter_before_deg"]
    moved = face.track.landmarks.copy()
    moved[:, list(LIPS), 0] += 0.1 * geometry.scale.mean()
    wrong = fitting_figures(dataclasses.replace(face.track, landmarks=moved), geometry, face_model)
    assert wrong["lips_%"] == pytest.approx(10, abs=1)
    assert wrong["face_%"] < wrong["lips_%"] / 3


def manifest(tmp_path, lines):
    path = tmp_path / "manifest.tsv"
    path.write_text("\n".join("\t".join(line) for line in lines))
    return path


def test_markdown_holds_every_figure_and_marks_what_is_missing():
    text = to_markdown(report_of("x", {"ours": [{"r": 0.5}, {"r": 0.7}], "mean mouth": [{"r": float("nan")}]}, clips=2))
    assert "| ours | 0.6 [0.5, 0.7] |" in text
    assert "| mean mouth | – |" in text
    assert "clips: 2" in text


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


def test_the_report_is_kept_as_json_and_as_a_table(tmp_path, monkeypatch):
    report = report_of("fitting", {"ours": [{"lips_%": 0.5}]})
    monkeypatch.setitem(protocols.EVALUATIONS, "fitting", lambda inputs: report)
    places = dict.fromkeys(("data", "manifest", "corpus", "checkpoints"), tmp_path)
    protocols.run_evaluation("fitting", EvaluationInputs(**places, output=tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "fitting.json").read_text()) == report
    assert "0.5" in (tmp_path / "out" / "fitting.md").read_text()
    with pytest.raises(ValueError, match="fiting"):
        protocols.run_evaluation("fiting", EvaluationInputs(**places))
