from __future__ import annotations

import numpy as np
import pytest

from personatalk.errors import MediaError
from personatalk.face_model import openness
from personatalk.inspection.references import (
    bank,
    choose,
    compare_strategies,
    reference_colours,
    reference_gallery,
    reference_table,
    reference_timeline,
    strategy_picture,
)


def test_gallery_shows_each_reference_with_its_frame_and_its_openness(inspection):
    gallery, table = reference_gallery(inspection, "lip"), reference_table(inspection, "lip")
    frames = bank(inspection, "lip")
    assert len(gallery) == len(frames) == 16
    for (picture, text), row, frame in zip(gallery, table, frames, strict=True):
        assert text.startswith(f"frame {frame} at {frame / 25:.2f} s, mouth open {row['openness']:.2f}")
        assert row["openness"] == pytest.approx(openness(inspection.reference_vertices[frame]))
        assert picture.shape == (480, 576, 3)


def test_pictures_of_the_gallery_are_those_frames(inspection):
    # a reference that is also a kept frame was written twice, by two ways
    both = [int(f) for f in bank(inspection, "face") if f in inspection.kept]
    assert both
    shown = dict(zip(bank(inspection, "face").tolist(), reference_gallery(inspection, "face"), strict=True))
    for frame in both:
        difference = shown[frame][0].astype(int) - inspection.window(frame, "source")
        assert np.abs(difference).mean() < 12


def test_every_mouth_asked_for_counts_for_one_reference(inspection):
    table = reference_table(inspection, "lip")
    assert sum(row["share"] for row in table) == pytest.approx(1)
    wanted, frames = inspection.demanded, bank(inspection, "lip")
    nearest = [np.linalg.norm(inspection.available[frames] - mouth, axis=1).argmin() for mouth in wanted]
    assert table[3]["share"] == pytest.approx(np.mean(np.array(nearest) == 3))


def test_the_own_strategy_is_recognised_and_coverage_comes_nearest(inspection):
    rows = {row["strategy"]: row for row in compare_strategies(inspection)}
    assert rows["coverage"]["shared_frames"] == 16
    assert rows["coverage"]["mean_distance"] < min(rows[name]["mean_distance"] for name in ("paper", "random"))
    assert rows["paper"]["most_open"] == pytest.approx(openness(inspection.reference_vertices).max(), rel=1e-4)
    assert strategy_picture(inspection).shape[2] == 3


def test_another_strategy_shows_other_frames_or_says_that_the_video_is_gone(inspection):
    frames = choose(inspection, "random")
    had = {int(frame) for frame in frames if inspection.reference_picture(int(frame)) is not None}
    assert had != set(frames.tolist())
    moved = inspection.reference_video
    try:
        inspection.reference_video = inspection.folder / "nowhere.mp4"
        with pytest.raises(MediaError, match="nowhere.mp4 is gone"):
            reference_gallery(inspection, "lip", "random")
    finally:
        inspection.reference_video = moved


def test_every_reference_has_a_colour_of_its_own(inspection):
    for kind in ("lip", "face"):
        assert len(np.unique(reference_colours(inspection, kind), axis=0)) == len(bank(inspection, kind))


def test_the_timeline_marks_every_reference(inspection):
    picture = reference_timeline(inspection).astype(int)
    for colour in reference_colours(inspection, "face"):
        assert (np.abs(picture - colour).max(-1) < 6).sum() > 8, colour
