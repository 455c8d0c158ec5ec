"""Typed text becomes speech, by a voice of Piper or of Kokoro that lies on this machine; nothing is downloaded."""

from __future__ import annotations

import json
import wave
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from personatalk.errors import AdapterError, OptionError
from personatalk.webapp import strings
from personatalk.webapp.service import MissingInputError

MAX_CHARACTERS = 1000  # about a minute
VOICES_PAGE = "https://huggingface.co/rhasspy/piper-voices"
KOKORO_PAGE = "https://github.com/thewh1teagle/kokoro-onnx/releases"
ALPHABETS = ("espeak", "text")  # of phonemes; for pinyin, piper-tts would download a network
LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
SAMPLE_BYTES, FULL_SCALE = 2, 32767


class Voice(ABC):
    """Speaks what a visitor types.

    Attributes:
        name: that the page shows.
    """

    name: str

    @abstractmethod
    def sound_of(self, text: str) -> tuple[np.ndarray, int]:
        """Say a text: int16 [S], and its samples a second. Of a text without anything to say there is no sample."""

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
        samples, rate = self.sound_of(text)
        if not len(samples):
            raise OptionError(strings.TEXT_UNSPEAKABLE)
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(SAMPLE_BYTES)
            file.setframerate(rate)
            file.writeframes(samples.astype("<i2").tobytes())


class PiperVoice(Voice):
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
            from piper import PiperVoice as Loaded
        except ImportError as error:
            raise AdapterError(
                f"a voice needs the package piper-tts, which cannot be loaded ({error}): "
                'pip install "piper-tts>=1.3,<2"'
            ) from error
        try:
            alphabet = json.loads(config.read_text("utf-8")).get("phoneme_type", ALPHABETS[0])
            self._voice = Loaded.load(path)
        except Exception as error:  # ONNX Runtime's own have no common base
            raise AdapterError(f"{path} is no voice that Piper can load ({error}); get both files again") from error
        if alphabet not in ALPHABETS:
            raise AdapterError(
                f'{path} has the phoneme_type "{alphabet}", for which piper-tts needs further packages or a download; '
                f"choose a voice of one of these types, as its .onnx.json says: {', '.join(ALPHABETS)}"
            )
        self.name = path.stem

    def sound_of(self, text: str) -> tuple[np.ndarray, int]:
        """Say a text, sentence after sentence; see `Voice.sound_of`."""
        sentences = list(self._voice.synthesize(text))
        if not sentences:
            return np.zeros(0, np.int16), 0
        samples = np.frombuffer(b"".join(sentence.audio_int16_bytes for sentence in sentences), "<i2")
        return samples.reshape(-1, sentences[0].sample_channels)[:, 0], sentences[0].sample_rate


class KokoroVoice(Voice):
    """A voice of Kokoro.

    Args:
        path: weights, such as kokoro-v1.0.onnx.
        voices: the file of its voices, such as voices-v1.0.bin.
        speaker: name of one of them, such as af_heart; without it, the first whose language can be spoken.

    Raises:
        AdapterError: a file or the package kokoro-onnx is missing, or there is no such voice.
    """

    def __init__(self, path: Path, voices: Path, speaker: str | None = None) -> None:
        for file in (path, voices):
            if not file.is_file():
                raise AdapterError(
                    f"there is no file {file}. Kokoro needs two, such as kokoro-v1.0.onnx and voices-v1.0.bin "
                    f"(from {KOKORO_PAGE}); give the paths of both"
                )
        try:
            from kokoro_onnx import Kokoro
        except ImportError as error:
            raise AdapterError(
                f"a voice of Kokoro needs the package kokoro-onnx, which cannot be loaded ({error}): "
                'pip install "kokoro-onnx>=0.4,<1"'
            ) from error
        try:
            self._kokoro = Kokoro(str(path), str(voices))
            names = list(self._kokoro.get_voices())
        except Exception as error:  # ONNX Runtime's own have no common base
            raise AdapterError(f"{path} and {voices} cannot be loaded by Kokoro ({error}); get both again") from error
        spoken = [name for name in names if name[0] in LANGUAGES]  # a name begins with its language
        self.name = speaker or next(iter(spoken), "")
        if self.name not in spoken:
            raise AdapterError(
                f'{voices} has no voice "{self.name}" whose language can be spoken without further packages; '
                f"choose one of {', '.join(spoken) or 'another file'}"
            )

    def sound_of(self, text: str) -> tuple[np.ndarray, int]:
        """Say a text in the voice's language; see `Voice.sound_of`."""
        if not any(letter.isalnum() for letter in text):
            return np.zeros(0, np.int16), 0
        samples, rate = self._kokoro.create(text, voice=self.name, lang=LANGUAGES[self.name[0]])
        return (np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16), rate


def load_voice(path: Path, voices: Path | None = None, speaker: str | None = None) -> Voice:
    """Load a voice of Kokoro where the file of its voices is given, otherwise of Piper.

    Raises:
        AdapterError: something is missing; the message says what.
    """
    if voices is not None:
        return KokoroVoice(path, voices, speaker)
    if speaker is not None:
        raise AdapterError("a speaker is chosen of a file with voices of Kokoro; give that too, as --voices")
    return PiperVoice(path)
