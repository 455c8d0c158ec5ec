from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from conftest import CopyPipeline, FacelessPipeline

from personatalk.cli import main as cli
from personatalk.cli.main import main
from personatalk.cli.training import EVALUATION_NAMES, named_paths
from personatalk.errors import MediaError
from personatalk.evaluation.protocols import EVALUATIONS


@pytest.fixture
def pipeline(monkeypatch):
    pipeline = CopyPipeline()
    monkeypatch.setattr(cli, "load", lambda checkpoints: pipeline)
    return pipeline


def test_dub_writes_video_and_report(pipeline, clip, speech, tmp_path, capsys):
    output, report = tmp_path / "out.mp4", tmp_path / "report.json"
    assert main(["dub", str(clip), str(speech), "-o", str(output), "--report", str(report), "--quiet"]) == 0
    assert output.stat().st_size > 0
    assert json.loads(report.read_text()) == {"frames": 5}
    assert capsys.readouterr().out == f"{output}: 5 frames in 0.5 s, 1 without a usable face left as they are\n"


def test_dub_says_what_is_lost(monkeypatch, clip, speech, tmp_path, capsys):
    class LossyPipeline(CopyPipeline):
        def dub(self, *arguments, **options):
            result = super().dub(*arguments, **options)
            result.report = {"lost": ["the alpha channel", "2 chapters"]}
            return result

    monkeypatch.setattr(cli, "load", lambda checkpoints: LossyPipeline())
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--quiet"]) == 0
    assert capsys.readouterr().out.endswith("not kept of the clip and the speech: the alpha channel; 2 chapters\n")


def test_dub_passes_every_option_on(pipeline, clip, speech, tmp_path):
    options = "--style-strength 0.5 --mouth-amplitude 1.2 --length audio --references paper --face 3 4 --crf 20"
    options += " --no-offset --no-calibration --tracker face-alignment"
    main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--quiet", *options.split()])
    used = pipeline.options
    assert (used.style_strength, used.mouth_amplitude, used.length) == (0.5, 1.2, "audio")
    assert (used.reference_strategy, used.face_point, used.crf) == ("paper", (3.0, 4.0), 20)
    assert not used.measure_offset and not used.calibrate and used.tracker == "face-alignment"


def test_mendable_error_is_one_sentence_and_exit_code_two(monkeypatch, clip, speech, tmp_path, capsys):
    monkeypatch.setattr(cli, "load", lambda checkpoints: FacelessPipeline())
    before = sorted(tmp_path.iterdir())
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--quiet"]) == 2
    stderr = capsys.readouterr().err
    assert stderr == "personatalk: no face was found in the clip; use one where the face is seen from the front\n"
    assert sorted(tmp_path.iterdir()) == before


def test_output_in_a_missing_folder_is_refused_before_the_work(pipeline, clip, speech, tmp_path, capsys):
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "none" / "out.mp4")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not hasattr(pipeline, "options")


def test_option_out_of_range_is_refused(pipeline, clip, speech, tmp_path, capsys):
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--style-strength", "9"]) == 2
    assert capsys.readouterr().err == "personatalk: style_strength=9.0 must be a number between 0 and 3\n"


def test_track_of_a_clip_without_a_face_leaves_no_file(clip, tmp_path, capsys):
    output = tmp_path / "track.npz"
    assert main(["track", str(clip), "-o", str(output)]) == 2
    assert "no face was found" in capsys.readouterr().err
    assert not output.exists()


def test_preprocess_of_a_file_is_refused(clip, tmp_path, capsys):
    assert main(["preprocess", str(clip), "-o", str(tmp_path / "corpus")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_evaluation_without_its_manifest_is_refused(tmp_path, capsys):
    folders = [str(tmp_path), str(tmp_path), "--manifest", str(tmp_path / "none.tsv")]
    assert main(["evaluate", "fitting", *folders]) == 2
    assert "none.tsv" in capsys.readouterr().err


def test_every_evaluation_has_its_command():
    assert sorted(EVALUATION_NAMES) == sorted(EVALUATIONS)


def test_renderers_are_named_with_their_weights(tmp_path):
    (tmp_path / "a").mkdir()
    assert named_paths([f"dense={tmp_path / 'a'}"]) == {"dense": tmp_path / "a"}
    for wrong in ("dense", "=x", "dense=", f"dense={tmp_path / 'none'}"):
        with pytest.raises(MediaError, match="NAME=PATH|there is no"):
            named_paths([wrong])
    with pytest.raises(MediaError, match="once"):
        named_paths([f"a={tmp_path}"] * 2)


def test_misspelt_training_option_is_refused(tmp_path, capsys):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("file\tsplit\tperson\n")
    run = ["train", "renderer", str(tmp_path), str(tmp_path / "run"), "--manifest", str(manifest)]
    assert main([*run, "--config", '{"num_stepz": 3}']) == 2
    assert "num_stepz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "teaches"),
    [
        ([], "dub a clip"),
        (["dub"], "personatalk dub clip.mp4 speech.wav -o dubbed.mp4"),
        (["track"], "478 landmarks"),
        (["preprocess"], "personatalk preprocess my_videos"),
        (["train"], "personatalk train renderer"),
        (["evaluate"], "personatalk evaluate rendering"),
    ],
)
def test_help_teaches(command, teaches, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert teaches in capsys.readouterr().out


def test_being_asked_to_end_is_like_being_interrupted(tmp_path):
    code = (
        "import os, signal, sys; from personatalk import __main__; from personatalk.cli import main as cli\n"
        "class Slow:\n"
        "    def dub(self, *_, **__): os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "cli.load = lambda checkpoints: Slow()\n"
        "sys.exit(__main__.run())"
    )
    command = [sys.executable, "-c", code, "dub", "clip.mp4", "speech.wav", "-o", str(tmp_path / "out.mp4"), "--quiet"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "personatalk: interrupted, no file was written\n")


def test_only_our_sentence_reaches_standard_error(clip, tmp_path):
    command = [sys.executable, "-m", "personatalk", "track", str(clip), "-o", str(tmp_path / "track.npz")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("personatalk: no face was found in")


def test_help_does_not_load_the_networks():
    code = (
        "import sys; from personatalk.cli.main import build_parser; build_parser(); assert 'torch' not in sys.modules"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - started < 5
