from __future__ import annotations

import numpy as np
import pytest

from personatalk.errors import MediaError
from personatalk.face_rendering.reference_selection import LIP_BANK_SIZE
from personatalk.geometry.mouth import lip_aperture
from personatalk.inspection.references import (
    MAX_SHOWN,
    bank,
    choose,
    compare_strategies,
    reference_colours,
    reference_gallery,
    reference_table,
    reference_timeline,
    strategy_picture,
)


def test_gallery_shows_the_references_asked_for_most_with_frame_and_lip_aperture(inspection):
    gallery, table = reference_gallery(inspection, "lip"), reference_table(inspection, "lip")
    assert len(table) == len(bank(inspection, "lip")) == LIP_BANK_SIZE
    assert len(gallery) == MAX_SHOWN
    captions = {int(text.split()[1]): (picture, text) for picture, text in gallery}
    assert list(captions) == sorted(captions)
    left_out = [row["share"] for row in table if row["frame"] not in captions]
    for row in table:
        assert row["lip_aperture"] == pytest.approx(lip_aperture(inspection.reference_vertices[row["frame"]]))
        if row["frame"] not in captions:
            continue
        assert row["share"] >= max(left_out)
        picture, text = captions[row["frame"]]
        start = f"frame {row['frame']} at {row['frame'] / 25:.2f} s, aperture {row['lip_aperture']:.2f}"
        assert text.startswith(start)
        assert picture.shape == (480, 576, 3)


def test_pictures_of_the_gallery_are_those_frames(inspection):
    # a reference that is also a kept frame was written twice, by two ways
    shown = {int(text.split()[1]): picture for picture, text in reference_gallery(inspection, "face")}
    both = [frame for frame in shown if frame in inspection.kept]
    assert both and set(shown) <= set(bank(inspection, "face").tolist())
    for frame in both:
        difference = shown[frame].astype(int) - inspection.window(frame, "source")
        assert np.abs(difference).mean() < 12


def test_every_mouth_asked_for_counts_for_one_reference(inspection):
    table = reference_table(inspection, "lip")
    assert sum(row["share"] for row in table) == pytest.approx(1)
    wanted, frames = inspection.target_descriptors, bank(inspection, "lip")
    nearest = [np.linalg.norm(inspection.available[frames] - mouth, axis=1).argmin() for mouth in wanted]
    assert table[3]["share"] == pytest.approx(np.mean(np.array(nearest) == 3))


def test_the_own_strategy_is_recognised_and_coverage_comes_nearest(inspection):
    rows = {row["strategy"]: row for row in compare_strategies(inspection)}
    assert rows["coverage"]["shared_frames"] == LIP_BANK_SIZE
    assert rows["coverage"]["mean_distance"] < min(rows[name]["mean_distance"] for name in ("paper", "random"))
    assert rows["paper"]["max_aperture"] == pytest.approx(lip_aperture(inspection.reference_vertices).max(), rel=1e-4)
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
