"""What is read is never written, and what cannot be written is said before the work."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CopyPipeline

from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.errors import MediaError
from personatalk.media import VideoWriter, check_outputs, read_frames, write_text
from personatalk.options import DubbingOptions
from personatalk.pipeline import DubbingPipeline

LONG = "a" * 300


@pytest.fixture
def pipeline(monkeypatch) -> CopyPipeline:
    pipeline = CopyPipeline()
    monkeypatch.setattr(cli, "load", lambda checkpoints, device: pipeline)
    return pipeline


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dub(*arguments: object) -> int:
    return main(["dub", *map(str, arguments), "--quiet"])


def refuses(capsys, *arguments: object) -> str:
    """Run a dub that must end with one sentence on standard error; return that."""
    assert dub(*arguments) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("personatalk: ") and sentence.count("\n") == 1
    return sentence


@pytest.mark.parametrize("role", ["clip", "speech", "style-video", "reference-video"])
@pytest.mark.parametrize("output", ["-o", "--report", "--stream"])
@pytest.mark.parametrize("written", ["as it is", "another way", "symbolic link", "hard link"])
def test_nothing_that_is_read_is_written(pipeline, clip, speech, tmp_path, capsys, role, output, written):
    paths = {"clip": clip, "speech": speech}
    for name in ("style-video", "reference-video"):
        paths[name] = tmp_path / f"{name}.mp4"
        shutil.copy(clip, paths[name])
    victim = paths[role]
    target = {"as it is": victim, "another way": victim.parent / "x" / ".." / victim.name}.get(
        written, tmp_path / "link.mp4"
    )
    (tmp_path / "x").mkdir()
    if "link" in written:
        (os.link if written == "hard link" else os.symlink)(victim, target)
    before = contents(tmp_path)
    others = [f"--{name}={path}" for name, path in paths.items() if name.endswith("video")]
    outputs = {"-o": tmp_path / "out.mp4"} | {output: target}
    sentence = refuses(capsys, clip, speech, *others, *(part for pair in outputs.items() for part in pair))
    assert victim.name in sentence
    assert contents(tmp_path) == before and not hasattr(pipeline, "options")


def test_the_pipeline_itself_refuses_to_write_a_style_video(clip, speech, tmp_path):
    style = tmp_path / "style.mp4"
    shutil.copy(clip, style)
    for options in (DubbingOptions(style_video=style), DubbingOptions(reference_video=style)):
        with pytest.raises(MediaError, match="overwrite the input"):
            DubbingPipeline.dub(None, clip, speech, style, options)
        with pytest.raises(MediaError, match="overwrite the input"):
            DubbingPipeline.dub(None, clip, speech, tmp_path / "out.mp4", options, stream=style)
    assert style.read_bytes() == clip.read_bytes()


def test_two_outputs_do_not_share_a_file(pipeline, clip, speech, tmp_path, capsys):
    for other in ("--report", "--stream"):
        assert "Two outputs" in refuses(capsys, clip, speech, "-o", tmp_path / "o.mp4", other, tmp_path / "o.mp4")


def test_an_inspection_folder_that_holds_an_input_is_refused(pipeline, clip, speech, tmp_path, capsys):
    before = contents(tmp_path)
    assert "holds the input clip.mp4" in refuses(capsys, clip, speech, "-o", tmp_path / "o.mp4", "--inspect", tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("role", ["-o", "--report", "--inspect", "--stream"])
@pytest.mark.parametrize("bad", [f"{LONG}.mp4", f"{'b/' * 3000}.mp4"], ids=["long name", "long path"])
def test_names_that_are_too_long_are_refused_before_the_work(pipeline, clip, speech, tmp_path, capsys, role, bad):
    outputs = {"-o": tmp_path / "out.mp4"} | {role: tmp_path / bad}
    sentence = refuses(capsys, clip, speech, *(part for pair in outputs.items() for part in pair))
    assert "cannot be written" in sentence
    assert not hasattr(pipeline, "options")


@pytest.mark.parametrize("role", ["clip", "speech"])
def test_an_input_with_an_impossible_name_is_missing(pipeline, clip, speech, tmp_path, capsys, role):
    paths = {"clip": clip, "speech": speech} | {role: tmp_path / f"{LONG}.mp4"}
    with pytest.raises(MediaError, match="There is no file"):
        list(read_frames(paths[role]))
    check_outputs([tmp_path / "out.mp4"], paths.values())


def test_the_longest_name_that_there_can_be_is_written(clip, tmp_path):
    target = tmp_path / f"{'é' * 125}b.mp4"  # 255 bytes
    with VideoWriter(target, clip, audio=None) as writer:
        for frame in read_frames(clip):
            writer.write(frame.image, frame.pts)
    assert target.stat().st_size > 0


@pytest.mark.parametrize("role", ["-o", "--report", "--inspect", "--stream"])
def test_a_folder_that_takes_no_files_is_refused_before_the_work(pipeline, clip, speech, tmp_path, capsys, role):
    outputs = {"-o": tmp_path / "out.mp4"} | {role: Path("/proc/1/none.mp4" if role == "--inspect" else "/proc/o.mp4")}
    sentence = refuses(capsys, clip, speech, *(part for pair in outputs.items() for part in pair))
    assert "cannot be written" in sentence
    assert not hasattr(pipeline, "options")


def test_a_report_on_a_full_device_is_one_sentence_and_the_video_stays(pipeline, clip, speech, tmp_path, capsys):
    sentence = refuses(capsys, clip, speech, "-o", tmp_path / "out.mp4", "--report", "/dev/full")
    assert "No space left on device" in sentence
    assert (tmp_path / "out.mp4").exists() and Path("/dev/full").is_char_device()


needs_mount = pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0, reason="may not mount anything"
)
MOUNTED = """
import sys
from personatalk.cli import dub as cli
from personatalk.cli.main import main
cli.load = lambda checkpoints, device: sys.exit("the work has begun")
clip, speech, output, disk = sys.argv[1:]
for outputs in (["-o", f"{disk}/out.mp4"], ["-o", output, "--report", f"{disk}/report.json"],
                ["-o", output, "--inspect", f"{disk}/inspection"]):
    assert main(["dub", clip, speech, *outputs, "--quiet"]) == 2
"""


@needs_mount
@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "Read-only file system"), ("size=16k", "No space left on device")]
)
def test_a_disk_that_is_read_only_or_full_is_refused_before_the_work(clip, speech, tmp_path, options, reason):
    disk = tmp_path / "disk"
    disk.mkdir()
    ended = run_on_disk(disk, options, MOUNTED, clip, speech, tmp_path / "out.mp4", disk)
    assert ended.returncode == 0, ended.stderr
    sentences = ended.stderr.splitlines()
    assert len(sentences) == 3 and all(line.startswith("personatalk: ") and reason in line for line in sentences)


RECORD = """
import sys
import numpy as np
from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.inspection.recorder import Recorder

def record(checkpoints, device):
    recorder = Recorder(sys.argv[1])
    recorder._attention, recorder._kept = {}, range(200)
    for row in range(200):
        recorder._append("gate", row, np.ones((64, 64), np.float16))

cli.load = record
sys.exit(main(["dub", "clip.mp4", "speech.wav", "-o", sys.argv[2], "--inspect", sys.argv[1]]))
"""


@needs_mount
def test_an_inspection_that_fills_the_disk_ends_in_a_sentence(tmp_path):
    """Written through a memory map, it would end the process with a bus error."""
    disk = tmp_path / "disk"
    disk.mkdir()
    ended = run_on_disk(disk, "size=256k", RECORD, disk / "inspection", tmp_path / "out.mp4")
    assert ended.returncode == 2, ended.stderr
    assert "No space left on device" in ended.stderr and ended.stderr.count("\n") == 1


def run_on_disk(disk: Path, options: str, code: str, *arguments: Path) -> subprocess.CompletedProcess:
    """Run Python where a disk of its own is mounted."""
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, disk, sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_text_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_text(path, "first")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(MediaError, match="No space left"):
            write_text(path, "second")
    assert contents(tmp_path) == {path: b"first"}


WRITE_AND_WAIT = """
import sys, time
from personatalk.media import VideoWriter, read_frames
with VideoWriter(sys.argv[2], sys.argv[1], audio=None) as writer:
    for frame in read_frames(sys.argv[1]):
        writer.write(frame.image, frame.pts)
    print("writing", flush=True)
    time.sleep(300)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(clip, tmp_path):
    target = tmp_path / "out.mp4"
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(clip), str(target)]
    killed, living = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        assert killed.stdout.readline() == living.stdout.readline() == "writing\n"
        assert len(list(tmp_path.glob(".out.*.part"))) == 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(list(tmp_path.glob(".out.*.part"))) == 2
        (tmp_path / ".other.0123abcd.part").touch()
        with VideoWriter(target, clip, audio=None) as writer:
            writer.write(next(read_frames(clip)).image, 0)
        assert len(list(tmp_path.glob(".out.*.part"))) == 1
        assert target.exists() and (tmp_path / ".other.0123abcd.part").exists()
    finally:
        for process in (killed, living):
            process.kill()
            process.wait()
            process.stdout.close()
