"""A second way out for encoded packets: a fragmented MP4, which can be played while it grows."""

# PyAV declares timestamps and time bases as optional; packets that were muxed have them
# pyright: reportOptionalOperand=false, reportOperatorIssue=false

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Stream

logger = logging.getLogger(__name__)

StreamTarget = Path | BinaryIO
FRAGMENT_S = 0.2  # a player waits for a whole one; each costs some 200 bytes
MUXER_OPTIONS = {
    # the index waits for the first packets, so that pictures and sound begin when they do in the finished file
    "movflags": "+empty_moov+delay_moov+default_base_moof",
    "frag_duration": str(round(1e6 * FRAGMENT_S)),
    "max_interleave_delta": "1",  # packets come in order; a sound that has ended must not hold the pictures back
    "flush_packets": "1",
}


class StreamWriter:
    """Writes the packets of an MP4 once more, to a target that is played while it grows.

    They are the same packets at the same times, in fragments of FRAGMENT_S, which need not begin with key frames.
    Subtitles are left out. Sound goes no further ahead than the pictures, which the encoder holds back.

    A target that takes no more, as a pipe without a reader, ends the stream and nothing else. One that is slow holds
    the writer up.

    Args:
        target: a file, which is replaced; a named pipe that is being read; or what takes bytes, and is left open.
        output: the MP4; its tracks must be complete before its first packet.
    """

    def __init__(self, target: StreamTarget, output: OutputContainer) -> None:
        self._target, self._output = target, output
        self._sink: _Sink | None = None
        self._copy: _FragmentedCopy | None = None
        self._is_over = False

    def mux(self, packets: Sequence[av.Packet]) -> None:
        """Take packets that the MP4 has got before: those of a track in order, sound ahead of pictures."""
        if packets:
            self._attempt(lambda: self._begun().take(packets))

    def finish(self) -> None:
        """Write what is left. A file may still be discarded."""
        self._attempt(lambda: self._begun().finish())

    def discard(self) -> None:
        """End the stream; if it is a file, it is removed."""
        self._is_over = True
        if self._sink is not None:
            self._sink.close(removes=True)
        with suppress(OSError, ValueError, FFmpegError):
            if self._copy is not None:
                self._copy.finish()

    def _begun(self) -> _FragmentedCopy:
        """Open the target with the first packets: the MP4 has them, so what stands in its index is known."""
        if self._copy is None:
            self._sink = _Sink(self._target)
            self._copy = _FragmentedCopy(self._sink, self._output)
        return self._copy

    def _attempt(self, act: Callable[[], None]) -> None:
        """Do something while the stream lives; where that fails it ends."""
        if self._is_over:
            return
        try:
            act()
            failure = self._sink.failure if self._sink else None
        except (OSError, ValueError, FFmpegError) as error:
            failure = error
        if failure is not None:
            logger.warning("the stream ends here (%s); the dub goes on", getattr(failure, "strerror", None) or failure)
            self.discard()


class _FragmentedCopy:
    """The fragmented MP4.

    Args:
        sink: gets it.
        output: the MP4, which has begun.
    """

    def __init__(self, sink: _Sink, output: OutputContainer) -> None:
        self._sink = sink
        self._container = av.open(sink, "w", format="mp4", options=MUXER_OPTIONS)
        self._container.metadata.update(output.metadata)
        self._tracks: dict[int, Stream] = {}  # by their index in the MP4
        for stream in output.streams:
            if stream.type in ("video", "audio"):
                track = self._container.add_stream_from_template(stream)
                track.time_base = stream.time_base
                track.metadata.update(stream.metadata)
                self._tracks[stream.index] = track
        self._sound: deque[av.Packet] = deque()  # waits for pictures
        self._picture: av.Packet | None = None  # waits for the next one, which tells how long it lasts

    def take(self, packets: Sequence[av.Packet]) -> None:
        """Write all that is known to the end of its time, pictures after the sound before them."""
        for packet in packets:
            track = self._tracks.get(packet.stream_index)
            if track is None:
                continue
            packet.stream = track
            if track.type == "audio":
                self._sound.append(packet)
                continue
            if self._picture is not None:
                self._write_picture(self._picture, packet)
            self._picture = packet

    def finish(self) -> None:
        """Write what is left, and the end."""
        if self._picture is not None:
            self._write_picture(self._picture, None)
            self._picture = None
        while self._sound:
            self._container.mux(self._sound.popleft())
        self._container.close()
        self._sink.close()

    def _write_picture(self, packet: av.Packet, following: av.Packet | None) -> None:
        """Write a picture and the sound before it.

        A fragment lasts until its last packets end, and the next one begins there; where the rate varies, what an
        encoder says of that is wrong.
        """
        while len(self._sound) > 1 and _time(self._sound[0]) <= _time(packet):
            sound = self._sound.popleft()
            sound.duration = self._sound[0].dts - sound.dts
            self._container.mux(sound)
        if following is not None:
            packet.duration = following.dts - packet.dts
        self._container.mux(packet)


def _time(packet: av.Packet) -> float:
    """When a packet is decoded, s."""
    return float(packet.dts * packet.time_base)


class _Sink:
    """What a muxer writes to: each piece goes on at once, and a failure is kept instead of raised.

    Raises:
        OSError: the target cannot be opened.
    """

    def __init__(self, target: StreamTarget) -> None:
        self._path = target if isinstance(target, Path) else None
        self._file = _open(target) if isinstance(target, Path) else target
        self.failure: Exception | None = None

    def write(self, data: bytes) -> int:
        """Write a piece; after a failure nothing is written any more."""
        if self.failure is None:
            try:
                self._file.write(data)
                self._file.flush()
            except (OSError, ValueError) as error:  # no reader, no space, closed
                self.failure = error
        return len(data)

    def close(self, *, removes: bool = False) -> None:
        """Close what was opened here, and remove it if it is a file and should go."""
        if self._path is None:
            return
        with suppress(OSError, ValueError):
            self._file.close()
        if removes and self._path.is_file():
            with suppress(OSError):
                self._path.unlink()


def _open(path: Path) -> BinaryIO:
    """Open a file or a pipe for writing.

    Raises:
        OSError: it cannot be opened, or is a pipe that nobody reads.
    """
    if os.name == "posix" and path.is_fifo():
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # would wait for a reader for ever otherwise
        os.set_blocking(handle, True)
        return os.fdopen(handle, "wb")
    return path.open("wb")
