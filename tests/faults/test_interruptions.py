"""Small forms of the faults of `python -m benchmarks.faults`: one kill, two full disks, hostile requests."""

from __future__ import annotations

import pytest
from conftest import CopyPipeline

import app
from benchmarks.hostile_requests import Page, measure_requests
from benchmarks.interruptions import measure_full_disks, measure_kills
from personatalk.webapp import build_demo


@pytest.mark.weights
@pytest.mark.slow
def test_a_killed_dub_goes_on_and_comes_to_the_same_file(tmp_path):
    counts = measure_kills(tmp_path, 1, seed=0)
    assert counts["killed"] >= 1 and counts["dubs"] >= 1
    assert counts["half_files"] == counts["different"] == counts["left"] == 0


@pytest.mark.weights
@pytest.mark.slow
def test_a_disk_that_fills_ends_a_dub_in_a_sentence_and_it_goes_on_after(pipeline, tmp_path):
    counts = measure_full_disks(pipeline, tmp_path, 2)
    assert counts["sentences"] == counts["moments"] == 2
    assert counts["half_files"] == counts["different"] == counts["left"] == 0


def test_hostile_requests_are_refused_with_words_and_the_page_works_on(tmp_path, clip, speech, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    pipeline = CopyPipeline()
    demo = build_demo(pipeline)
    _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
    page = Page(url, clip, speech)
    try:
        counts, worse = measure_requests(page, 30, seed=1)
        assert worse == [] and counts["refused"] == 30
        assert not hasattr(pipeline, "options"), "nothing was dubbed"
        assert page.call("dub", page.good)[0] == "accepted" and page.is_there()
    finally:
        page.close()
        demo.close()
