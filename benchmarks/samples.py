"""Full-frame clips of any length, made from a small clip: the benchmarks' input."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from personatalk.media import probe_video, read_audio, read_frames

AUDIO_RATE = 16000  # Hz
FACE_SHARE = 0.6  # height of the small clip over that of the full frame
FACE_IN_CLIP = 0.625  # height of the face in the example clip over that clip's
BACKGROUND = 96
ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "checkpoints"
EXAMPLE_CLIP, EXAMPLE_SPEECH = ROOT / "assets" / "grid_speaker.mp4", ROOT / "assets" / "speech_bridge.wav"


def build_clip(
    source: Path, target: Path, *, seconds: float, width: int = 1280, height: int = 720, share: float = FACE_SHARE
) -> Path:
    """Place a clip into a larger picture and play it back and forth for a given time.

    Args:
        source: a small clip of a face.
        target: MP4 to write.
        seconds: length of the result.
        width: px.
        height: px.
        share: height of the small clip over that of the picture.
    """
    info = probe_video(source)
    small = [frame.image for frame in read_frames(source)]
    turn = list(chain(range(len(small)), range(len(small) - 2, 0, -1))) or [0]
    num_frames = round(seconds * info.fps)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=info.fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "16", "preset": "ultrafast"}
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(
                _projected(small[turn[index % len(turn)]], width, height, share), format="rgb24"
            )
            frame.pts, frame.time_base = index, 1 / Fraction(info.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target


def build_speech(source: Path, target: Path, *, seconds: float) -> Path:
    """Repeat a file's sound for a given time, as 16-bit PCM.

    Args:
        source: a file with sound.
        target: WAV to write.
        seconds: length of the result.
    """
    waveform = read_audio(source, AUDIO_RATE)
    num_samples = round(seconds * AUDIO_RATE)
    samples = np.resize(waveform, num_samples)  # repeats
    with av.open(str(target), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=AUDIO_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = AUDIO_RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target


def _projected(image: np.ndarray, width: int, height: int, share: float) -> np.ndarray:
    """Put an image, enlarged to a share of the height, into the middle of a grey picture."""
    face_height = round(height * share) // 2 * 2
    face_width = min(width, round(image.shape[1] * face_height / image.shape[0]) // 2 * 2)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    enlarged = frame.reformat(width=face_width, height=face_height).to_ndarray()
    projected = np.full((height, width, 3), BACKGROUND, np.uint8)
    top, left = (height - face_height) // 2, (width - face_width) // 2
    projected[top : top + face_height, left : left + face_width] = enlarged
    return projected
