"""The growing video beside the finished one: the same packets, playable from the first fragment on."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import picture, voice, write_sound, write_video

from personatalk.errors import MediaError
from personatalk.media import AI_MODIFIED, VideoWriter, read_audio, read_frames

IMAGES = [picture(96, 128, index) for index in range(60)]
MILLISECONDS = {"time_base": Fraction(1, 1000)}


class Watched(io.BytesIO):
    """Takes bytes, and notes after how many pictures each piece came."""

    def __init__(self) -> None:
        super().__init__()
        self.writer, self.pieces = None, []

    def write(self, data) -> int:
        self.pieces.append((self.writer.num_frames, self.tell() + len(data)))
        return super().write(data)


def dub(source: Path, target: Path, sound: Path | None = None, **options) -> Path:
    """Write the pictures of a clip with a sound, as a dub does."""
    with VideoWriter(target, source, audio=sound, **options) as writer:
        if isinstance(stream := options.get("stream"), Watched):
            stream.writer = writer
        for frame in read_frames(source):
            writer.write(frame.image, frame.pts)
    return target


def packets(path: Path, kind: str) -> list[tuple]:
    """When each packet of pictures or sound is shown and decoded, s, and what is in it."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(**{kind: 0}) if packet.size]
        return [(packet.pts * packet.time_base, packet.dts * packet.time_base, bytes(packet)) for packet in found]


def heard(path: Path) -> np.ndarray:
    """The sound from 0 s on, as players have it, [channels, S]; an encoder's delay comes before."""
    pieces = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            start = round(frame.time * frame.sample_rate)
            pieces.append(frame.to_ndarray()[:, max(0, -start) :])
    return np.concatenate(pieces, 1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("stream") / "clip.mp4", IMAGES)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return write_sound(tmp_path_factory.mktemp("stream") / "a.wav", voice(2.4, 16000), 16000, codec="pcm_s16le")


def write_steady(path: Path) -> Path:
    return write_video(path / "in.mp4", IMAGES)


def write_late_and_variable(path: Path) -> Path:
    ticks = 500 + np.cumsum(np.random.default_rng(0).integers(20, 90, len(IMAGES)))
    return write_video(path / "in.mkv", IMAGES, ticks=ticks.tolist(), **MILLISECONDS)


def write_deep(path: Path) -> Path:
    return write_video(path / "in.mkv", IMAGES[:30], codec="libx265", pix_fmt="yuv420p10le")


def write_with_subtitles(path: Path) -> Path:
    """A film with subtitles, of which the stream has none."""
    (path / "in.srt").write_text("1\n00:00:00,200 --> 00:00:00,700\nHello\n")
    with av.open(str(write_video(path / "video.mp4", IMAGES))) as video, av.open(str(path / "in.srt")) as text:
        with av.open(str(path / "in.mkv"), "w") as target:
            streams = [target.add_stream_from_template(source.streams[0]) for source in (video, text)]
            for source, stream in zip((video, text), streams, strict=True):
                for packet in source.demux():
                    if packet.size:
                        packet.stream = stream
                        target.mux(packet)
    return path / "in.mkv"


SOUNDS = {
    "a.wav": dict(codec="pcm_s16le"),
    "a.m4a": dict(codec="aac"),
    "a.mp3": dict(codec="libmp3lame"),
    "none": None,
}  # encoded, copied, copied, silent


@pytest.mark.parametrize(
    ("write", "name"),
    [
        *((write_steady, name) for name in SOUNDS),
        (write_late_and_variable, "a.wav"),
        (write_deep, "a.m4a"),
        (write_with_subtitles, "a.wav"),
    ],
)
def test_the_stream_has_the_packets_of_the_file_which_does_not_change(tmp_path, write, name):
    source, options = write(tmp_path), SOUNDS[name]
    given = options and write_sound(tmp_path / name, voice(2.0, 44100), 44100, layout="stereo", **options)
    alone = dub(source, tmp_path / "alone.mp4", given)
    stream = tmp_path / "stream.mp4"
    video = dub(source, tmp_path / "out.mp4", given, stream=stream)
    assert video.read_bytes() == alone.read_bytes()
    assert packets(stream, "video") == packets(video, "video")
    for first, second in zip(read_frames(stream), read_frames(video), strict=True):
        assert first.time == second.time and np.array_equal(first.image, second.image)
    with av.open(str(stream)) as container:
        assert container.metadata["comment"] == AI_MODIFIED
        assert len(container.streams) == 1 + bool(given)
    if given:
        assert packets(stream, "audio") == packets(video, "audio")
        assert np.array_equal(heard(stream), heard(video))


def test_what_is_there_plays_long_before_the_end(clip, sound, tmp_path):
    """A player that has got the first fragments shows their pictures, and has their sound."""
    stream = Watched()
    video = dub(clip, tmp_path / "out.mp4", sound, stream=stream)
    whole, sounding = {frame.time: frame.image for frame in read_frames(video)}, read_audio(video)
    starts = {frames: size for frames, size in stream.pieces}  # size of what is there after so many pictures
    assert min(starts) < 45  # the encoder holds some back, the more the more cores there are
    shown = []
    for size in sorted(starts.values())[:4]:
        part = tmp_path / "part.mp4"
        part.write_bytes(stream.getvalue()[:size])
        images = {frame.time: frame.image for frame in read_frames(part)}
        assert all(np.array_equal(image, whole[time]) for time, image in images.items())
        played = read_audio(part)
        assert len(played) / 16000 > len(images) / 25 - 0.2
        assert np.array_equal(played[:-1024], sounding[: len(played) - 1024])  # but where it breaks off
        shown.append(len(images))
    assert shown[0] >= 3 and shown == sorted(set(shown))


def test_pictures_go_on_where_the_sound_has_ended(tmp_path):
    """A muxer of several tracks would wait ten seconds for sound that does not come."""
    clip = write_video(tmp_path / "in.mp4", [picture(96, 128, index % 40) for index in range(150)])
    short = write_sound(tmp_path / "a.wav", voice(0.5, 16000), 16000, codec="pcm_s16le")
    stream = Watched()
    dub(clip, tmp_path / "out.mp4", short, stream=stream)
    late = [frames for frames, _ in stream.pieces if 75 < frames < 145]
    assert len(late) > 5


class Leaving(io.BytesIO):
    """A reader that goes after so many bytes."""

    def write(self, data) -> int:
        if self.tell() > 5000:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(data)


def closed() -> io.BytesIO:
    stream = io.BytesIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream",
    [Leaving(), closed(), Path("/dev/full"), Path("/proc/none.mp4")],
    ids=["leaves", "is closed", "is a full disk", "cannot be made"],
)
def test_a_stream_that_takes_no_more_ends_and_nothing_else(clip, sound, tmp_path, stream, caplog, monkeypatch):
    monkeypatch.setattr("personatalk.media.encode.check_target", lambda *_, **__: None)  # it takes no more later on
    alone = dub(clip, tmp_path / "alone.mp4", sound)
    with caplog.at_level(logging.WARNING):
        assert dub(clip, tmp_path / "out.mp4", sound, stream=stream).read_bytes() == alone.read_bytes()
    assert len(caplog.records) == 1 and "the dub goes on" in caplog.text
    assert os.path.exists("/dev/full")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_written_while_it_is_read(clip, sound, tmp_path):
    alone = dub(clip, tmp_path / "alone.mp4", sound)
    pipe, got = tmp_path / "pipe", bytearray()
    os.mkfifo(pipe)
    assert dub(clip, tmp_path / "unread.mp4", sound, stream=pipe).read_bytes() == alone.read_bytes()
    for name, enough in (("left.mp4", 1000), ("read.mp4", 10**9)):
        got = bytearray()
        reader = threading.Thread(target=read, args=(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), got, enough))
        reader.start()
        assert dub(clip, tmp_path / name, sound, stream=pipe).read_bytes() == alone.read_bytes()
        reader.join()
    assert pipe.is_fifo()
    (tmp_path / "got.mp4").write_bytes(got)
    assert packets(tmp_path / "got.mp4", "video") == packets(alone, "video")


def read(handle: int, got: bytearray, enough: int) -> None:
    """Read a pipe, from its first byte to its end or until it is enough."""
    while len(got) < enough:
        try:
            data = os.read(handle, 1 << 16)
        except BlockingIOError:  # nothing new
            time.sleep(0.001)
            continue
        got += data
        if got and not data:
            break
    os.close(handle)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_dub_that_fails_leaves_no_stream(clip, sound, tmp_path, error):
    stream = tmp_path / "stream.mp4"
    with pytest.raises(error), VideoWriter(tmp_path / "out.mp4", clip, audio=sound, stream=stream) as writer:
        for frame in read_frames(clip):
            writer.write(frame.image, frame.pts)
        assert stream.stat().st_size > 0
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_is_given_open_stays_open(clip, tmp_path):
    stream = io.BytesIO()
    dub(clip, tmp_path / "out.mp4", stream=stream)
    assert not stream.closed and stream.getvalue()[4:8] == b"ftyp"


def test_the_writer_refuses_a_stream_that_is_its_source(clip, tmp_path):
    before = clip.read_bytes()
    with pytest.raises(MediaError, match="overwrite the input"):
        VideoWriter(tmp_path / "out.mp4", clip, audio=None, stream=clip)
    assert clip.read_bytes() == before
