"""What the page accepts: how large, how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from personatalk.errors import MediaError
from personatalk.media.container import decoded, open_media
from personatalk.media.sound import audio_stream
from personatalk.media.still import probe_clip
from personatalk.webapp import strings

TOLERANCE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one clip or speech.

    Attributes:
        seconds: of playing time.
        megabytes: of the file.
        queue: visitors who may wait.
        keep_s: uploads and results are deleted after this many seconds.
    """

    seconds: float = 120.0
    megabytes: int = 200
    queue: int = 8
    keep_s: int = 3600

    def check_clip(self, clip: Path, kind: str = strings.CLIP) -> None:
        """Refuse a video that is too large or too long, or a still image that is too large.

        Raises:
            MediaError: which limit, and what to do.
        """
        self._check_size(clip, kind)
        self._check_length(probe_clip(clip).duration, kind)

    def check_speech(self, speech: Path, kind: str = strings.SPEECH) -> float:
        """Refuse a sound that is too large or too long; returns its seconds.

        Raises:
            MediaError: which limit, and what to do.
        """
        self._check_size(speech, kind)
        seconds = sound_seconds(speech, self.seconds + TOLERANCE_S)
        self._check_length(seconds, kind)
        return seconds

    def _check_size(self, path: Path, kind: str) -> None:
        size = path.stat().st_size / 1e6
        if size > self.megabytes:
            raise MediaError(strings.TOO_LARGE.format(kind=kind, size=size, limit=self.megabytes))

    def _check_length(self, seconds: float, kind: str) -> None:
        if seconds > self.seconds + TOLERANCE_S:
            length, limit = strings.spoken_time(seconds), strings.spoken_time(self.seconds)
            raise MediaError(strings.TOO_LONG.format(kind=kind, length=length, limit=limit))


def sound_seconds(path: Path, enough: float) -> float:
    """Length of a file's sound; where the file does not state it, it is decoded up to a little more than `enough`.

    Raises:
        MediaError: no sound, or broken.
    """
    with open_media(path) as container:
        stream, seconds = audio_stream(container, path), 0.0
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        for frame in decoded(container, stream):
            seconds += frame.samples / frame.sample_rate
            if seconds > enough:
                break
    return seconds
