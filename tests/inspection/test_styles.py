from __future__ import annotations

import numpy as np
import pytest
from recorded_run import NUM_FRAMES

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError, PersonaTalkError
from personatalk.geometry.face_model import LIPS
from personatalk.geometry_construction.style import style_of
from personatalk.inspection.palette import PALETTE
from personatalk.inspection.styles import (
    TRAITS,
    StyleMap,
    aperture_curves,
    aperture_picture,
    runs,
    style_map,
    style_map_picture,
    style_on_face,
    style_vector,
    voice_level,
)
from personatalk.training.corpus import Clip
from personatalk.training.style_map import learn_style_map, map_of, traits_of


def test_the_plane_finds_the_two_directions_in_which_speakers_differ_and_names_them():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 2)) * (3, 1)
    directions = np.linalg.qr(rng.normal(size=(30, 2)))[0].T
    vectors = 5 + hidden @ directions + rng.normal(size=(200, 30)) * 0.01
    traits = rng.normal(size=(200, len(TRAITS)))
    traits[:, 1], traits[:, 4] = hidden[:, 0], -hidden[:, 1]
    known = map_of(vectors, traits)
    assert known.variance == pytest.approx((0.9, 0.1), abs=0.02)
    first, second = known.explain()
    assert f"to the right: more {TRAITS[1]} (r +1.00)" in first
    assert f"up: more {TRAITS[4]} (r +1.00)" in second
    np.testing.assert_allclose(known.project(vectors)[:, 0], hidden[:, 0] - hidden[:, 0].mean(), atol=0.1)
    # the points stand in another order than the speakers came in
    assert sorted(known.points[:, 0]) == pytest.approx(sorted(known.project(vectors)[:, 0]))
    assert not np.allclose(known.points[:, 0], known.project(vectors)[:, 0])


def test_map_is_learnt_from_training_persons_only_and_one_point_each(inspection, tmp_path):
    (tmp_path / "geometry").mkdir()
    clips = []
    for number in range(9):
        person, split = f"p{number // 2}", "val" if number == 8 else "train"
        geometry = type(inspection.source)(
            **vars(inspection.source) | {"expression": inspection.source.expression * (1 + number)}
        )
        geometry.save(tmp_path / "geometry" / f"c{number}.npz")
        clips.append(Clip(file=f"c{number}.mp4", split=split, person=person))
    known = learn_style_map(clips, tmp_path, inspection.face_model)
    assert known.points.shape == (4, 2)
    with pytest.raises(PersonaTalkError, match="needs 3 speakers, got 2"):
        learn_style_map(clips[:4], tmp_path, inspection.face_model)


def test_traits_are_those_that_are_named(inspection):
    geometry = inspection.source
    values = dict(zip(TRAITS, traits_of(geometry, inspection.face_model), strict=True))
    vertices = inspection.source_vertices[geometry.valid]
    gap = np.linalg.norm(vertices[:, [82, 13, 312]] - vertices[:, [87, 14, 317]], axis=-1).mean(-1)
    assert values["mean lip aperture"] == pytest.approx(gap.mean(), rel=1e-4)
    moved = (vertices - geometry.template)[:, list(LIPS)].mean((0, 1))
    assert values["lips lowered"] == pytest.approx(moved[1], rel=1e-3)
    assert values["lips drawn back"] == pytest.approx(moved[2], rel=1e-3)


def test_shipped_map_places_a_livelier_speaker_farther_to_the_right(inspection):
    known, source = StyleMap.load(), inspection.source
    assert len(known.points) > 100 and (DEFAULT_FOLDER / "style_map.safetensors").stat().st_size < 200_000
    places = [
        known.project(
            style_vector(style_of(source.expression * gain, source.valid, source.template, inspection.face_model))
        )
        for gain in (0.5, 2.0)
    ]
    assert places[1][0] > places[0][0]


def test_map_comes_back_as_it_was_saved(tmp_path):
    rng = np.random.default_rng(1)
    known = map_of(rng.normal(size=(20, 12)), rng.normal(size=(20, len(TRAITS))))
    known.save(tmp_path / "map.safetensors")
    again = StyleMap.load(tmp_path / "map.safetensors")
    np.testing.assert_allclose(again.points, known.points, atol=3e-3)
    np.testing.assert_allclose(again.correlation, known.correlation, atol=1e-3)
    with pytest.raises(CheckpointError, match="missing style map"):
        StyleMap.load(tmp_path / "none.safetensors")


def test_this_clip_stands_on_the_map_where_its_style_says(inspection):
    place = style_map(inspection)
    np.testing.assert_allclose(place.source, StyleMap.load().project(style_vector(inspection.style)))
    # the driven coefficients of this run are the source's own, backwards: the same style
    np.testing.assert_allclose(place.driven, place.source, atol=1e-4)
    star = (np.abs(style_map_picture(inspection).astype(int) - PALETTE[0]).max(-1) < 12).sum()
    assert star > 20


def test_what_moves_is_painted_and_what_stands_still_is_not(inspection):
    picture = style_on_face(inspection).astype(int)
    coloured = (picture.max(-1) - picture.min(-1)) > 40
    face = coloured[:340, :340]
    assert face[200:].sum() > 500 and face[:120].sum() < 20


def test_silence_is_marked_where_the_voice_is_silent(inspection):
    curves = aperture_curves(inspection)
    np.testing.assert_array_equal(curves["is_silent"][: NUM_FRAMES // 3 - 1], True)
    np.testing.assert_array_equal(curves["is_silent"][NUM_FRAMES // 3 + 1 :], False)
    np.testing.assert_allclose(curves["driven_aperture"], curves["source_aperture"][::-1], atol=1e-6)
    assert (aperture_picture(inspection, 5) != aperture_picture(inspection, 40)).any()


def test_frames_after_the_end_of_the_speech_are_silent(inspection):
    whole = inspection.waveform
    try:
        inspection.waveform = whole[: len(whole) // 2]
        assert aperture_curves(inspection)["is_silent"][NUM_FRAMES // 2 + 2 :].all()
    finally:
        inspection.waveform = whole


def test_level_of_a_full_scale_square_wave_is_zero_decibels():
    level = voice_level(np.tile(np.array((1.0, -1.0), np.float32), 8000))
    np.testing.assert_allclose(level, 0, atol=1e-3)
    np.testing.assert_allclose(voice_level(np.full(16000, 0.1, np.float32)), -20, atol=1e-3)


def test_runs_of_flags():
    assert runs(np.array((1, 1, 0, 1, 0, 0, 1), bool)) == [(0, 2), (3, 4), (6, 7)]
    assert runs(np.zeros(3, bool)) == []
