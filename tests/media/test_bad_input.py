from __future__ import annotations

import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import picture, voice, write_sound, write_video

from personatalk.errors import MediaError
from personatalk.media import VideoWriter, probe_video, read_audio, read_frames


def _frames(path: Path) -> list:
    return list(read_frames(path))


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    """A folder with one of each bad file, and two good ones."""
    folder = tmp_path_factory.mktemp("bad")
    images = [picture(64, 64, index) for index in range(10)]
    clip = write_video(folder / "silent.mp4", images)
    write_sound(folder / "speech.mp3", voice(1.0, 16000), 16000, codec="libmp3lame")
    (folder / "text.mp4").write_text("This is not a video.\n" * 1000)
    (folder / "unicode.mp4").write_text("日本語のテキスト" * 2000, encoding="utf-8")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nspeech.mp3\n")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    data = clip.read_bytes()
    (folder / "half.mp4").write_bytes(data[: len(data) // 2])
    start = data.find(b"mdat") + 8
    end = data.find(b"moov") - 4
    (folder / "blank.mp4").write_bytes(data[:start] + bytes(end - start) + data[end:])
    for name, codec in (("picture.png", "png"), ("picture.jpg", "mjpeg"), ("picture.gif", "gif")):
        _write_image(folder / name, codec)
    (folder / "picture.mp4").write_bytes((folder / "picture.png").read_bytes())
    with wave.open(str(folder / "zero.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
    return folder


def _write_image(path: Path, codec: str) -> None:
    pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p", "gif": "rgb8"}[codec]
    with av.open(str(path), "w", format="gif" if codec == "gif" else "image2", options={}) as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
        frame = av.VideoFrame.from_ndarray(picture(64, 64), format="rgb24").reformat(format=pix_fmt)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


NO_MEDIA = [
    ("missing.mp4", "There is no file"),
    ("", "is a folder"),
    ("text.mp4", "is a text file"),
    ("unicode.mp4", "is a text file"),
    ("list.m3u8", "is a text file"),
    ("empty.mp4", "is empty"),
    ("noise.mp4", "is broken"),
    ("half.mp4", "is incomplete"),
    ("picture.png", "is an image"),
    ("picture.jpg", "is an image"),
    ("picture.mp4", "is an image"),
]
NO_VIDEO = [
    ("speech.mp3", "holds sound but no video"),
    ("blank.mp4", "none of its frames can be decoded"),
    ("picture.gif", "is an image"),
]
NO_SOUND = [("silent.mp4", "has no sound"), ("zero.wav", "is 0 s long"), ("picture.gif", "has no sound")]


def _check(reader, path: Path, reason: str) -> None:
    with pytest.raises(MediaError) as caught:
        reader(path)
    message = str(caught.value)
    assert reason in message and path.name in message
    assert message.endswith(".") and "\n" not in message
    assert "; " in message, "what is wrong; what to do"


@pytest.mark.parametrize("reader", [probe_video, _frames, read_audio])
@pytest.mark.parametrize(("name", "reason"), NO_MEDIA)
def test_what_is_no_media_is_refused_in_one_sentence(samples, reader, name, reason):
    _check(reader, samples / name, reason)


@pytest.mark.parametrize("reader", [probe_video, _frames])
@pytest.mark.parametrize(("name", "reason"), NO_VIDEO)
def test_what_is_no_video_is_refused_in_one_sentence(samples, reader, name, reason):
    _check(reader, samples / name, reason)


@pytest.mark.parametrize(("name", "reason"), NO_SOUND)
def test_what_has_no_sound_is_refused_in_one_sentence(samples, name, reason):
    _check(read_audio, samples / name, reason)


def test_a_cover_picture_is_no_video(tmp_path, samples):
    covered = tmp_path / "covered.m4a"
    sound = write_sound(tmp_path / "plain.m4a", voice(1.0, 44100), 44100, codec="aac")
    with av.open(str(sound)) as source, av.open(str(covered), "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(picture(64, 64), format="rgb24").reformat(format="yuvj420p")
        target.mux(cover.encode(image) + cover.encode(None))
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    _check(probe_video, covered, "holds sound but no video")
    assert len(read_audio(covered)) > 15_000


@pytest.mark.parametrize("name", [name for name, _ in NO_MEDIA + NO_SOUND])
def test_bad_sound_leaves_no_output(tmp_path, samples, name):
    with pytest.raises(MediaError), VideoWriter(tmp_path / "out.mp4", samples / "silent.mp4", audio=samples / name):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name, _ in NO_MEDIA + NO_VIDEO])
def test_bad_video_leaves_no_output(tmp_path, samples, name):
    with pytest.raises(MediaError), VideoWriter(tmp_path / "out.mp4", samples / name, audio=samples / "speech.mp3"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_frames_leaves_no_output(tmp_path, samples):
    with (
        pytest.raises(MediaError, match="no frame"),
        VideoWriter(tmp_path / "out.mp4", samples / "silent.mp4", audio=None),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_are_refused_before_any_work(tmp_path, samples):
    clip = samples / "silent.mp4"
    for target, reason in (
        (tmp_path / "out.avi", "must end in"),
        (tmp_path / "nowhere" / "out.mp4", "does not exist"),
        (clip, "overwrite the input"),
    ):
        with pytest.raises(MediaError, match=reason):
            VideoWriter(target, clip, audio=None)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaError, match="is a folder"):
        VideoWriter(tmp_path / "folder.mp4", clip, audio=None)


def test_names_that_look_like_addresses_are_files(tmp_path, samples, monkeypatch):
    """Taken for the name of a protocol, `tcp:` would reach for the network."""
    monkeypatch.chdir(tmp_path)
    path = Path("tcp:clip 100%d.mp4")
    path.write_bytes((samples / "silent.mp4").read_bytes())
    assert len(_frames(path)) == 10
    output = Path("tcp:out.mp4")
    with VideoWriter(output, path, audio=None) as writer:
        for frame in read_frames(path):
            writer.write(frame.image, frame.pts)
    assert len(_frames(output)) == 10


def write_floats(path: Path, samples: np.ndarray) -> Path:
    """Write [S] as a WAV file of 32-bit floats, whatever they are."""
    data = samples.astype("<f4").tobytes()
    header = struct.pack("<HHIIHH", 3, 1, 16000, 64000, 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sound_with_values_that_are_no_numbers_is_refused(tmp_path, value):
    samples = voice(1.0, 16000)
    samples[8000] = value
    _check(read_audio, write_floats(tmp_path / "a.wav", samples), "not finite numbers")


def test_sound_beyond_full_scale_is_clipped(tmp_path):
    samples = voice(1.0, 16000)
    samples[8000:8010] = 1e38
    samples[9000] = -3
    waveform = read_audio(write_floats(tmp_path / "a.wav", samples))
    assert np.array_equal(waveform, np.clip(samples, -1, 1))


def rename_codec(path: Path, old: bytes, new: bytes) -> Path:
    """Give a codec a name that nobody knows."""
    data = path.read_bytes()
    assert old in data
    changed = path.with_name(f"unknown_{path.name}")
    changed.write_bytes(data.replace(old, new))
    return changed


def test_unknown_codecs_are_refused(tmp_path, samples):
    sound = write_sound(tmp_path / "a.mka", voice(0.5, 44100), 44100, codec="aac", format="matroska")
    _check(read_audio, rename_codec(sound, b"A_AAC", b"A_ZZZ"), "of an unknown kind")
    video = write_video(tmp_path / "v.mkv", [picture(64, 64, index) for index in range(3)])
    for reader in (probe_video, _frames):
        _check(reader, rename_codec(video, b"V_MPEG4/ISO/AVC", b"V_ZZZZZ/ZZZ/ZZZ"), "of an unknown kind")
