from __future__ import annotations

import gc
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import picture, psnr, voice, write_sound, write_video

from personatalk.media import AI_MODIFIED, ColourTags, VideoWriter, probe_video, read_audio, read_frames
from personatalk.media.colour import SWS_FLAGS, SWS_MATRICES, ColourConverter

IMAGES = [picture(96, 128, index) for index in range(12)]
VARIABLE_TICKS = [0, 40, 80, 200, 233, 266, 300, 500, 533, 900, 901, 1500]  # ms


def rewrite(source: Path, target: Path, audio: Path | None = None) -> Path:
    with VideoWriter(target, source, audio=audio) as writer:
        for frame in read_frames(source):
            writer.write(frame.image, frame.pts)
    return target


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("media") / "clip.mp4", IMAGES)


@pytest.mark.parametrize("fps", ["24000/1001", "25", "30000/1001", "50"])
def test_frame_rate_and_number_of_frames_are_kept(tmp_path, fps):
    source = write_video(tmp_path / "in.mp4", IMAGES, fps=Fraction(fps))
    output = rewrite(source, tmp_path / "out.mp4")
    times = [frame.time for frame in read_frames(output)]
    assert probe_video(output).fps == Fraction(fps)
    assert np.allclose(times, np.arange(len(IMAGES)) / float(Fraction(fps)), atol=1e-9)
    assert probe_video(output).duration == pytest.approx(len(IMAGES) / Fraction(fps), abs=1e-3)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_every_frame_keeps_its_own_time_at_a_variable_rate(tmp_path, name):
    source = write_video(tmp_path / name, IMAGES, ticks=VARIABLE_TICKS, time_base=Fraction(1, 1000))
    frames = list(read_frames(rewrite(source, tmp_path / "out.mp4")))
    assert [frame.time for frame in frames] == [tick / 1000 for tick in VARIABLE_TICKS]
    assert [frame.index for frame in frames] == list(range(len(IMAGES)))


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_the_output_is_as_long_as_its_frames_at_a_variable_rate(tmp_path, name):
    source = write_video(tmp_path / name, IMAGES, ticks=VARIABLE_TICKS, time_base=Fraction(1, 1000))
    info = probe_video(rewrite(source, tmp_path / "out.mp4"))
    assert info.duration == pytest.approx(1.5 + 1 / probe_video(source).fps, abs=0.01)


def test_a_browser_recording_tells_its_true_rate_and_length(tmp_path):
    """Its header has neither: it claims 1000 frames per second."""
    ticks = np.cumsum(np.random.default_rng(0).integers(25, 60, 30)).tolist()
    source = write_video(
        tmp_path / "in.webm", [IMAGES[0]] * 30, ticks=ticks, time_base=Fraction(1, 1000),
        codec="libvpx", fps=Fraction(1000), options={"live": "1"},
    )  # fmt: skip
    info, span = probe_video(source), (ticks[-1] - ticks[0]) / 1000
    assert info.num_frames == 30
    assert float(info.fps) == pytest.approx(29 / span, rel=0.01)
    assert info.duration == pytest.approx(span * 30 / 29, rel=0.01)
    output = rewrite(source, tmp_path / "out.mp4")
    assert [frame.time for frame in read_frames(output)] == [(tick - ticks[0]) / 1000 for tick in ticks]


def test_time_counts_from_the_first_frame(tmp_path):
    late = write_video(
        tmp_path / "in.mp4", IMAGES, ticks=[500 + 40 * i for i in range(12)], time_base=Fraction(1, 1000)
    )
    assert [frame.time for frame in read_frames(late)] == [0.04 * i for i in range(12)]


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "live.mkv", "in.ts", "in.h264", "in.avi"])
def test_reading_from_a_time_gives_the_same_frames_as_reading_on(tmp_path, name):
    options = {"live": "1"} if name == "live.mkv" else {}
    codec = "mpeg4" if name == "in.avi" else "libx264"
    path = write_video(tmp_path / name, IMAGES * 3, group=5, options=options, codec=codec)
    whole = list(read_frames(path))
    for start in (1, 14, 29, 35):
        part = list(read_frames(path, start_time=whole[start].time))
        assert [frame.pts for frame in part] == [frame.pts for frame in whole[start:]]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[start:], strict=True))


def test_chosen_frames_are_those_of_the_whole(clip):
    whole = list(read_frames(clip))
    part = list(read_frames(clip, only={2, 7}))
    assert [(frame.index, frame.pts) for frame in part] == [(index, whole[index].pts) for index in (2, 7)]
    assert all(np.array_equal(frame.image, whole[frame.index].image) for frame in part)
    assert not list(read_frames(clip, only=set()))


@pytest.mark.parametrize("num_frames", [1, 3])
def test_very_short_videos_are_kept(tmp_path, num_frames):
    source = write_video(tmp_path / "in.mp4", IMAGES[:num_frames])
    assert len(list(read_frames(rewrite(source, tmp_path / "out.mp4")))) == num_frames


@pytest.mark.parametrize("matrix", [2, 1, 6, 9])  # not stated, BT.709, BT.601, BT.2020
@pytest.mark.parametrize("colour_range", [1, 2])
def test_colours_and_their_tags_survive(tmp_path, matrix, colour_range):
    source = write_video(tmp_path / "in.mp4", IMAGES[:3], matrix=matrix, colour_range=colour_range)
    output = rewrite(source, tmp_path / "out.mp4")
    before, after = probe_video(source).colour, probe_video(output).colour
    assert (after.matrix, after.primaries, after.transfer) == (before.matrix, before.primaries, before.transfer)
    assert after.range == colour_range or (after.range, colour_range) == (0, 1)  # limited is what silence means
    for true, read, written in zip(IMAGES, read_frames(source), read_frames(output), strict=False):
        assert psnr(true, read.image) > 44
        assert psnr(read.image, written.image) > 42
        assert abs(read.image.mean((0, 1)) - written.image.mean((0, 1))).max() < 1


@pytest.mark.parametrize(
    ("matrix", "luma_weights"),
    [(1, (0.2126, 0.7152, 0.0722)), (6, (0.299, 0.587, 0.114)), (9, (0.2627, 0.678, 0.0593))],
)
@pytest.mark.parametrize(("colour_range", "low", "span"), [(1, 16, 219), (2, 0, 255)])
def test_luma_is_what_the_standards_say(tmp_path, matrix, luma_weights, colour_range, low, span):
    source = write_video(tmp_path / "in.mp4", [picture(64, 64)], matrix=matrix, colour_range=colour_range)
    colour = np.array([200, 40, 90], np.uint8)
    with VideoWriter(tmp_path / "out.mp4", source, audio=None, crf=1) as writer:
        writer.write(np.broadcast_to(colour, (64, 64, 3)), 0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:64, :64]
    expected = low + span * np.dot(luma_weights, colour / 255)
    assert np.abs(luma - expected).max() <= 1.5


@pytest.mark.parametrize("matrix", [1, 4, 6, 7, 9])
@pytest.mark.parametrize("colour_range", [1, 2])
def test_a_picture_that_was_not_changed_comes_out_as_it_went_in(matrix, colour_range):
    """Else copies of copies would darken, and their colours would spread."""
    converter = ColourConverter(ColourTags(matrix=matrix, range=colour_range), 96)
    before = converter.yuv(np.random.default_rng(0).integers(90, 160, (96, 128, 3), np.uint8))
    after = converter.yuv(converter.rgb(before, 128, 96))
    difference = after.to_ndarray().astype(int) - before.to_ndarray()
    assert np.abs(difference).max() <= 1
    assert np.abs(difference).mean() < 0.15 and abs(difference.mean()) < 0.02


@pytest.mark.parametrize("matrix", [1, 4, 6, 7, 9])
@pytest.mark.parametrize("colour_range", [1, 2])
def test_own_colour_conversion_agrees_with_libswscale(matrix, colour_range):
    """Colours are constant over 8x8 blocks, so that interpolating them makes no difference inside."""
    blocks = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    converter = ColourConverter(ColourTags(matrix=matrix, range=colour_range), 96)
    names = {"src_colorspace": SWS_MATRICES[matrix], "src_color_range": colour_range}
    expected = converter.yuv(blocks).reformat(format="rgb24", interpolation=SWS_FLAGS, **names).to_ndarray()
    difference = np.abs(converter.rgb(converter.yuv(blocks), 128, 96).astype(int) - expected)
    inside = difference.reshape(12, 8, 16, 8, 3)[:, 3:5, :, 3:5]
    assert inside.max() <= 1


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_pictures_come_upright_and_go_out_upright(tmp_path, turns):
    source = write_video(tmp_path / "in.mp4", IMAGES[:3], rotation=90 * turns)
    upright = np.rot90(IMAGES[0], turns)
    info, first = probe_video(source), next(read_frames(source)).image
    assert first.shape == upright.shape == (info.height, info.width, 3)
    assert info.rotation == (-90 * turns) % 360
    assert psnr(first, upright) > 44
    output = rewrite(source, tmp_path / "out.mp4")
    assert probe_video(output).rotation == 0
    assert psnr(next(read_frames(output)).image, upright) > 42


@pytest.mark.parametrize(("hflip", "vflip"), [(True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90])
def test_mirrored_pictures_come_upright(tmp_path, hflip, vflip, degrees):
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 128, 96, "yuv420p", {"crf": "1"}
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGES[0], format="rgb24")))
        container.mux(stream.encode(None))
    upright = np.rot90(IMAGES[0], degrees // 90)
    upright = upright[:: -1 if vflip else 1, :: -1 if hflip else 1]
    assert psnr(next(read_frames(path)).image, upright) > 35


@pytest.mark.parametrize("size", [(97, 131), (96, 131), (97, 128)])
def test_odd_sizes_are_kept(tmp_path, size):
    source = write_video(tmp_path / "in.mkv", [picture(*size, index) for index in range(3)], pix_fmt="yuv444p")
    output = rewrite(source, tmp_path / "out.mp4")
    for before, after in zip(read_frames(source), read_frames(output), strict=True):
        assert after.image.shape == (*size, 3)
        assert psnr(before.image, after.image) > 40


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("in.avi", "mpeg4", "yuv420p"),
        ("in.webm", "libvpx-vp9", "yuv420p"),
        ("in.mkv", "libx264", "yuv420p10le"),
        ("in.mov", "png", "rgb24"),
        ("in.ts", "libx264", "yuv420p"),
    ],
)
def test_other_formats_keep_frames_and_times(tmp_path, name, codec, pix_fmt):
    source = write_video(tmp_path / name, IMAGES, codec=codec, pix_fmt=pix_fmt)
    frames = list(read_frames(rewrite(source, tmp_path / "out.mp4")))
    assert np.allclose([frame.time for frame in frames], np.arange(12) / 25, atol=1e-9)
    assert min(psnr(frame.image, image) for frame, image in zip(frames, IMAGES, strict=True)) > 38


def test_a_size_that_changes_midway_is_scaled_to_the_first(tmp_path):
    parts = [write_video(tmp_path / f"{h}.h264", [picture(h, w)] * 3) for h, w in ((96, 128), (64, 64), (128, 192))]
    (tmp_path / "in.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(read_frames(rewrite(tmp_path / "in.h264", tmp_path / "out.mp4")))
    assert [frame.image.shape for frame in frames] == [(96, 128, 3)] * 9
    assert abs(frames[-1].image.mean() - picture(128, 192).mean()) < 3


def test_rgb_video_is_written_with_a_matrix_that_says_so(tmp_path):
    source = write_video(tmp_path / "in.mov", IMAGES[:1], codec="png", pix_fmt="rgb24")
    assert probe_video(rewrite(source, tmp_path / "out.mp4")).colour.matrix == 6  # BT.601, for its size


def test_frames_that_were_read_are_gone_at_once(clip):
    """Decoded pictures must not wait in reference cycles until Python looks for them."""
    gc.collect()
    gc.disable()
    try:
        for _ in read_frames(clip):
            pass
        held = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert held <= 3  # the one that the probe looked at, and what is being decoded


def test_a_cut_off_file_gives_the_frames_it_has(tmp_path, clip):
    whole = rewrite(clip, tmp_path / "whole.mp4").read_bytes()  # index first
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * 0.9)])
    assert 1 <= len(list(read_frames(tmp_path / "cut.mp4"))) < len(IMAGES)


def test_output_is_marked_as_ai_modified_and_ready_to_stream(tmp_path, clip):
    output = rewrite(clip, tmp_path / "out.mp4")
    with av.open(str(output)) as container:
        assert container.metadata["comment"] == AI_MODIFIED
    data = output.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_pcm_is_read_to_the_sample(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32767, (4321, 2)).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2), file.setsampwidth(2), file.setframerate(16000)
        file.writeframes(samples.tobytes())
    waveform = read_audio(tmp_path / "a.wav")
    assert waveform.dtype == np.float32
    assert np.abs(waveform - samples.astype(np.float64).mean(1) / 32768).max() < 1e-6


def test_sound_at_another_rate_keeps_time_and_level(tmp_path):
    path = write_sound(tmp_path / "a.wav", voice(2.0, 44100), 44100, codec="pcm_s16le", layout="stereo")
    waveform, expected = read_audio(path, 16000), voice(2.0, 16000)
    assert abs(len(waveform) - len(expected)) <= 1
    inside = slice(2000, 31000)  # away from the sudden start
    assert np.abs(waveform[inside] - expected[inside]).max() < 5e-3


SOUNDS = {
    "a.wav": dict(codec="pcm_s16le"),
    "a.flac": dict(codec="flac"),
    "a.mp3": dict(codec="libmp3lame"),
    "a.m4a": dict(codec="aac"),
    "lossless.m4a": dict(codec="alac"),
    "a.ogg": dict(codec="libopus"),
    "a.webm": dict(codec="libopus"),
    "a.aac": dict(codec="aac", format="adts"),
    "a.mka": dict(codec="aac", format="matroska"),
}
COPIED = {"a.mp3", "a.m4a", "lossless.m4a", "a.aac", "a.mka"}


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_goes_into_the_video_whole_and_in_time(tmp_path, clip, name):
    """The sound is four times as long as the pictures."""
    options = dict(SOUNDS[name])
    rate = 48000 if options["codec"] == "libopus" else 44100
    sound = write_sound(tmp_path / name, voice(2.0, rate), rate, layout="stereo", **options)
    output = rewrite(clip, tmp_path / "out.mp4", sound)
    before, after = read_audio(sound, rate), read_audio(output, rate)
    assert len(before) <= len(after) <= len(before) + 2048  # one codec frame of silence at most
    with av.open(str(output)) as container:
        assert container.streams.audio[0].rate == rate
        assert container.streams.audio[0].layout.nb_channels == 2
    after = after[: len(before)]
    if name in COPIED:
        assert np.array_equal(before, after)
    else:
        assert _lag(before, after) == 0
        assert np.sqrt(np.mean((before - after) ** 2)) < 0.02 * np.sqrt(np.mean(before**2))
    assert len(list(read_frames(output))) == len(IMAGES)


def _lag(first: np.ndarray, second: np.ndarray) -> int:
    """Samples by which the first comes after the second, at the peak of their correlation."""
    size = 2 * len(first)
    correlation = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)))
    peak = int(correlation.argmax())
    return peak if peak < len(first) else peak - size


@pytest.mark.parametrize(("rate", "layout"), [(8000, "mono"), (37800, "mono"), (192000, "stereo"), (44100, "5.1")])
def test_unusual_pcm_goes_into_the_video(tmp_path, clip, rate, layout):
    sound = write_sound(tmp_path / "a.wav", voice(1.0, rate), rate, codec="pcm_s16le", layout=layout)
    output = rewrite(clip, tmp_path / "out.mp4", sound)
    assert len(read_audio(output)) == pytest.approx(16000, abs=2100)


def test_sound_of_a_video_can_be_used(tmp_path, clip):
    sound = write_sound(tmp_path / "a.wav", voice(1.0, 16000), 16000, codec="pcm_s16le")
    with_sound = rewrite(clip, tmp_path / "first.mp4", sound)
    again = rewrite(clip, tmp_path / "second.mp4", with_sound)
    assert probe_video(again).has_audio and not probe_video(clip).has_audio
    assert np.array_equal(read_audio(again), read_audio(with_sound))


def test_sound_with_a_hole_in_its_timestamps_stays_in_step_with_its_waveform(tmp_path, clip):
    """A copy would keep the hole that the waveform, which drives the lips, does not have."""
    whole = write_sound(tmp_path / "whole.mka", voice(2.0, 44100), 44100, codec="aac", format="matroska")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "a.mka"), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.pts, packet.dts = (t + 1000 * (t > 700) for t in (packet.pts, packet.dts))
                packet.stream = stream
                target.mux(packet)
    before, after = (read_audio(p) for p in (tmp_path / "a.mka", rewrite(clip, tmp_path / "o.mp4", tmp_path / "a.mka")))
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) < 2.2
    assert _lag(before, after[: len(before)]) == 0


def test_the_writer_refuses_wrong_frames(tmp_path, clip):
    with pytest.raises(ValueError, match="96x128"), VideoWriter(tmp_path / "out.mp4", clip, audio=None) as writer:
        writer.write(IMAGES[0][:, :-2], 0)
    with pytest.raises(ValueError, match="does not come after"):
        with VideoWriter(tmp_path / "out.mp4", clip, audio=None) as writer:
            writer.write(IMAGES[0], 5)
            writer.write(IMAGES[1], 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error_and_the_old_file_stays(tmp_path, clip, error):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with pytest.raises(error), VideoWriter(target, clip, audio=None) as writer:
        for pts in range(80):
            writer.write(IMAGES[pts % 12], pts * 512)
        assert len(list(tmp_path.iterdir())) == 2  # the unfinished file lies beside its target
        raise error
    assert list(tmp_path.iterdir()) == [target] and target.read_bytes() == b"old"


def test_the_file_grows_with_the_frames(tmp_path):
    """If sound waited until the end, the pictures would wait for it in memory, as long as the clip."""
    source = write_video(tmp_path / "in.mp4", [picture(64, 64, index % 40) for index in range(240)])
    sound = write_sound(tmp_path / "a.wav", voice(10.0, 16000), 16000, codec="pcm_s16le")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    with VideoWriter(tmp_path / "out.mp4", source, audio=sound) as writer:
        for frame in read_frames(source):
            writer.write(np.roll(noise, frame.index * 7, 0), frame.pts)
        grown = next(tmp_path.glob(".out.*")).stat().st_size
    assert grown > 0.6 * (tmp_path / "out.mp4").stat().st_size
