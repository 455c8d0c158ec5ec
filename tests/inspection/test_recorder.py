from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from recorded_run import MAX_KEPT, NUM_FRAMES, REPORT

from personatalk.errors import MediaError
from personatalk.geometry.camera import apply_affine, window_from_image
from personatalk.inspection.portrait import portrait_from_image, window_from_portrait
from personatalk.inspection.recorder import Recorder
from personatalk.inspection.recording import Inspection

ROOT = Path(__file__).parents[2]


def test_attention_of_a_kept_frame_is_what_the_renderer_did(recorded):
    inspection, seen = recorded
    t = int(inspection.kept[5])
    for kind in ("lip", "face"):
        attention, sample = inspection.attention(t, kind), getattr(seen[t].rendering, kind)
        np.testing.assert_allclose(attention.weights, sample.weights[0], atol=1e-3)
        np.testing.assert_allclose(attention.offsets, sample.offsets[0], atol=2e-3)
        np.testing.assert_array_equal(attention.frames, getattr(seen[t], f"{kind}_frames"))


def test_the_two_layers_share_every_pixel(inspection):
    total = sum(inspection.attention(3, kind).share for kind in ("lip", "face"))
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_frames_are_kept_evenly_and_no_more_than_asked(inspection):
    assert len(inspection.kept) == MAX_KEPT
    assert inspection.kept[0] == 0 and inspection.kept[-1] == NUM_FRAMES - 1
    assert np.ptp(np.diff(inspection.kept)) <= 1


def test_geometry_of_every_frame_comes_back(inspection):
    assert inspection.num_frames == NUM_FRAMES and inspection.report == REPORT
    np.testing.assert_array_equal(inspection.posed.expression, inspection.source.expression[::-1])
    assert not np.allclose(inspection.driven_vertices[0], inspection.source_vertices[0])


def test_the_window_lies_in_the_portrait_where_the_affines_say(inspection):
    points = np.array(((10.0, 20.0), (150.0, 90.0)), np.float32)
    by_portrait = apply_affine(window_from_portrait(), apply_affine(portrait_from_image(inspection.source)[7], points))
    np.testing.assert_allclose(by_portrait, apply_affine(window_from_image(inspection.source)[7], points), atol=1e-3)


def test_the_dubbed_picture_differs_from_the_source_in_the_mouth_and_not_at_the_brow(inspection):
    difference = np.abs(inspection.portrait(30, "dubbed").astype(int) - inspection.portrait(30, "source")).mean(-1)
    assert difference[280:360, 160:260].mean() > 10
    assert difference[:60].mean() < 1


def test_a_run_that_was_broken_off_cannot_be_loaded(recording, tmp_path):
    shutil.copytree(recording[0], tmp_path, dirs_exist_ok=True)
    Recorder(tmp_path)
    with pytest.raises(MediaError, match="no complete recording"):
        Inspection.load(tmp_path)
