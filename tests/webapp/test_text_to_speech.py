"""Typed text becomes a speech, by a voice that stands in for one of Piper."""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CopyPipeline
from tone_voice import RATE_HZ, SENTENCE_S, ToneVoice, write_voice

import app
from personatalk.errors import AdapterError, OptionError
from personatalk.media import read_audio
from personatalk.webapp import build_demo, strings
from personatalk.webapp.service import MissingInputError
from personatalk.webapp.text_to_speech import MAX_CHARACTERS, Voice


@pytest.fixture(autouse=True)
def piper(monkeypatch):
    monkeypatch.setitem(sys.modules, "piper", SimpleNamespace(PiperVoice=ToneVoice))


@pytest.fixture
def path(tmp_path) -> Path:
    return write_voice(tmp_path)


def test_each_sentence_is_heard_at_the_rate_of_the_voice(path, tmp_path):
    sound = tmp_path / "sound.wav"
    Voice(path).speak(" One. Two. Three. ", sound)
    with wave.open(str(sound)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        assert file.getnframes() == 3 * round(SENTENCE_S * RATE_HZ)
    samples = read_audio(sound)  # at 16 kHz, as a dub reads it
    assert len(samples) / 16000 == pytest.approx(3 * SENTENCE_S, abs=0.01)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", MissingInputError, strings.TEXT_MISSING),
        (" \n", MissingInputError, strings.TEXT_MISSING),
        ("a" * (MAX_CHARACTERS + 1), OptionError, "The text has 1001 characters; up to 1000"),
        ("...", OptionError, strings.TEXT_UNSPEAKABLE),
    ],
)
def test_a_text_that_cannot_be_spoken_is_refused(path, tmp_path, text, error, message):
    sound = tmp_path / "sound.wav"
    with pytest.raises(error, match=message):
        Voice(path).speak(text, sound)
    assert not sound.exists()


def test_the_longest_text_is_spoken(path, tmp_path):
    Voice(path).speak(f" {'a' * MAX_CHARACTERS} ", tmp_path / "sound.wav")


@pytest.mark.parametrize("missing", ["voice.onnx", "voice.onnx.json"])
def test_a_missing_file_is_named_with_where_it_belongs(path, missing):
    (path.parent / missing).unlink()
    with pytest.raises(AdapterError, match=rf"no file {path.parent / missing}\. .* two files in one folder"):
        Voice(path)


def test_a_missing_package_is_named_with_how_to_install_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(AdapterError, match='pip install "piper-tts>=1.3,<2"'):
        Voice(path)


def test_a_broken_voice_is_named(path):
    path.write_bytes(b"")
    with pytest.raises(AdapterError, match="voice.onnx is no voice that Piper can load .it is empty.; get both"):
        Voice(path)


def test_a_voice_for_which_piper_would_download_is_refused(path):
    Path(f"{path}.json").write_text(json.dumps({"phoneme_type": "pinyin"}))
    with pytest.raises(AdapterError, match='phoneme_type "pinyin", for which piper-tts needs .* a download'):
        Voice(path)


def test_the_page_does_not_start_without_the_voice_that_was_asked_for(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        app.main(["--voice", str(tmp_path / "none.onnx"), "--device", "cpu"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"app.py: there is no file {tmp_path / 'none.onnx'}. ")


def test_the_page_is_given_the_voice_that_was_asked_for(path, monkeypatch):
    given = {}
    monkeypatch.setattr("personatalk.webapp.layout.build_demo", lambda _, **options: given.update(options))
    monkeypatch.setattr("personatalk.webapp.jobs.open_workplaces", lambda device: None)
    monkeypatch.setattr(app, "launch", lambda demo, **_: demo)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    app.main(["--voice", str(path), "--device", "cpu"])
    assert given["voice"].name == "voice"
    app.main(["--device", "cpu"])
    assert given["voice"] is None


@pytest.mark.parametrize("has_voice", [True, False])
def test_the_page_has_a_box_for_text_only_with_a_voice(path, tmp_path, monkeypatch, has_voice):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    demo = build_demo(CopyPipeline(), voice=Voice(path) if has_voice else None)
    shown = {component["props"].get("elem_id") for component in demo.get_config_file()["components"]}
    assert {"speech", "speech-video", "consent"} < shown
    assert shown & {"text", "speak"} == ({"text", "speak"} if has_voice else set())
