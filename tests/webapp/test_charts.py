"""The numbers behind the charts that the browser draws."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.inspection.recording import Inspection
from personatalk.inspection.references import STRATEGIES, bank, compare_strategies, distances_to_nearest
from personatalk.inspection.styles import style_map
from personatalk.webapp import strings
from personatalk.webapp.charts import (
    CLOSED_IOD,
    attention_chart,
    mouth_chart,
    pose_chart,
    strategies_chart,
    style_chart,
    timeline_chart,
)
from personatalk.webapp.jobs import SEEN


@pytest.fixture(scope="module")
def inspection(recording, tmp_path_factory):
    return Inspection.load(shutil.copytree(recording[0], tmp_path_factory.mktemp("charts") / "recording"))


def test_the_mouth_is_asked_for_and_seen_frame_by_frame(inspection):
    seen_at = inspection.times[[10, 11, 12]]
    np.savez(inspection.folder / SEEN, times=seen_at, aperture=[0.1, np.nan, 0.3])
    aperture, width, speech = mouth_chart(inspection)["rows"]
    source, asked, seen = (line["values"] for line in aperture["lines"])
    np.testing.assert_allclose(asked, lip_aperture(inspection.driven_vertices), atol=1e-4)
    np.testing.assert_allclose(source, lip_aperture(inspection.source_vertices), atol=1e-4)
    assert seen[10:13] == [0.1, None, 0.3] and seen[9] is None and seen[13] is None
    closed = np.zeros(len(asked), bool)
    for start, end in aperture["bands"][0]["spans"]:
        closed |= (inspection.times >= start) & (inspection.times <= end)
    np.testing.assert_array_equal(closed, lip_aperture(inspection.driven_vertices) < CLOSED_IOD)
    assert width["label"] == strings.CHART_WIDTH
    (voice,) = speech["bands"][0]["spans"]  # the sound begins after a third of the clip
    assert voice[0] == pytest.approx(0.8, abs=0.1) and voice[1] > 2.3


def test_every_chart_is_json_with_a_value_for_each_frame(inspection):
    for chart in (mouth_chart(inspection, has_width=False), pose_chart(inspection), attention_chart(inspection)):
        assert json.loads(json.dumps(chart, allow_nan=False)) == chart
        for row in chart["rows"]:
            for line in (*row.get("lines", ()), *row.get("stack", ())):
                assert len(line["values"]) == inspection.num_frames == len(chart["times"])
        assert chart["end"] == pytest.approx(inspection.num_frames / 25)


def test_shares_of_attention_add_up(inspection):
    for row in attention_chart(inspection)["rows"]:
        np.testing.assert_allclose(np.sum([part["values"] for part in row["stack"]], 0), 1, atol=5e-3)


def test_references_are_marked_on_the_curve_of_their_own_video(inspection):
    chart = timeline_chart(inspection)
    marks = [mark for mark in chart["rows"][0]["marks"] if not mark["square"]]
    times = inspection.reference.times[bank(inspection, "lip")]
    np.testing.assert_allclose([mark["x"] for mark in marks], times, atol=1e-3)
    assert chart["linked"]  # the clip is its own reference, frame by frame


def test_the_plane_of_styles_has_all_speakers_and_says_what_its_axes_mean(inspection):
    plane, place = style_chart(inspection)["planes"][0], style_map(inspection)
    speakers, this, driven = (np.array(group["points"]) for group in plane["groups"])
    np.testing.assert_allclose(speakers, place.speakers, atol=1e-4)
    np.testing.assert_allclose(this, [place.source], atol=1e-4)
    np.testing.assert_allclose(driven, [place.driven], atol=1e-4)
    assert str(len(speakers)) in plane["groups"][0]["name"] and plane["axes"] == place.axes
    json.dumps(plane)


def test_strategies_are_compared_frame_by_frame_as_in_their_table(inspection):
    chart, table = strategies_chart(inspection), compare_strategies(inspection)
    assert json.loads(json.dumps(chart, allow_nan=False)) == chart and chart["linked"]
    (row,) = chart["rows"]
    for line, compared in zip(row["lines"], table, strict=True):
        assert np.mean(line["values"]) == pytest.approx(compared["mean_distance"], abs=1e-3)
        assert len(line["values"]) == inspection.num_frames


def test_each_strategy_has_a_plane_where_the_driven_mouths_are_those_of_the_frames(inspection):
    chart = strategies_chart(inspection)
    assert [plane["label"] for plane in chart["planes"]] == [line["name"] for line in chart["rows"][0]["lines"]]
    assert len(chart["planes"]) == len(STRATEGIES)
    driven = chart["common"][1]
    vertices = inspection.driven_vertices
    np.testing.assert_allclose(
        driven["points"], np.stack([mouth_width(vertices), lip_aperture(vertices)], 1), atol=1e-4
    )
    for plane in chart["planes"]:
        (selected,) = plane["groups"]
        assert len(selected["points"]) == len(inspection.lip_bank)


def test_a_frame_without_a_face_has_no_distance_and_no_driven_mouth(inspection):
    posed = inspection.posed
    valid = posed.valid.copy()
    valid[3] = False
    hidden = Inspection.load(inspection.folder)
    hidden.posed = type(posed)(**vars(posed) | {"valid": valid})
    assert np.flatnonzero(np.isnan(distances_to_nearest(hidden, hidden.lip_bank))).tolist() == [3]
    assert strategies_chart(hidden)["common"][1]["points"][3] == [None, None]
