from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CopyPipeline, FacelessPipeline, write_clip

from personatalk.cli import dub as cli_dub
from personatalk.cli.evaluate import NAMES, OPTION_READERS, named_paths
from personatalk.cli.main import build_parser, main
from personatalk.cli.train import TRAININGS
from personatalk.errors import MediaError
from personatalk.evaluation.protocols import EVALUATIONS
from personatalk.media import read_frames

PACKAGE = Path(cli_dub.__file__).parents[1]


@pytest.fixture
def pipeline(monkeypatch):
    pipeline = CopyPipeline()

    def load(checkpoints, device):
        pipeline.device = device
        return pipeline

    monkeypatch.setattr(cli_dub, "load", load)
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

    monkeypatch.setattr(cli_dub, "load", lambda checkpoints, device: LossyPipeline())
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--quiet"]) == 0
    assert capsys.readouterr().out.endswith("not kept of the clip and the speech: the alpha channel; 2 chapters\n")


def test_dub_passes_every_option_on(pipeline, clip, speech, tmp_path):
    options = "--style-strength 0.5 --mouth-amplitude 1.2 --length audio --references paper --face 3 4 --crf 20"
    options += " --no-offset --no-calibration --tracker face-alignment --refine none"
    main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--quiet", *options.split()])
    used = pipeline.options
    assert (used.style_strength, used.mouth_amplitude, used.length) == (0.5, 1.2, "audio")
    assert (used.reference_strategy, used.face_point, used.crf) == ("paper", (3.0, 4.0), 20)
    assert not used.measure_offset and not used.calibrate and used.tracker == "face-alignment" and used.refine == "none"


def test_mendable_error_is_one_sentence_and_exit_code_two(monkeypatch, clip, speech, tmp_path, capsys):
    monkeypatch.setattr(cli_dub, "load", lambda checkpoints, device: FacelessPipeline())
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
    assert sorted(NAMES) == sorted(EVALUATIONS)


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
        (["inspect"], "personatalk inspect inside"),
        (["preprocess"], "personatalk preprocess my_videos"),
        (["train"], "personatalk train renderer"),
        (["evaluate"], "personatalk evaluate rendering"),
    ],
)
def test_help_teaches(command, teaches, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert teaches in text and "%%" not in text


def test_being_asked_to_end_is_like_being_interrupted(tmp_path):
    code = (
        "import os, signal, sys, time; from personatalk import __main__; from personatalk.cli import dub as cli\n"
        "class Slow:\n"
        "    def dub(self, *_, **__):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)  # which may reach another thread, later: so no signal.pause()\n"
        "        while True: time.sleep(.01)\n"
        "cli.load = lambda checkpoints, device: Slow()\n"
        "sys.exit(__main__.run())"
    )
    command = [sys.executable, "-c", code, "dub", "clip.mp4", "speech.wav", "-o", str(tmp_path / "out.mp4"), "--quiet"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "personatalk: interrupted, no file was written\n")


STREAMING = """
import os, sys
from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.media import VideoWriter, probe_video, read_frames
from types import SimpleNamespace
class Streaming:
    def dub(self, video, audio, output, options, *, stream, progress, record):
        print("printed")
        os.write(1, b"printed by a library")
        with VideoWriter(output, video, audio=audio, stream=stream) as writer:
            for frame in read_frames(video):
                writer.write(frame.pixels, frame.pts)
        return SimpleNamespace(video=output, num_frames=9, num_passed_through=0, timings={"all": 1.0}, report={})
cli.load = lambda checkpoints, device: Streaming()
sys.exit(main())
"""


def streaming(*arguments: object) -> list[str]:
    return [sys.executable, "-c", STREAMING, "dub", *map(str, arguments), "--quiet", "--stream"]


def test_a_stream_has_standard_output_to_itself(speech, tmp_path):
    clip, output = write_clip(tmp_path / "clip.mp4", 100), tmp_path / "out.mp4"
    ended = subprocess.run([*streaming(clip, speech, "-o", output), "-"], capture_output=True, timeout=60)
    assert ended.returncode == 0
    assert ended.stderr.decode() == f"printed\nprinted by a library{output}: 9 frames in 1.0 s\n"
    (tmp_path / "stream.mp4").write_bytes(ended.stdout)
    for first, second in zip(read_frames(tmp_path / "stream.mp4"), read_frames(output), strict=True):
        assert first.time == second.time and np.array_equal(first.image, second.image)


def test_a_dub_goes_on_when_who_watches_leaves(speech, tmp_path):
    clip, output = write_clip(tmp_path / "clip.mp4", 100), tmp_path / "out.mp4"
    with subprocess.Popen(
        [*streaming(clip, speech, "-o", output), "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout.read(4)
        running.stdout.close()
        assert "9 frames" in running.stderr.read().decode()
        assert running.wait(60) == 0
    assert len(list(read_frames(output))) == 100


def test_a_stream_goes_to_a_file_beside_the_output(speech, tmp_path):
    clip, output, stream = write_clip(tmp_path / "clip.mp4", 30), tmp_path / "out.mp4", tmp_path / "stream.mp4"
    ended = subprocess.run([*streaming(clip, speech, "-o", output), str(stream)], capture_output=True, timeout=60)
    assert ended.returncode == 0 and ended.stdout.endswith(b"9 frames in 1.0 s\n")
    assert len(list(read_frames(stream))) == 30


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_stream_into_a_terminal_is_refused(clip, speech, tmp_path):
    import pty

    own, terminal = pty.openpty()
    command = [*streaming(clip, speech, "-o", tmp_path / "out.mp4"), "-"]
    ended = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(own), os.close(terminal)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "pipe it to a player" in ended.stderr


def test_only_our_sentence_reaches_standard_error(clip, tmp_path):
    command = [sys.executable, "-m", "personatalk", "track", str(clip), "-o", str(tmp_path / "track.npz")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("personatalk: no face was found in")


def test_help_is_quick_and_loads_no_network():
    code = (
        "import sys, time; begun = time.process_time(); from personatalk.cli.main import build_parser; build_parser();"
        "print(time.process_time() - begun, *{'torch', 'numpy', 'av', 'cv2'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(3)]
    assert all(len(run) == 1 for run in runs), runs
    assert min(float(run[0]) for run in runs) < 0.2


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return action.choices


def test_every_option_and_command_that_the_package_names_exists():
    """In messages, help and docstrings: `--option`, and `personatalk COMMAND WHAT`."""
    commands = commands_of(build_parser())
    options = {name for command in commands.values() for action in command._actions for name in action.option_strings}
    known = {"train": set(TRAININGS), "evaluate": set(NAMES)}
    others = re.compile(r"(?m)^.*(pip |apt|benchmarks|app\.py|ffmpeg|tensorboard).*$")  # options of theirs
    for path in PACKAGE.rglob("*.py"):
        text = others.sub("", path.read_text())
        for option in re.findall(r"(?<=[\s`])--[a-z][a-z-]+(?![\w:-])", text):
            assert option in options, f"{path.name} names {option}"
        for command, what in re.findall(r"personatalk (train|evaluate) ([a-z][a-z-]+)", text):
            assert what in known[command], f"{path.name} names `personatalk {command} {what}`"


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "gpu"])
def test_a_device_that_is_not_there_is_refused(name, pipeline, clip, speech, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--device", name]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("personatalk: ") and stderr.count("\n") == 1 and name in stderr
    assert not hasattr(pipeline, "device"), "nothing was loaded"


@pytest.mark.parametrize(("has_cuda", "device"), [(False, "cpu"), (True, "cuda")])
def test_auto_takes_cuda_where_there_is_some(has_cuda, device, pipeline, clip, speech, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_cuda)
    main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--device", "auto", "--quiet"])
    assert pipeline.device == device


@pytest.mark.parametrize(("command", "what"), [("train", "renderer"), ("evaluate", "rendering")])
def test_training_and_evaluation_refuse_a_device_that_is_not_there(command, what, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main([command, what, *folders(tmp_path), "--device", "cuda"]) == 2
    assert "cuda" in capsys.readouterr().err


def folders(tmp_path: Path, *lines: str) -> list[str]:
    """What train and evaluate are given: an empty corpus, another folder, and a manifest."""
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("\n".join(("file\tsplit\tperson", *lines)) + "\n")
    return [str(tmp_path), str(tmp_path / "folder"), "--manifest", str(manifest)]


def test_an_option_that_the_evaluation_does_not_read_is_refused(tmp_path, capsys):
    for option, readers in OPTION_READERS.items():
        assert main(["evaluate", "speech", *folders(tmp_path), f"--{option}", str(tmp_path)]) == 2
        assert f"`evaluate {readers[0]}`" in capsys.readouterr().err


@pytest.mark.parametrize("what", TRAININGS)
def test_an_empty_corpus_ends_training_with_one_sentence(what, tmp_path, capsys):
    assert main(["train", what, *folders(tmp_path, "a.mp4\ttrain\t1")]) == 2
    assert "run preprocess first" in capsys.readouterr().err


def test_inspect_of_a_folder_without_a_recording_is_refused(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 2
    assert "no complete recording" in capsys.readouterr().err
