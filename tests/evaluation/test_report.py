"""Reports as JSON and as tables."""

from __future__ import annotations

import json

import pytest

from personatalk.evaluation import protocols
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of, to_markdown


def test_markdown_holds_every_figure_and_marks_what_is_missing():
    text = to_markdown(report_of("x", {"ours": [{"r": 0.5}, {"r": 0.7}], "mean mouth": [{"r": float("nan")}]}, clips=2))
    assert "| ours | 0.6 [0.5, 0.7] |" in text
    assert "| mean mouth | – |" in text
    assert "clips: 2" in text


def test_the_report_is_kept_as_json_and_as_a_table(tmp_path, monkeypatch):
    report = report_of("fitting", {"ours": [{"lips_%": 0.5}]})
    monkeypatch.setitem(protocols.EVALUATIONS, "fitting", lambda inputs: report)
    places = dict.fromkeys(("data", "manifest", "corpus", "checkpoints"), tmp_path)
    protocols.run_evaluation("fitting", EvaluationInputs(**places, output=tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "fitting.json").read_text()) == report
    assert "0.5" in (tmp_path / "out" / "fitting.md").read_text()
    with pytest.raises(ValueError, match="fiting"):
        protocols.run_evaluation("fiting", EvaluationInputs(**places))
