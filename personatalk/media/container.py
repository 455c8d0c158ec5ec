"""Opening and decoding of media files; whatever is not one is refused in a sentence that says what to do."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from personatalk.errors import MediaError

logger = logging.getLogger(__name__)

SNIFFED_BYTES = 4096


def open_media(path: Path) -> InputContainer:
    """Open a video or audio file for reading.

    Raises:
        MediaError: missing, a folder, empty, text, an image, or broken; the message says which.
    """
    path = Path(path)
    head = _read_head(path)
    if _is_text(head):  # also keeps playlists out, which would make libav open other files
        raise MediaError(f"{path.name} is a text file, whatever its name says; give a video or audio file.")
    try:
        # the prefix keeps libav from taking a colon in a name for a protocol
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="ignore")
    except (FFmpegError, OSError) as error:
        raise MediaError(_why_unreadable(path, head)) from error
    if container.format.name == "image2" or container.format.name.endswith("_pipe"):
        container.close()
        raise MediaError(f"{path.name} is an image; give a video or audio file.")
    return container


def decoded(container: InputContainer, stream: Stream) -> Iterator[Any]:
    """Decode a stream from its current position, skipping damaged packets.

    Only the frames of damaged packets are missing; the others keep their timestamps.
    """
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else None
        except FFmpegError:
            damaged += 1
            continue  # a generator that raised is exhausted, so this ends when reading itself fails
        if frames is None:
            break
        yield from frames
    if damaged:
        logger.warning("%s: %d damaged packets in its %s", container.name, damaged, stream.type)


def _read_head(path: Path) -> bytes:
    if not os.path.exists(path):  # false, too, for names that no file can have
        raise MediaError(f"There is no file {path}; check its name and folder.")
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a file.")
    try:
        with path.open("rb") as file:
            head = file.read(SNIFFED_BYTES)
    except OSError as error:
        raise MediaError(f"{path} cannot be opened ({error.strerror}); check its permissions.") from error
    if not head:
        raise MediaError(f"{path.name} is empty (0 bytes); export or download it again.")
    return head


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(head) == SNIFFED_BYTES and error.start > len(head) - 4  # a character cut in two
    return True


def _why_unreadable(path: Path, head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return f"{path.name} is incomplete: its index is missing, as after a broken download; get the whole file."
    return f"{path.name} is broken, or no video or audio file at all; export or download it again."
