"""Phonemes of English speech and their times, by the package pocketsphinx, which brings an acoustic model."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from personatalk.errors import AdapterError
from personatalk.speech.features import SAMPLE_RATE

FRAME_S = 0.01  # of the aligner
GRID_GRAMMAR = """#JSGF V1.0;
grammar sentence;
public <sentence> = (bin | lay | place | set) (blue | green | red | white) (at | by | in | with) <letter> <digit>
    (again | now | please | soon);
<letter> = a | b | c | d | e | f | g | h | i | j | k | l | m | n | o | p | q | r | s | t | u | v | x | y | z;
<digit> = zero | one | two | three | four | five | six | seven | eight | nine;
"""  # all sentences of the GRID corpus (Cooke et al. 2006)


@dataclass(frozen=True)
class Phoneme:
    """A phoneme as it was said.

    Attributes:
        name: as CMU's pronouncing dictionary writes it, without stress: "P", "UW".
        start_s: s.
        end_s: s.
    """

    name: str
    start_s: float
    end_s: float


def require_pocketsphinx() -> None:
    """Refuse to look for phonemes where pocketsphinx is not installed.

    Raises:
        AdapterError: it is not; the message says how to install it.
    """
    if importlib.util.find_spec("pocketsphinx") is None:
        raise AdapterError("finding phonemes needs pocketsphinx: pip install 'personatalk[phonemes]'")


def find_phonemes(waveform: np.ndarray, grammar: str | None = None) -> list[Phoneme]:
    """Recognise the words of English speech, and align their phonemes with it.

    Args:
        waveform: [S] at 16 kHz.
        grammar: of all that may be said, in JSGF; None takes any words, and so more of them are wrong.

    Returns:
        phonemes in the order of time, without silence; none where no words were recognised, or they do not align.

    Raises:
        AdapterError: pocketsphinx is not installed.
    """
    require_pocketsphinx()
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=float(SAMPLE_RATE), loglevel="FATAL")
    if grammar:
        decoder.add_jsgf_string("grammar", grammar)
        decoder.activate_search("grammar")
    pcm = (np.clip(waveform, -1, 1) * 32767).astype(np.int16).tobytes()
    _decode(decoder, pcm)
    # "read(2)" is the second pronunciation of a word, "<sil>" and "[NOISE]" are none
    words = [re.sub(r"\(\d+\)$", "", segment.word) for segment in decoder.seg() or () if segment.word[0] not in "<["]
    if not words:
        return []
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, pcm)
        decoder.set_alignment()
        _decode(decoder, pcm)
    except RuntimeError:  # the sound ends before the words do
        return []
    return [
        Phoneme(phone.name, phone.start * FRAME_S, (phone.start + phone.duration) * FRAME_S)
        for word in decoder.get_alignment() or ()
        for phone in word
        if phone.name != "SIL"
    ]


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
