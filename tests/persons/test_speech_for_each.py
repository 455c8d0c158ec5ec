"""Several faces speak in one dub, each its own speech, and all are heard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import CopyPipeline, write_speech
from media_samples import ASSETS
from person_clips import images_of, rendered_head, speaker, write_clip

from personatalk.casting import roles_of
from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.errors import OptionError
from personatalk.media import read_audio
from personatalk.media.excerpt import MIX_RATE, cut_sound, mix_sounds
from personatalk.options import DubbingOptions
from personatalk.pipeline import observers_of

CUT, SEAM = 15, 320  # the frame and the column at which the two change places
SPEECH_S = 1.2


@dataclass(frozen=True)
class Dubs:
    source: np.ndarray
    both: np.ndarray
    alone: list[np.ndarray]
    report: dict
    sound: np.ndarray
    stream: Path
    speeches: dict[int, Path]


@pytest.fixture(scope="module")
def dubs(pipeline, tmp_path_factory) -> Dubs:
    folder = tmp_path_factory.mktemp("each")
    pairs = [np.concatenate(pair, 1) for pair in zip(speaker(2 * CUT), rendered_head(2 * CUT), strict=True)]
    frames = pairs[:CUT] + [np.roll(image, SEAM, axis=1) for image in pairs[CUT:]]
    clip = write_clip(folder / "two.mp4", frames)
    names = ("speech_bridge.wav", "speech_kitchen.wav")
    speeches = {n: cut_sound(ASSETS / name, folder / f"{n}.wav", 0.0, SPEECH_S) for n, name in enumerate(names)}
    stream = folder / "stream.mp4"
    result = pipeline.dub(clip, speeches, folder / "both.mp4", DubbingOptions(crf=0), stream=stream)
    alone = [
        pipeline.dub(clip, speech, folder / f"{n}.mp4", DubbingOptions(crf=0, face=n)) for n, speech in speeches.items()
    ]
    return Dubs(
        source=images_of(clip),
        both=images_of(result.video),
        alone=[images_of(dub.video) for dub in alone],
        report=result.report,
        sound=read_audio(result.video, MIX_RATE),
        stream=stream,
        speeches=speeches,
    )


@pytest.mark.weights
@pytest.mark.slow
def test_each_face_speaks_as_it_does_alone_also_where_both_change_places(dubs):
    assert len(dubs.both) == 2 * CUT
    changed = [np.abs(alone.astype(int) - dubs.source).max((1, 3)) > 24 for alone in dubs.alone]  # [T, columns]
    for frames in (slice(CUT), slice(CUT, None)):
        sides = [int(np.median(np.flatnonzero(columns[frames].any(0))) > SEAM) for columns in changed]
        assert sides[0] != sides[1]
        for side, alone in zip(sides, dubs.alone, strict=True):
            own = np.s_[frames, :, side * SEAM + 2 : (side + 1) * SEAM - 2]  # chroma mixes at the seam
            assert np.array_equal(dubs.both[own], alone[own])


@pytest.mark.weights
@pytest.mark.slow
def test_both_are_heard(dubs):
    first, second = (read_audio(path, MIX_RATE) for path in dubs.speeches.values())
    heard = dubs.sound[: len(first)]
    assert np.corrcoef(heard, first + second)[0, 1] > 0.99
    assert min(np.corrcoef(heard, one)[0, 1] for one in (first, second)) > 0.3


@pytest.mark.weights
@pytest.mark.slow
def test_both_are_seen_and_heard_in_a_stream(dubs):
    assert np.array_equal(images_of(dubs.stream), dubs.both)
    assert np.array_equal(read_audio(dubs.stream, MIX_RATE)[: len(dubs.sound)], dubs.sound)


@pytest.mark.weights
@pytest.mark.slow
def test_the_report_tells_of_each_face(dubs):
    told = dubs.report["faces"]
    assert [(face["face"], face["speech"], face["num_passed_through"]) for face in told] == [
        (0, "0.wav", 0),
        (1, "1.wav", 0),
    ]
    assert [person["left_alone_because"] for person in dubs.report["persons"]] == [None, None]
    assert told[0]["speaking_style"] != told[1]["speaking_style"], "each has its own style"


@pytest.mark.weights
def test_a_shorter_speech_is_silent_up_to_the_end_of_the_longer(pipeline, tmp_path):
    paths = [write_speech(tmp_path / f"{seconds}.wav", seconds) for seconds in (0.5, 1.0)]
    short, long = pipeline.encode_speeches(paths)
    assert short.seconds == long.seconds == 1.0 and short.features.values.shape == long.features.values.shape
    assert short.waveform[:8000].any() and not short.waveform[8000:].any()


def test_a_mix_is_as_long_as_the_longest_and_never_clipped(tmp_path):
    short, long = write_speech(tmp_path / "a.wav", 0.5), write_speech(tmp_path / "b.wav", 1.0)
    mixed = read_audio(mix_sounds([short, long, long, long], tmp_path / "mix.wav"), MIX_RATE)
    assert len(mixed) == MIX_RATE and 0.99 < np.abs(mixed).max() <= 1
    loud, quiet = (np.abs(part).max() for part in (mixed[: MIX_RATE // 2], mixed[MIX_RATE // 2 :]))
    assert loud == pytest.approx(4 / 3 * quiet, rel=0.02)


@pytest.mark.parametrize("chosen", [{"face": 0}, {"face_point": (1.0, 2.0)}, {"reference_video": "other.mp4"}])
def test_choices_of_one_face_do_not_go_with_a_speech_for_each(chosen):
    with pytest.raises(OptionError, match=next(iter(chosen))):
        roles_of({0: Path("a.wav"), 1: Path("b.wav")}, DubbingOptions(**chosen))
    with pytest.raises(OptionError, match="no face has a speech"):
        roles_of({}, DubbingOptions())


@pytest.fixture
def copying(monkeypatch) -> CopyPipeline:
    class Heard(CopyPipeline):
        def dub(self, video, audio, *arguments, **keywords):
            self.speeches = audio
            return super().dub(video, next(iter(audio.values())), *arguments, **keywords)

    copying = Heard()
    monkeypatch.setattr(cli, "load", lambda checkpoints, device: copying)
    return copying


def test_the_command_takes_a_speech_for_each_number(copying, clip, speech, tmp_path):
    given = [f"--speech={number}={speech}" for number in (1, 0)]
    assert main(["dub", str(clip), *given, "-o", str(tmp_path / "out.mp4"), "--quiet"]) == 0
    assert copying.speeches == {1: speech, 0: speech}


@pytest.mark.parametrize("given", [[], ["0"], ["0="], ["x=a.wav"], ["-1=a.wav"], ["0=a.wav", "0=b.wav"]])
def test_the_command_refuses_what_is_no_number_and_speech(copying, clip, tmp_path, capsys, given):
    words = [f"--speech={words}" for words in given]
    assert main(["dub", str(clip), *words, "-o", str(tmp_path / "out.mp4"), "--quiet"]) == 2
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1 and "--speech" in sentence and not hasattr(copying, "speeches")


def test_one_speech_or_one_for_each_but_not_both(copying, clip, speech, tmp_path, capsys):
    assert main(["dub", str(clip), str(speech), f"--speech=0={speech}", "-o", str(tmp_path / "out.mp4")]) == 2
    assert "--speech 0=a.wav" in capsys.readouterr().err


def test_a_speech_is_never_overwritten(copying, clip, speech, tmp_path, capsys):
    outputs = ["-o", str(tmp_path / "out.mp4"), "--report", str(speech)]
    assert main(["dub", str(clip), f"--speech=0={speech}", *outputs]) == 2
    assert "overwrite" in capsys.readouterr().err and not hasattr(copying, "speeches")


def test_each_observer_has_a_face_to_look_at():
    one, other = object(), object()
    assert list(observers_of(None, 2)) == [] and list(observers_of(one, 2)) == [one]
    assert list(observers_of([one, other], 2)) == [one, other]
    with pytest.raises(ValueError, match="2 observers cannot look at 1 faces"):
        observers_of([one, other], 1)
