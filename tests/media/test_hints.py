"""A speech that is silent, or whose channels cancel each other out, is said: by the command and on the page."""

from __future__ import annotations

import wave
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CopyPipeline
from media_samples import ASSETS, voice, write_sound

from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.media.sound import hints_about
from personatalk.webapp import strings
from personatalk.webapp.run_summary import summarise

RATE = 44100


def stereo(path, right: float):
    """A voice in the left channel, and a share of it in the right one."""
    left = voice(1.0, RATE)
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes((np.stack([left, right * left], 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize(
    ("right", "words"), [(1.0, []), (0.0, []), (0.5, []), (-0.7, []), (-1.0, ["cancel"]), (-0.99, ["cancel"])]
)
def test_channels_that_cancel_each_other_out_are_said(tmp_path, right, words):
    hints = hints_about([stereo(tmp_path / "a.wav", right)])
    assert len(hints) == len(words) and all(word in hint for word, hint in zip(words, hints, strict=True))


def test_silence_is_said_and_of_several_speeches_whose(tmp_path):
    silent = write_sound(tmp_path / "b.wav", np.zeros(RATE, np.float32), RATE, codec="pcm_s16le")
    assert hints_about([silent]) == ["Nothing is heard in the new speech, so the mouth stays at rest."]
    assert hints_about([ASSETS / "speech_bridge.wav", silent]) == [
        "Nothing is heard in the speech b.wav, so the mouth stays at rest."
    ]


class HintedPipeline(CopyPipeline):
    def dub(self, *arguments, **keywords):
        result = super().dub(*arguments, **keywords)
        result.report = {"hints": ["Nothing is heard."]}
        return result


def test_the_command_prints_hints(monkeypatch, clip, speech, tmp_path, capsys):
    monkeypatch.setattr(cli, "load", lambda checkpoints, device: HintedPipeline())
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), "--quiet"]) == 0
    assert "note: Nothing is heard.\n" in capsys.readouterr().out


def test_the_page_shows_hints_once():
    report = {"hints": ["Nothing is heard."], "lip_aperture": {"deviation": 0.0}}
    result = SimpleNamespace(num_frames=5, fps=25.0, timings={}, num_passed_through=0, report=report)
    summary = summarise(result)
    assert strings.WARNING.format(text="Nothing is heard.") in summary and strings.SUMMARY_SILENT not in summary
