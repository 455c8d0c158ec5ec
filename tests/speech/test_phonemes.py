"""Phonemes of a sentence that is known, and their times."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from personatalk.errors import AdapterError
from personatalk.media import read_audio
from personatalk.speech.features import SAMPLE_RATE
from personatalk.speech.phonemes import GRID_GRAMMAR, find_phonemes

ASSETS = Path(__file__).parents[2] / "assets"
LAY_BLUE, SEVEN_SOON = "L EY B L UW".split(), "S EH V AH N S UW N".split()


@pytest.fixture(scope="module")
def waveform():
    pytest.importorskip("pocketsphinx", reason="the package pocketsphinx is not installed")
    return read_audio(ASSETS / "grid_glasses.mp4", SAMPLE_RATE)  # "lay blue in g 7 soon"


@pytest.fixture(scope="module")
def phonemes(waveform):
    return find_phonemes(waveform, GRID_GRAMMAR)


def test_a_sentence_of_a_grammar_is_recognised(phonemes):
    names = [phoneme.name for phoneme in phonemes]
    assert names[: len(LAY_BLUE)] == LAY_BLUE and names[-len(SEVEN_SOON) :] == SEVEN_SOON


def test_phonemes_follow_one_another_where_there_is_sound(phonemes, waveform):
    spans = [(phoneme.start_s, phoneme.end_s) for phoneme in phonemes]
    assert all(start < end for start, end in spans)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in zip(spans[:-1], spans[1:], strict=True))
    loud = [float(np.abs(waveform[round(16000 * start) : round(16000 * end)]).max()) for start, end in spans]
    assert min(loud) > 0.01 * np.abs(waveform).max() and spans[-1][1] <= len(waveform) / SAMPLE_RATE


def test_phonemes_move_with_the_sound(phonemes, waveform):
    later = find_phonemes(np.pad(waveform, (8000, 0)), GRID_GRAMMAR)
    assert [phoneme.name for phoneme in later] == [phoneme.name for phoneme in phonemes]
    shifts = [after.start_s - before.start_s for before, after in zip(phonemes, later, strict=True)]
    assert np.median(shifts) == pytest.approx(0.5, abs=0.011)


def test_silence_has_none(waveform):
    assert find_phonemes(np.zeros_like(waveform), GRID_GRAMMAR) == []


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AdapterError, match="pocketsphinx"):
        find_phonemes(np.zeros(16000, np.float32))
