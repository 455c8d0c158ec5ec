"""A dub that was ended goes on where whole work ends, and comes to the same frames."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import CopyPipeline
from media_samples import ASSETS
from person_clips import images_of, speaker, write_clip

from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.errors import CancelledError, MediaError, NoFaceError, OptionError
from personatalk.kept_work import SEGMENT_FRAMES, SUFFIX, KeptWork
from personatalk.media import write_text
from personatalk.options import DubbingOptions

ASKED = {"the clip": "a", "the options": "b"}
NUM_FRAMES = 40


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / f"out.mp4{SUFFIX}"


def never() -> object:
    raise AssertionError("it was there already")


def test_what_was_made_is_made_once(folder):
    first = KeptWork(folder, ASKED)
    assert first.recall("faces", lambda: {"points": np.arange(5), "video": Path("a.mp4")})["video"] == Path("a.mp4")
    first.close()
    again = KeptWork(folder, ASKED).recall("faces", never)
    assert np.array_equal(again["points"], np.arange(5)) and again["video"] == Path("a.mp4")


@pytest.mark.parametrize("name", list(ASKED))
def test_the_work_of_another_dub_is_refused_and_stays(folder, name):
    first = KeptWork(folder, ASKED)
    first.recall("faces", lambda: 1)
    first.close()
    with pytest.raises(MediaError, match=f"another dub .{name}: not the same"):
        KeptWork(folder, ASKED | {name: "other"})
    assert KeptWork(folder, ASKED).recall("faces", never) == 1


def test_two_runs_do_not_share_a_folder(folder):
    first = KeptWork(folder, ASKED)
    with pytest.raises(MediaError, match="Another run works"):
        KeptWork(folder, ASKED)
    assert folder.stat().st_mode & 0o777 == 0o700, "nor does another user enter it"
    first.close()
    KeptWork(folder, ASKED).remove()
    assert not folder.exists()


def test_a_folder_in_which_nothing_is_finished_goes(folder):
    KeptWork(folder, ASKED).close()
    assert not folder.exists()


class Harmful:
    """Calls a function when it is read."""

    def __init__(self, function, *arguments) -> None:
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize(
    "content",
    [b"", b"broken", pickle.dumps(Harmful(os.mkdir, "harmed")), pickle.dumps(Harmful(write_text, "harmed", "by us"))],
    ids=["empty", "no pickle", "another's function", "a function of the package"],
)
def test_what_is_broken_or_calls_anything_is_made_anew(folder, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    kept = KeptWork(folder, ASKED)
    (folder / "faces.pickle").write_bytes(content)
    assert kept.recall("faces", lambda: 2) == 2 and not Path("harmed").exists()


def changes_of(position: int) -> list[tuple[int, int, np.ndarray]]:
    """Two parts of most frames, none of every third."""
    random = np.random.default_rng(position)
    parts = [(3, position, random.integers(0, 255, (7, 9, 3)).astype(np.uint8))] * 2
    return parts if position % 3 else []


def keep_frames(kept: KeptWork, count: int) -> None:
    for position in range(count):
        kept.add_frame(position, np.array([position % 3 > 0, False]), lambda position=position: changes_of(position))


def test_frames_of_whole_segments_come_back_bit_for_bit(folder):
    first = KeptWork(folder, ASKED)
    keep_frames(first, 2 * SEGMENT_FRAMES + 3)
    first.close()
    kept = KeptWork(folder, ASKED)
    for position in range(2 * SEGMENT_FRAMES):
        frame, meant = kept.frame(position), changes_of(position)
        assert frame.is_dubbed.tolist() == [position % 3 > 0, False] and len(frame.changes) == len(meant)
        for (*place, difference), (*meant_place, meant_difference) in zip(frame.changes, meant, strict=True):
            assert place == meant_place and np.array_equal(difference, meant_difference)
    assert kept.frame(2 * SEGMENT_FRAMES) is None
    kept.add_frame(0, np.array([True, False]), never)  # what is there is not looked for again


def test_a_broken_segment_is_made_anew(folder):
    first = KeptWork(folder, ASKED)
    keep_frames(first, SEGMENT_FRAMES)
    first.close()
    path = next(folder.glob("frames_*"))
    path.write_bytes(path.read_bytes()[:-100])
    kept = KeptWork(folder, ASKED)
    assert kept.frame(0) is None
    keep_frames(kept, SEGMENT_FRAMES)
    kept.close()
    assert np.array_equal(KeptWork(folder, ASKED).frame(4).changes[0][2], changes_of(4)[0][2])


@pytest.mark.weights
def test_a_resumed_dub_is_the_undisturbed_one_bit_for_bit(pipeline, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "clip.mp4", speaker(NUM_FRAMES), ASSETS / "grid_speaker.mp4")
    speech, output = ASSETS / "speech_bridge.wav", tmp_path / "out.mp4"
    undisturbed = pipeline.dub(clip, speech, tmp_path / "whole.mp4")
    stages = iter(["fitting the face", "rendering"])
    rendered = []

    def dub_until(stage: str) -> None:
        """Dub until a stage begins; while rendering, until its first segment is finished."""
        told = []

        def should_stop() -> bool:
            steps = told.count(stage)
            return steps > (SEGMENT_FRAMES + 2 if stage == "rendering" else 1)

        with pytest.raises(CancelledError):
            pipeline.dub(
                clip, speech, output, resume=True,
                progress=lambda share, message: told.append(message), should_stop=should_stop,
            )  # fmt: skip
        assert not output.exists() and output.with_name(f"out.mp4{SUFFIX}").is_dir()

    dub_until(next(stages))
    monkeypatch.setattr("personatalk.pipeline.find_persons", never)
    dub_until(next(stages))
    monkeypatch.setattr("personatalk.pipeline.estimate_face", never)
    render = pipeline.clip_renderer

    def counted(*given):
        renderer = render(*given)
        original = renderer.render
        renderer.render = lambda position, image: rendered.append(position) or original(position, image)
        return renderer

    monkeypatch.setattr(pipeline, "clip_renderer", counted)
    with pytest.raises(MediaError, match=r"the options: not the same"):
        pipeline.dub(clip, speech, output, DubbingOptions(crf=20), resume=True)
    with monkeypatch.context() as patch, pytest.raises(MediaError, match=r"the weights: not the same"):
        patch.setattr("personatalk.pipeline.weights_digest", lambda networks: "others")
        pipeline.dub(clip, speech, output, resume=True)
    result = pipeline.dub(clip, speech, output, resume=True, stream=tmp_path / "stream.mp4")
    assert np.array_equal(images_of(tmp_path / "stream.mp4"), images_of(output))  # kept frames are in it too
    assert sorted(rendered) == list(range(SEGMENT_FRAMES, NUM_FRAMES))
    assert output.read_bytes() == undisturbed.video.read_bytes()
    assert not output.with_name(f"out.mp4{SUFFIX}").exists()
    same = ("num_frames", "num_passed_through", "lip_references", "face_references", "persons", "shots")
    assert all(result.report[name] == undisturbed.report[name] for name in same)


@pytest.mark.weights
def test_a_clip_without_a_face_leaves_no_work_behind(pipeline, clip, speech, folder):
    with pytest.raises(NoFaceError):
        pipeline.dub(clip, speech, folder.with_suffix(""), resume=True)
    assert not folder.exists()


def test_a_run_that_is_looked_into_is_not_resumed(pipeline, clip, speech, tmp_path):
    with pytest.raises(OptionError, match="cannot be resumed"):
        pipeline.dub(clip, speech, tmp_path / "out.mp4", record=object(), resume=True)


def test_the_command_passes_it_on(monkeypatch, clip, speech, tmp_path):
    class Resumed(CopyPipeline):
        def dub(self, *given, resume=False, **keywords):
            self.resume = resume
            return super().dub(*given, **keywords)

    asked = Resumed()
    monkeypatch.setattr(cli, "load", lambda checkpoints, device: asked)
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--resume", "--quiet"]) == 0
    assert asked.resume
