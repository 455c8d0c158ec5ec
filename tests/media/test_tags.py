"""Tags of a file: those in another encoding than UTF-8 do not keep it from being read."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from media_samples import picture, voice, write_sound, write_video

from personatalk.media import VideoWriter, probe_video, read_audio, read_frames

NAMES = ["in.mp4", "in.mov", "in.mkv", "in.avi", "in.webm"]
CODECS = {".avi": "mpeg4", ".webm": "libvpx"}


def add_latin_1_title(path: Path) -> Path:
    """Put a title with a Latin-1 letter into a file that has none."""
    tagged = path.with_name(f"tagged{path.suffix}")
    with av.open(str(path)) as source, av.open(str(tagged), "w") as target:
        target.metadata["title"] = "Cafe au lait"
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    data = tagged.read_bytes()
    assert data.count(b"Cafe au lait") >= 1
    tagged.write_bytes(data.replace(b"Cafe au lait", "Café au lait".encode("latin-1")))
    return tagged


@pytest.mark.parametrize("name", NAMES)
def test_a_video_with_a_latin_1_title_is_read_and_dubbed(tmp_path, name):
    images = [picture(64, 64, index) for index in range(5)]
    codec = CODECS.get(Path(name).suffix, "libx264")
    source = add_latin_1_title(write_video(tmp_path / name, images, codec=codec))
    assert probe_video(source).num_frames == 5
    with VideoWriter(tmp_path / "out.mp4", source, audio=None) as writer:
        for frame in read_frames(source):
            writer.write(frame.image, frame.pts)
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 5


@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.flac", "a.mp3"])
def test_a_sound_with_a_latin_1_title_is_read(tmp_path, name):
    codec = {"a.wav": "pcm_s16le", "a.m4a": "aac", "a.flac": "flac", "a.mp3": "libmp3lame"}[name]
    source = add_latin_1_title(write_sound(tmp_path / name, voice(1.0, 16000), 16000, codec=codec))
    assert abs(len(read_audio(source)) - 16000) < 2500
