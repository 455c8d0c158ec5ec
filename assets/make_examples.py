"""Make the example media: the speeches, the rendered clips, the painted portrait, and the animation of the README.

    python -m assets.make_examples speeches           speech_*.wav: nobody's voice
    python -m assets.make_examples rendered_head      and rendered_turned, rendered_glasses: nobody's face and voice
    python -m assets.make_examples painted_portrait   painted_portrait.jpg: nobody's face
    python -m assets.make_examples animation          dub.webp: grid_speaker.mp4 beside its dub with speech_bridge.wav

The speeches need the program espeak-ng, the heads also what rendered_head.py needs. The GRID clips are not made here.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import scipy.ndimage

from assets.rendered_head import FPS, Head, Looks, Shot, film

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Speech:
    """A sentence, and the voice of espeak-ng that speaks it."""

    text: str
    voice: str = "en-gb"


SPEECHES = {
    "speech_bridge": Speech(text="The old bridge by the river was painted blue last summer."),
    "speech_kitchen": Speech(
        text="My brother makes five loaves of bread every morning, while the kitchen is still warm."
    ),
    "speech_garden": Speech(
        text="Every evening she waters the beans, the tomatoes and the roses in her garden.", voice="en-gb+f3"
    ),
    "speech_museum": Speech(
        text="I have been hanging in this museum for years, and nobody has ever asked me a question.", voice="en-gb+f3"
    ),
}
HEADS = {  # what each head says in its clip, what it looks like, and how it is filmed
    "rendered_head": (
        Speech(
            text="Good morning everybody. Before we begin, let me tell you a few words about the weather this week."
        ),
        Looks(),
        Shot(),
    ),
    "rendered_turned": (
        Speech(text="We walked along the beach for hours, and found a small boat made of paper.", voice="en-gb+f4"),
        Looks(
            shape={"gender": 0.1, "age": 0.55, "weight": 0.5},
            skin=(0.22, 0.105, 0.06), lip=(0.25, 0.07, 0.07), hair=(0.01, 0.008, 0.007), iris=(0.06, 0.03, 0.02),
            shirt=(0.45, 0.22, 0.04), hairline=0.060, teeth_down=0.003, teeth_reach=0.018,
        ),
        Shot(yaw=0.40, wall=(70, 62, 60)),
    ),
    "rendered_glasses": (
        Speech(text="Thank you for waiting. My name is on the door, and your papers are on the table."),
        Looks(
            shape={"gender": 0.9, "age": 0.95, "weight": 0.62},
            skin=(0.72, 0.47, 0.36), lip=(0.50, 0.22, 0.19), hair=(0.42, 0.41, 0.40), iris=(0.10, 0.17, 0.24),
            shirt=(0.16, 0.03, 0.04), hairline=0.085, teeth_down=0.003, teeth_reach=0.018, has_glasses=True,
        ),
        Shot(width=1280, height=720, field=20.0, wall=(84, 96, 120)),
    ),
}  # fmt: skip
SITTER = Looks(
    shape={"gender": 0.05, "age": 0.5, "weight": 0.5},
    skin=(0.70, 0.45, 0.33), lip=(0.50, 0.12, 0.11), hair=(0.20, 0.06, 0.02), iris=(0.08, 0.14, 0.08),
    shirt=(0.02, 0.08, 0.05),
)  # fmt: skip
PORTRAIT = Shot(width=720, height=720, field=18.0, wall=(70, 58, 44))
STROKES_PX = (2, 5)  # of the painting, fine over coarse


def speak(speech: Speech, path: Path) -> None:
    """Write a sentence spoken by espeak-ng, 22 kHz mono."""
    subprocess.run(["espeak-ng", "-v", speech.voice, "-s", "150", "-w", str(path), speech.text], check=True)


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """Return samples in [-1, 1] and their rate."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        return samples, file.getframerate()


def mouth_curves(samples: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Turn loudness and spectrum of a speech into facial actions, one value a frame."""
    num_frames = int(np.ceil(len(samples) / rate * FPS))
    hop = rate // FPS
    padded = np.pad(samples, (hop // 2, 2 * hop))
    windows = np.stack([padded[i * hop : i * hop + 2 * hop] for i in range(num_frames)]) * np.hanning(2 * hop)
    power = np.abs(np.fft.rfft(windows)) ** 2
    frequency = np.fft.rfftfreq(2 * hop, 1 / rate)
    bands = [power[:, (frequency >= a) & (frequency < b)].sum(1) for a, b in ((200, 900), (900, 2800), (2800, 8000))]
    low, middle, high = (np.sqrt(band) / 10 for band in bands)
    loudness = np.clip(low / np.percentile(low, 95), 0, 1)
    bright = middle / (low + middle + 1e-3)
    hiss = np.clip(high / (np.percentile(high, 95) + 1e-6), 0, 1) * (1 - loudness)
    smooth = lambda curve: scipy.ndimage.gaussian_filter1d(curve, 0.7)  # noqa: E731
    jaw, wide = smooth(0.55 * loudness**0.8), smooth(np.clip(2.2 * bright - 0.35, 0, 1) * loudness)
    round_ = smooth(np.clip(0.55 - 2.0 * bright, 0, 0.5) * loudness)
    bare = smooth(0.35 * hiss + 0.25 * loudness)
    return {
        "jawOpen": jaw, "mouthFunnel": round_, "mouthPucker": 0.8 * round_, "mouthStretchLeft": 0.6 * wide,
        "mouthStretchRight": 0.6 * wide, "mouthUpperUpLeft": bare, "mouthUpperUpRight": bare,
        "mouthLowerDownLeft": bare, "mouthLowerDownRight": bare,
    }  # fmt: skip


def paint_over(picture: np.ndarray) -> np.ndarray:
    """Turn a photograph uint8 [H, W, 3] into a painting: flat strokes with sharp edges, on canvas.

    Source: Kuwahara et al. 1976: each pixel takes the mean of that of the four squares around it that varies least.
    """
    image = picture.astype(np.float32)
    for reach in sorted(STROKES_PX, reverse=True):
        means, spreads = [], []
        for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
            anchor = (dx * reach, dy * reach)
            mean, square = (cv2.boxFilter(x, -1, (reach + 1, reach + 1), anchor=anchor) for x in (image, image**2))
            means.append(mean)
            spreads.append((square - mean**2).sum(-1))
        calmest = np.argmin(spreads, 0)
        strokes = np.take_along_axis(np.stack(means), calmest[None, ..., None], 0)[0]
        image = 0.5 * (image + strokes) if reach == max(STROKES_PX) else strokes
    weave = np.random.default_rng(0).normal(size=image.shape[:2])
    weave = scipy.ndimage.gaussian_filter(weave, (0.6, 2)) + scipy.ndimage.gaussian_filter(weave, (2, 0.6))
    warm = image * (1.04, 1.0, 0.9) + 5 * weave[..., None]
    return np.clip(warm, 0, 255).round().astype(np.uint8)


def encode(pictures: Iterable[np.ndarray], shot: Shot, path: Path, speech: Path) -> None:
    """Write the pictures of a shot, uint8 [H, W, 3], and a speech as H.264 with AAC."""
    samples, rate = read_wave(speech)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "20", "preset": "slow"})
        video.width, video.height, video.pix_fmt = shot.width, shot.height, "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


def make_speeches() -> None:
    """Write the speeches, beside this script."""
    for name, speech in SPEECHES.items():
        speak(speech, FOLDER / f"{name}.wav")


def make_head(name: str) -> None:
    """Write the clip of a head that speaks."""
    speech, looks, shot = HEADS[name]
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "own.wav"
        speak(speech, sound)
        encode(film(Head(looks), mouth_curves(*read_wave(sound)), shot), shot, FOLDER / f"{name}.mp4", sound)


def make_portrait() -> None:
    """Write the painted portrait: one picture of a head at rest, painted over."""
    picture = next(film(Head(SITTER), {"jawOpen": np.zeros(1)}, PORTRAIT))
    cv2.imwrite(str(FOLDER / "painted_portrait.jpg"), paint_over(picture)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def make_animation() -> None:
    """Dub the GRID clip with the shipped weights, and write both side by side as dub.webp."""
    from personatalk import load_pipeline
    from personatalk.inspection.comparison import write_comparison

    clip, speech = FOLDER / "grid_speaker.mp4", FOLDER / "speech_bridge.wav"
    with tempfile.TemporaryDirectory() as folder:
        dubbed = load_pipeline().dub(clip, speech, Path(folder) / "dubbed.mp4").video
        write_comparison(clip, dubbed, FOLDER / "dub.webp", names=("source", "dubbed"), fps=FPS)


def main() -> None:
    """Make what is asked for."""
    makers = {"speeches": make_speeches, "painted_portrait": make_portrait, "animation": make_animation}
    makers |= {name: partial(make_head, name) for name in HEADS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=makers)
    makers[parser.parse_args().what]()


if __name__ == "__main__":
    main()
