from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import CopyPipeline

from inspection.conftest import REPORT, record_run
from personatalk import cli
from personatalk.cli import main
from personatalk.inspection import figures as module
from personatalk.inspection.figures import figures, stage_table
from personatalk.inspection.recording import Inspection


def named(inspection) -> dict:
    return {figure.name: figure for figure in figures(inspection)}


def test_stages_come_with_time_and_memory_and_a_sum(inspection):
    track, render, whole = stage_table(inspection)
    assert (track["seconds"], track["share"], track["peak_memory_mb"]) == (2.0, 0.25, 500)
    assert render["ms_per_frame"] == pytest.approx(100) and render["stage"].startswith("stage 2")
    assert (whole["stage"], whole["seconds"], whole["peak_memory_mb"]) == ("all", 8.0, 700)


def test_still_lips_do_not_shake_and_a_mouth_of_half_the_size_is_half_as_lively(inspection):
    plain = named(inspection)
    assert plain["liveliness of the mouth"].value == pytest.approx(1.0, abs=0.01)
    original = inspection.driven_vertices
    try:
        inspection.__dict__["driven_vertices"] = np.repeat(original[:1], len(original), 0)
        still = named(inspection)
        assert still["jitter of the lips"].value == 0 and still["liveliness of the mouth"].value == 0
    finally:
        inspection.__dict__["driven_vertices"] = original
    assert plain["jitter of the lips"].value > 0


def test_seam_and_identity_are_those_of_the_judged_frames(inspection):
    found = named(inspection)
    assert len(inspection.seams) == len(inspection.chips) == 12
    assert found["seam"].value == pytest.approx(inspection.seams.mean(), abs=1e-3)
    chips = inspection.chips
    try:
        inspection.chips = chips[:, [0, 0]]
        assert named(inspection)["identity"].value == 0
    finally:
        inspection.chips = chips
    assert found["identity"].value > 0


def test_without_the_embedder_identity_is_said_to_be_missing(inspection, monkeypatch):
    def missing():
        raise module.CheckpointError("missing weights: here")

    monkeypatch.setattr(module.FaceEmbedder, "load", missing)
    figure = named(inspection)["identity"]
    assert figure.value is None and "missing weights" in figure.meaning


def test_dub_with_inspect_leaves_recording_and_pictures(monkeypatch, clip, speech, tmp_path, capsys):
    class RecordedPipeline(CopyPipeline):
        def dub(self, *arguments, record, **options):
            record_run(record.folder, max_frames=4)
            return super().dub(*arguments, **options)

    monkeypatch.setattr(cli, "load", lambda checkpoints: RecordedPipeline())
    folder = tmp_path / "inside"
    output = tmp_path / "out.mp4"
    assert main(["dub", str(clip), str(speech), "-o", str(output), "--quiet", "--inspect", str(folder)]) == 0
    assert f"{folder / 'sheets'}: 17 pictures, meshes and tables" in capsys.readouterr().out
    assert Inspection.load(folder).report == REPORT
    written = {path.name for path in (folder / "sheets").iterdir()}
    assert {"geometry.glb", "face.ply", "style_map.png", "attention_colours.png"} <= written and len(written) == 17
    assert {row["stage"] for row in json.loads((folder / "sheets" / "tables.json").read_text())["stages"]} >= {"all"}


def test_inspect_into_a_file_is_refused(monkeypatch, clip, speech, tmp_path, capsys):
    monkeypatch.setattr(cli, "load", lambda checkpoints: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "out.mp4")
    assert main(["dub", str(clip), str(speech), "-o", output, "--inspect", str(tmp_path / "file")]) == 2
    assert "is a file; --inspect needs a folder" in capsys.readouterr().err
