"""Sound of many channels; read in another process, as a fault here ends it."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.resampler import AudioResampler
from media_samples import picture, write_video

from personatalk.errors import MediaError
from personatalk.media import VideoWriter, read_audio, read_frames

RATE = 16000
READ = """
import sys, numpy
from personatalk.media import read_audio
for path in sys.argv[1:]:
    numpy.save(f"{path}.npy", read_audio(path))
"""
DUB = """
import sys, numpy
from personatalk.media import VideoWriter, read_audio, read_frames
clip, sound, output = sys.argv[1:]
with VideoWriter(output, clip, audio=sound) as writer:
    for frame in read_frames(clip):
        writer.write(frame.image, frame.pts)
numpy.save(f"{output}.npy", read_audio(output))
"""


def run(code: str, *paths: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


def channels(count: int, seconds: float = 1.0) -> np.ndarray:
    """A tone of its own in each channel: [S, C] in [-1, 1]."""
    times = np.arange(int(RATE * seconds)) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * (200 + 40 * index) * times) for index in range(count)], 1)


def write_pcm(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def write_aac(path: Path, pcm: Path, layout: str) -> Path:
    """Encode a WAV file without ever unpacking a frame of it here."""
    with av.open(str(pcm)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("aac", rate=RATE, layout=layout)
        resampler = AudioResampler(format="fltp", layout=layout, rate=RATE)
        for frame in [*source.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                target.mux(stream.encode(piece))
        target.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", [picture(64, 64, index) for index in range(5)])


def test_the_waveform_is_the_mean_of_all_channels(tmp_path):
    samples = {tmp_path / f"{count}.wav": channels(count) for count in (7, 8, 9, 16, 40, 64)}
    run(READ, *(write_pcm(path, heard) for path, heard in samples.items()))
    for path, heard in samples.items():
        assert np.abs(np.load(f"{path}.npy") - heard.mean(1)).max() < 1e-4, path.name


def test_more_channels_than_can_be_converted_are_refused(tmp_path):
    path = write_pcm(tmp_path / "a.wav", channels(70))
    with pytest.raises(MediaError, match=r"a\.wav has 70 channels"):
        read_audio(path)


@pytest.mark.parametrize(("count", "written"), [(6, 6), (8, 8), (16, 1), (40, 1)])
def test_channels_are_kept_as_far_as_aac_has_places_for_them(tmp_path, clip, count, written):
    samples = channels(count)
    output = tmp_path / "out.mp4"
    run(DUB, clip, write_pcm(tmp_path / "a.wav", samples), output)
    with av.open(str(output)) as container:
        assert container.streams.audio[0].layout.nb_channels == written
    waveform = np.load(f"{output}.npy")[:RATE]
    inside = slice(2000, 14000)
    expected = samples.mean(1) if count > 8 else np.delete(samples, 3, 1).sum(1) / count  # AAC empties the LFE
    assert np.corrcoef(waveform[inside], expected[inside])[0, 1] > 0.97
    assert len(list(read_frames(output))) == 5


def test_a_track_in_aac_is_copied_with_all_its_channels(tmp_path, clip):
    sound = write_aac(tmp_path / "a.m4a", write_pcm(tmp_path / "a.wav", channels(8)), "7.1")
    run(DUB, clip, sound, tmp_path / "out.mp4")
    packets = []
    for path in (sound, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            assert container.streams.audio[0].layout.name == "7.1"
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]


def test_a_sound_that_cannot_be_read_leaves_no_output(tmp_path, clip):
    with pytest.raises(MediaError, match="70 channels"):
        with VideoWriter(tmp_path / "out.mp4", clip, audio=write_pcm(tmp_path / "a.wav", channels(70))):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
