"""Typed text becomes a speech, by a voice that stands in for one of Piper."""

from __future__ import annotations

import json
import re
import sys
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CopyPipeline
from tone_voice import RATE_HZ, SENTENCE_S, ToneKokoro, ToneVoice, write_kokoro, write_voice

import app
from personatalk.errors import AdapterError, OptionError
from personatalk.media import read_audio
from personatalk.webapp import build_demo, strings
from personatalk.webapp.service import MissingInputError
from personatalk.webapp.text_to_speech import MAX_CHARACTERS, KokoroVoice, PiperVoice, load_voice


@pytest.fixture(autouse=True)
def piper(monkeypatch):
    monkeypatch.setitem(sys.modules, "piper", SimpleNamespace(PiperVoice=ToneVoice))
    monkeypatch.setitem(sys.modules, "kokoro_onnx", SimpleNamespace(Kokoro=ToneKokoro))


@pytest.fixture
def path(tmp_path) -> Path:
    return write_voice(tmp_path)


def test_each_sentence_is_heard_at_the_rate_of_the_voice(path, tmp_path):
    sound = tmp_path / "sound.wav"
    PiperVoice(path).speak(" One. Two. Three. ", sound)
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
        PiperVoice(path).speak(text, sound)
    assert not sound.exists()


def test_the_longest_text_is_spoken(path, tmp_path):
    PiperVoice(path).speak(f" {'a' * MAX_CHARACTERS} ", tmp_path / "sound.wav")


@pytest.mark.parametrize("missing", ["voice.onnx", "voice.onnx.json"])
def test_a_missing_file_is_named_with_where_it_belongs(path, missing):
    (path.parent / missing).unlink()
    with pytest.raises(AdapterError, match=rf"no file {path.parent / missing}\. .* two files in one folder"):
        PiperVoice(path)


def test_a_missing_package_is_named_with_how_to_install_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(AdapterError, match='pip install "piper-tts>=1.3,<2"'):
        PiperVoice(path)


def test_a_broken_voice_is_named(path):
    path.write_bytes(b"")
    with pytest.raises(AdapterError, match="voice.onnx is no voice that Piper can load .it is empty.; get both"):
        PiperVoice(path)


def test_a_voice_for_which_piper_would_download_is_refused(path):
    Path(f"{path}.json").write_text(json.dumps({"phoneme_type": "pinyin"}))
    with pytest.raises(AdapterError, match='phoneme_type "pinyin", for which piper-tts needs .* a download'):
        PiperVoice(path)


@pytest.fixture
def kokoro(tmp_path) -> tuple[Path, Path]:
    return write_kokoro(tmp_path)


@pytest.mark.parametrize(
    ("speaker", "spoken"),
    [(None, ("af_heart", "en-us")), ("bm_george", ("bm_george", "en-gb")), ("ff_siwis", ("ff_siwis", "fr-fr"))],
)
def test_kokoro_speaks_with_the_voice_that_was_asked_for_in_its_language(kokoro, tmp_path, speaker, spoken):
    voice, sound = load_voice(*kokoro, speaker), tmp_path / "sound.wav"
    voice.speak(" Hello there. ", sound)
    assert voice._kokoro.said == [("Hello there.", *spoken)] and voice.name == spoken[0]
    with wave.open(str(sound)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, ToneKokoro.rate_hz)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(samples) == round(len("Hello there.") * ToneKokoro.character_s * ToneKokoro.rate_hz)
    assert samples.max() == 32767 and samples.min() == -32767  # too loud samples are clipped, not wrapped
    with pytest.raises(OptionError, match=strings.TEXT_UNSPEAKABLE):
        voice.speak("...", sound)


@pytest.mark.parametrize("speaker", ["zf_xiaobei", "af_nobody"])
def test_a_voice_of_kokoro_that_cannot_speak_is_refused_with_those_that_can(kokoro, speaker):
    with pytest.raises(AdapterError, match=f'no voice "{speaker}" .* one of af_heart, bm_george, ff_siwis'):
        KokoroVoice(*kokoro, speaker)


def test_what_kokoro_lacks_is_named(kokoro, monkeypatch):
    kokoro[0].write_bytes(b"")
    with pytest.raises(AdapterError, match="cannot be loaded by Kokoro .it is empty.; get both again"):
        KokoroVoice(*kokoro)
    monkeypatch.setitem(sys.modules, "kokoro_onnx", None)
    with pytest.raises(AdapterError, match='pip install "kokoro-onnx>=0.4,<1"'):
        KokoroVoice(*kokoro)
    kokoro[1].unlink()
    with pytest.raises(AdapterError, match=rf"no file {kokoro[1]}\. Kokoro needs two"):
        KokoroVoice(*kokoro)


@pytest.mark.parametrize(
    "given", [["--voices", "v.bin"], ["--speaker", "af_heart"], ["--voice", "p", "--speaker", "a"]]
)
def test_half_a_voice_of_kokoro_is_refused_before_anything_is_loaded(given, capsys):
    with pytest.raises(SystemExit):
        app.main([*given, "--device", "cpu"])
    assert re.match(r"app.py: .*; give .* too, as --voices?\n$", capsys.readouterr().err)


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
    demo = build_demo(CopyPipeline(), voice=PiperVoice(path) if has_voice else None)
    shown = {component["props"].get("elem_id") for component in demo.get_config_file()["components"]}
    assert {"speech", "speech-video", "consent"} < shown
    assert shown & {"text", "speak"} == ({"text", "speak"} if has_voice else set())
