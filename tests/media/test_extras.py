"""What a file holds beside its pictures and sound: kept, or listed as lost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import picture, psnr, voice, write_sound, write_video

from personatalk.media import AI_MODIFIED, VideoWriter, probe_video, read_frames, what_is_lost
from personatalk.media.excerpt import cut_video

IMAGES = [picture(96, 128, index) for index in range(50)]
CHAPTERS = [(0, 700, "One"), (700, 2000, "Two")]
SUBTITLES = "1\n00:00:00,200 --> 00:00:00,700\nHello\n\n2\n00:00:01,000 --> 00:00:01,500\nWörld\n"


def rewrite(source: Path, target: Path, audio: Path | None = None, **options) -> Path:
    with VideoWriter(target, source, audio=audio, **options) as writer:
        for frame in read_frames(source):
            writer.write(frame.image, frame.pts)
    return target


def encode(container: av.container.OutputContainer, images, pix_fmt: str, codec: str = "libx264", **tags) -> None:
    """Encode pictures with colour tags; codes of ISO/IEC 23091-2."""
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height, stream.pix_fmt = 128, 96, pix_fmt
    stream.options = tags.pop("options", {"crf": "1"})
    matrix, primaries, transfer = tags.get("matrix", 1), tags.get("primaries", 1), tags.get("transfer", 1)
    context = stream.codec_context
    context.colorspace, context.color_range = matrix, 1
    context.color_primaries, context.color_trc = primaries, transfer
    for index, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format=pix_fmt, dst_colorspace=matrix, dst_color_range=1
        )
        frame.colorspace, frame.color_range = matrix, 1
        frame.color_primaries, frame.color_trc = primaries, transfer
        frame.pts, frame.time_base = index, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture
def rich(tmp_path) -> Path:
    """A film with a title, chapters, a language, and German subtitles."""
    (tmp_path / "in.srt").write_text(SUBTITLES, encoding="utf-8")
    path = tmp_path / "rich.mkv"
    plain = write_video(tmp_path / "plain.mp4", IMAGES)
    with av.open(str(plain)) as video, av.open(str(tmp_path / "in.srt")) as text, av.open(str(path), "w") as target:
        target.metadata.update({"title": "A film", "artist": "Somebody", "location": "+1+2/"})
        target.set_chapters(
            [
                {"id": i, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for i, (start, end, title) in enumerate(CHAPTERS)
            ]
        )
        streams = [target.add_stream_from_template(source.streams[0]) for source in (video, text)]
        streams[0].metadata["language"] = streams[1].metadata["language"] = "deu"
        for source, stream in zip((text, video), reversed(streams), strict=True):
            for packet in source.demux():
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
    return path


def texts(path: Path) -> list[tuple[float, float, str]]:
    """Start, duration (s) and words of each subtitle of an MP4."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size > 2]
        return [
            (float(p.pts * p.time_base), float(p.duration * p.time_base), bytes(p)[2 : 2 + bytes(p)[1]].decode())
            for p in packets
        ]


def test_title_chapters_language_and_subtitles_are_kept(tmp_path, rich):
    sound = write_sound(tmp_path / "a.mka", voice(2.0, 44100), 44100, codec="aac", format="matroska")
    output = rewrite(rich, tmp_path / "out.mp4", sound)
    with av.open(str(output)) as container:
        assert container.metadata["title"] == "A film" and container.metadata["artist"] == "Somebody"
        assert container.metadata["comment"] == AI_MODIFIED
        kept = [(c["start"] * c["time_base"] * 1000, c["metadata"]["title"]) for c in container.chapters()]
        assert kept == [(start, title) for start, _, title in CHAPTERS]
        assert container.streams.video[0].language == container.streams.subtitles[0].language == "deu"
    assert texts(output) == [(0.2, 0.5, "Hello"), (1.0, 0.5, "Wörld")]
    assert what_is_lost(rich) == ["tags (location)"]
    again = rewrite(output, tmp_path / "again.mp4", output)
    assert texts(again) == texts(output) and what_is_lost(output) == ["tags (comment)"]
    assert len(list(read_frames(again))) == len(IMAGES)


def test_chapters_and_subtitles_move_with_a_film_that_starts_late(tmp_path, rich):
    late = tmp_path / "late.mkv"
    with av.open(str(rich)) as source, av.open(str(late), "w") as target:
        target.set_chapters([{**c, "start": c["start"] + 10**9, "end": c["end"] + 10**9} for c in source.chapters()])
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                packet.pts, packet.dts = packet.pts + 1000, None if packet.dts is None else packet.dts + 1000
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    output = rewrite(late, tmp_path / "out.mp4")
    assert texts(output) == [(0.2, 0.5, "Hello"), (1.0, 0.5, "Wörld")]
    with av.open(str(output)) as container:
        assert [float(c["start"] * c["time_base"]) for c in container.chapters()] == pytest.approx([0, 0.7], abs=2e-3)


def test_what_has_no_place_in_another_timeline_is_said(tmp_path, rich):
    output = rewrite(rich, tmp_path / "out.mp4", end_pts=2000)
    with av.open(str(output)) as container:
        assert not container.streams.subtitles and not container.chapters()
    lost = what_is_lost(rich, keeps_timeline=False)
    assert any("subtitles" in words for words in lost) and "2 chapters" in lost


MASTERING = ":".join(
    (
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
        "max-cll=1000,400",
        "log-level=error",
    )
)
HDR = {"PQ": (9, 9, 16), "HLG": (9, 9, 18), "10-bit SDR": (1, 1, 1)}


@pytest.mark.parametrize("name", HDR)
def test_ten_bits_stay_with_their_tags_and_mastering_metadata(tmp_path, name):
    matrix, primaries, transfer = HDR[name]
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        options = {"crf": "4", "preset": "ultrafast", "x265-params": MASTERING}
        tags = {"matrix": matrix, "primaries": primaries, "transfer": transfer, "options": options}
        encode(container, IMAGES[:8], "yuv420p10le", codec="libx265", **tags)
    output = rewrite(source, tmp_path / "out.mp4")
    before, after = probe_video(source), probe_video(output)
    assert after.bit_depth == before.bit_depth == 10
    assert after.colour == before.colour and after.colour.transfer == transfer
    assert after.mastering == before.mastering
    assert after.mastering.light_levels == (1000, 400) and after.mastering.display[:2] == (34000, 16000)
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
    for first, second in zip(read_frames(source), read_frames(output), strict=True):
        assert psnr(first.image, second.image) > 40
        assert np.abs(first.image.mean((0, 1)) - second.image.mean((0, 1))).max() < 1


def test_eight_bits_stay_h264(tmp_path):
    output = rewrite(write_video(tmp_path / "in.mp4", IMAGES[:3]), tmp_path / "out.mp4")
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    assert probe_video(output).bit_depth == 8 and what_is_lost(tmp_path / "in.mp4") == []


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "words"),
    [
        ("in.mov", "png", "rgba", "the alpha channel"),
        ("in.mov", "png", "rgb24", "the full resolution of colour"),
        ("in.mkv", "libx264", "yuv422p", "the full resolution of colour"),
        ("in.mkv", "libx264", "yuv420p10le", "10 bits per sample"),
        ("in.mkv", "ffv1", "yuv420p12le", "12 bits per sample"),
    ],
)
def test_what_pictures_lose_is_said(tmp_path, name, codec, pix_fmt, words):
    source = tmp_path / name
    with av.open(str(source), "w") as container:
        encode(container, IMAGES[:2], pix_fmt, codec=codec, options={})
    assert any(words in lost for lost in what_is_lost(source))
    assert len(list(read_frames(rewrite(source, tmp_path / "out.mp4")))) == 2


def test_interlacing_and_other_tracks_are_said(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        for _ in range(2):
            sound = container.add_stream("aac", rate=44100)
        container.add_attachment("font.ttf", "application/x-truetype-font", b"font")
        encode(container, IMAGES[:3], "yuv420p", options={"x264-params": "tff=1"})
        for sound in container.streams.audio:
            frame = av.AudioFrame.from_ndarray(voice(1.0, 44100)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 0
            container.mux(sound.encode(frame) + sound.encode(None))
    lost = what_is_lost(source, source)
    assert "the interlacing flag" in lost
    assert "1 other sound tracks of the clip" in lost and "1 other sound tracks of the speech" in lost
    assert "1 data tracks and attachments" in lost


@pytest.mark.parametrize(
    ("rate", "layout", "words"),
    [
        (192000, "stereo", ["the sample rate of 192000 Hz (96000 Hz is written)"]),
        (48000, "6.1", ["7 channels of sound (stereo is written)"]),
        (48000, "5.1", []),
        (44100, "mono", []),
    ],
)
def test_what_sound_loses_is_said(tmp_path, rate, layout, words):
    clip = write_video(tmp_path / "in.mp4", IMAGES[:2])
    sound = write_sound(tmp_path / "a.wav", voice(0.5, rate), rate, codec="pcm_s16le", layout=layout)
    assert what_is_lost(clip, sound) == words


def test_an_excerpt_is_as_long_as_its_frames(tmp_path, rich):
    """Chapters and subtitles of the whole would make it longer."""
    excerpt = cut_video(rich, tmp_path / "out.mp4", 0.4, 1.0)
    with av.open(str(excerpt)) as container:
        assert container.duration == pytest.approx(600_000, abs=50_000)
        assert not container.chapters() and not container.streams.subtitles
        assert container.metadata["title"] == "A film"


@pytest.mark.parametrize(("layout", "is_said"), [("stereo", True), ("mono", False)])
def test_of_several_speeches_channels_are_lost(tmp_path, layout, is_said):
    clip = write_video(tmp_path / "in.mp4", IMAGES[:3])
    mono = write_sound(tmp_path / "a.wav", voice(0.5, 44100), 44100, codec="pcm_s16le")
    other = write_sound(tmp_path / "b.wav", voice(0.5, 44100), 44100, codec="pcm_s16le", layout=layout)
    assert what_is_lost(clip, mono, other) == ["channels of the speeches, which are mixed to one"] * is_said


@pytest.mark.parametrize(("width", "is_said"), [(64, True), (65, False)])
def test_an_odd_size_keeps_the_full_resolution_of_colour(tmp_path, width, is_said):
    clip = write_video(tmp_path / "in.mp4", [picture(48, width)] * 2, pix_fmt="yuv444p")
    assert any("full resolution" in words for words in what_is_lost(clip)) == is_said
