"""A few mutated files of every form; `python -m benchmarks.faults` tries a thousand and more."""

from __future__ import annotations

from benchmarks.faults import FORMS, measure


def test_mutated_files_are_read_or_refused_in_a_sentence(tmp_path):
    counts, worse, peak_mb = measure(tmp_path, 4 * len(FORMS), seed=1)
    assert worse == []
    assert set(counts) == set(FORMS)
    total = sum((outcomes for outcomes in counts.values()), start=type(counts["mp4"])())
    assert total["read"] > 10 and total["refused"] > 10, "the mutations neither leave all as it is nor destroy all"
    assert 0 < peak_mb < 1500
