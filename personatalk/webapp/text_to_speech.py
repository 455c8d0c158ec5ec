"""Typed text becomes speech, by a voice of Piper that lies on this machine; nothing is downloaded."""

from __future__ import annotations

import json
import wave
from pathlib import Path

from personatalk.errors import AdapterError, OptionError
from personatalk.webapp import strings
from personatalk.webapp.service import MissingInputError

MAX_CHARACTERS = 1000  # about a minute
VOICES_PAGE = "https://huggingface.co/rhasspy/piper-voices"
ALPHABETS = ("espeak", "text")  # of phonemes; for pinyin, piper-tts would download a network
SAMPLE_BYTES = 2


class Voice:
    """A voice of Piper.

    Args:
        path: weights, NAME.onnx; their configuration, NAME.onnx.json, lies beside them.

    Raises:
        AdapterError: a file or the package piper-tts is missing, or the voice needs more than these.
    """

    def __init__(self, path: Path) -> None:
        config = path.with_name(f"{path.name}.json")
        for file in (path, config):
            if not file.is_file():
                raise AdapterError(
                    f"there is no file {file}. A voice of Piper is two files in one folder, NAME.onnx and "
                    f"NAME.onnx.json; put both there (voices: {VOICES_PAGE}) and give the path of the first"
                )
        try:
            from piper import PiperVoice
        except ImportError as error:
            raise AdapterError(
                f"a voice needs the package piper-tts, which cannot be loaded ({error}): "
                'pip install "piper-tts>=1.3,<2"'
            ) from error
        try:
            alphabet = json.loads(config.read_text("utf-8")).get("phoneme_type", ALPHABETS[0])
            self._voice = PiperVoice.load(path)
        except Exception as error:  # ONNX Runtime's own have no common base
            raise AdapterError(f"{path} is no voice that Piper can load ({error}); get both files again") from error
        if alphabet not in ALPHABETS:
            raise AdapterError(
                f'{path} has the phoneme_type "{alphabet}", for which piper-tts needs further packages or a download; '
                f"choose a voice of one of these types, as its .onnx.json says: {', '.join(ALPHABETS)}"
            )
        self.name = path.stem

    def speak(self, text: str, sound: Path) -> None:
        """Write what the text says as a WAV file of 16 bits, at the voice's own sampling rate.

        Raises:
            MissingInputError: the text is empty.
            OptionError: it is too long, or nothing in it can be spoken.
        """
        text = text.strip()
        if not text:
            raise MissingInputError(strings.TEXT_MISSING)
        if len(text) > MAX_CHARACTERS:
            raise OptionError(strings.TEXT_TOO_LONG.format(count=len(text), limit=MAX_CHARACTERS))
        sentences = list(self._voice.synthesize(text))
        if not sentences:
            raise OptionError(strings.TEXT_UNSPEAKABLE)
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(sentences[0].sample_channels)
            file.setsampwidth(SAMPLE_BYTES)
            file.setframerate(sentences[0].sample_rate)
            for sentence in sentences:
                file.writeframes(sentence.audio_int16_bytes)
