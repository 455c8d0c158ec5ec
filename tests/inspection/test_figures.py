from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CopyPipeline
from recorded_run import REPORT

from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.errors import NoFaceError
from personatalk.geometry.mouth import lip_aperture
from personatalk.inspection import figures as module
from personatalk.inspection.figures import figures, seen_figures, stage_table
from personatalk.inspection.recorder import MAX_JUDGED
from personatalk.inspection.recording import Inspection
from personatalk.progress import SHARES


def named(inspection) -> dict:
    return {figure.name: figure for figure in figures(inspection)}


def test_stages_come_with_time_and_memory_and_a_sum(inspection):
    track, render, whole = stage_table(inspection)
    assert (track["seconds"], track["share"], track["peak_memory_mb"]) == (2.0, 0.25, 500)
    assert render["ms_per_frame"] == pytest.approx(100) and render["stage"].startswith("stage 2")
    assert (whole["stage"], whole["seconds"], whole["peak_memory_mb"]) == ("all", 8.0, 700)


def test_every_stage_of_a_run_has_a_name():
    assert set(module.STAGES) == set(SHARES)


def test_still_lips_do_not_shake_and_a_mouth_of_half_the_size_is_half_as_lively(inspection):
    plain = named(inspection)
    assert plain["lip aperture, deviation ratio"].value == pytest.approx(1.0, abs=0.01)
    original = inspection.driven_vertices
    try:
        inspection.__dict__["driven_vertices"] = np.repeat(original[:1], len(original), 0)
        still = named(inspection)
        assert still["lip jitter, driven"].value == 0 and still["lip aperture, deviation ratio"].value == 0
    finally:
        inspection.__dict__["driven_vertices"] = original
    assert plain["lip jitter, driven"].value > 0


def test_seam_and_identity_are_those_of_the_judged_frames(inspection):
    found = named(inspection)
    assert len(inspection.seams) == len(inspection.chips) == MAX_JUDGED
    assert found["seam"].value == pytest.approx(inspection.seams.mean(), abs=1e-3)
    chips = inspection.chips
    try:
        inspection.chips = chips[:, [0, 0]]
        assert named(inspection)["identity"].value == 0
    finally:
        inspection.chips = chips
    assert found["identity"].value > 0


def test_synchrony_is_measured_from_the_start_of_the_output_while_the_speech_lasts(inspection, monkeypatch):
    asked, whole = [], inspection.waveform

    def measure(network, features, geometry, face_model):
        asked.append(geometry)
        return SimpleNamespace(offset_s=-0.0404, confidence=7.26)

    monkeypatch.setattr(module, "measure_synchrony", measure)
    try:
        inspection.waveform = whole[: 16000 * 30 // 25]
        found = named(inspection)
    finally:
        inspection.waveform = whole
    assert found["sync offset, driven mouth"].value == -40
    assert found["sync confidence, driven mouth"].value == 7.3
    assert len(asked[0]) == 31 and asked[0].times[0] == 0
    np.testing.assert_array_equal(asked[0].expression, inspection.posed.expression[:31])


def test_real_judge_finds_nothing_to_say_of_too_short_a_speech(inspection):
    whole = inspection.waveform
    try:
        inspection.waveform = whole[:4000]
        figure = named(inspection)["sync offset, driven mouth"]
    finally:
        inspection.waveform = whole
    assert figure.value is None and "too short" in figure.meaning


def test_the_seen_mouth_is_compared_with_the_one_that_was_asked_for(inspection, monkeypatch):
    def seen_as(geometry):
        vertices = inspection.face_model.vertices(geometry.template, geometry.expression)
        seen = SimpleNamespace(geometry=geometry, aperture=lip_aperture(vertices))
        monkeypatch.setattr(module, "see_face", lambda video, face_model: seen)
        return {figure.name: figure for figure in seen_figures(inspection, "dub.mp4")}

    perfect = seen_as(inspection.posed)
    assert perfect["lip aperture, measured"].value == 1
    assert perfect["lip jitter, measured"].value == named(inspection)["lip jitter, driven"].value
    assert seen_as(inspection.source)["lip aperture, measured"].value < 0.9


def test_a_dub_in_which_no_face_is_seen_is_said_to_show_none(inspection, monkeypatch):
    def faceless(video, face_model):
        raise NoFaceError("no face can be followed")

    monkeypatch.setattr(module, "see_face", faceless)
    (figure,) = seen_figures(inspection, "dub.mp4")
    assert figure.value is None and "no face" in figure.meaning


def test_without_the_embedder_identity_is_said_to_be_missing(inspection, monkeypatch):
    def missing():
        raise module.CheckpointError("missing weights: here")

    monkeypatch.setattr(module.FaceEmbedder, "load", missing)
    figure = named(inspection)["identity"]
    assert figure.value is None and "missing weights" in figure.meaning


def test_dub_with_inspect_leaves_recording_and_pictures(monkeypatch, recording, clip, speech, tmp_path, capsys):
    class RecordedPipeline(CopyPipeline):
        def dub(self, *arguments, record, **options):
            shutil.copytree(recording[0], record.folder, dirs_exist_ok=True)
            return super().dub(*arguments, **options)

    monkeypatch.setattr(cli, "load", lambda checkpoints, device: RecordedPipeline())
    folder = tmp_path / "inside"
    output = tmp_path / "out.mp4"
    assert main(["dub", str(clip), str(speech), "-o", str(output), "--quiet", "--inspect", str(folder)]) == 0
    assert f"{folder / 'sheets'}: 18 pictures, meshes and tables" in capsys.readouterr().out
    assert Inspection.load(folder).report == REPORT
    written = {path.name for path in (folder / "sheets").iterdir()}
    assert {"geometry.glb", "face.ply", "style_map.png", "attention_colours.png"} <= written and len(written) == 18
    assert {row["stage"] for row in json.loads((folder / "sheets" / "tables.json").read_text())["stages"]} >= {"all"}
    again = tmp_path / "again"
    assert main(["inspect", str(folder), "-o", str(again), "--frame", "0"]) == 0
    assert "all: 8.0 s" in capsys.readouterr().out
    assert {path.name for path in again.iterdir()} == written
    assert main(["inspect", str(folder), "--frame", "999"]) == 2
    assert "there is no frame 999" in capsys.readouterr().err


def test_inspect_into_a_file_is_refused(monkeypatch, clip, speech, tmp_path, capsys):
    monkeypatch.setattr(cli, "load", lambda checkpoints, device: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "out.mp4")
    assert main(["dub", str(clip), str(speech), "-o", output, "--inspect", str(tmp_path / "file")]) == 2
    assert "is a file; give a folder" in capsys.readouterr().err
