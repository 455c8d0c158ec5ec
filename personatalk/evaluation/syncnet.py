"""SyncNet with its authors' weights as the judge, where a user gives them: LSE-D, LSE-C and the offset."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.fft import dct
from scipy.signal import medfilt
from torch import Tensor, nn

from personatalk.errors import CheckpointError, MediaError, PersonaTalkError
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.tracking import MediaPipeTracker, track_face
from personatalk.media import Frame, probe_video, read_audio, read_frames
from personatalk.speech.features import SAMPLE_RATE
from personatalk.training.corpus import MANIFEST_RATE, Clip, spread_over_persons

CROP_PX = 224
WINDOW_FRAMES = 5  # of 25 Hz; the sound's window is 20 columns of 100 Hz
MAX_SHIFT = 15  # frames either way
CROP_MARGIN = 0.4  # of half a face box to the sides, twice that below
BORDER = 110  # grey outside the picture
SMOOTHING = 13  # frames of the median over boxes
BATCH = 20
NUM_CEPSTRA, NUM_FILTERS, FFT_SIZE, WINDOW, STEP, LIFTER, EMPHASIS = 13, 26, 512, 400, 160, 22, 0.97


@dataclass(frozen=True, kw_only=True)
class SyncNetFinding:
    """What SyncNet says of a video.

    Attributes:
        offset_s: by which the picture comes after the sound.
        distance: LSE-D, mean distance of the embeddings at the best shift; lower is better.
        confidence: LSE-C, by how much the median shift is worse; higher is better.
    """

    offset_s: float
    distance: float
    confidence: float


class SyncNet(nn.Module):
    """The two streams of SyncNet, under the names that its published weights have.

    Source: Chung and Zisserman 2016, Out of time; sizes as published with the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        flat, low = {"padding": 1}, (0, 1, 1)
        self.netcnnaud = nn.Sequential(
            *_block(nn.Conv2d(1, 64, 3, **flat)), nn.MaxPool2d(1),
            *_block(nn.Conv2d(64, 192, 3, **flat)), nn.MaxPool2d(3, (1, 2)),
            *_block(nn.Conv2d(192, 384, 3, **flat)), *_block(nn.Conv2d(384, 256, 3, **flat)),
            *_block(nn.Conv2d(256, 256, 3, **flat)), nn.MaxPool2d(3, 2),
            *_block(nn.Conv2d(256, 512, (5, 4))),
        )  # fmt: skip
        self.netcnnlip = nn.Sequential(
            *_block(nn.Conv3d(3, 96, (WINDOW_FRAMES, 7, 7), (1, 2, 2))), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), low)), nn.MaxPool3d((1, 3, 3), (1, 2, 2), low),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=low)), *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=low)),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=low)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(256, 512, (1, 6, 6))),
        )  # fmt: skip
        self.netfcaud, self.netfclip = (
            nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024)) for _ in range(2)
        )

    def hear(self, cepstra: Tensor) -> Tensor:
        """Embed windows of sound [N, 1, 13, 20]: [N, 1024]."""
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))

    def see(self, crops: Tensor) -> Tensor:
        """Embed windows of faces [N, 3, 5, 224, 224], blue first, in [0, 255]: [N, 1024]."""
        return self.netfclip(self.netcnnlip(crops).flatten(1))


def _block(layer: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm3d
    return layer, norm(layer.out_channels), nn.ReLU()


def load_syncnet(path: Path) -> SyncNet:
    """Load SyncNet's weights, as published (a pickle, of which only tensors are read) or as safetensors.

    Raises:
        CheckpointError: the file is missing, is no file of weights, or does not fit.
    """
    network = SyncNet()
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(weights, strict=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no weights of SyncNet: {error}") from error
    return network.eval().requires_grad_(False)


def evaluate_syncnet(inputs: EvaluationInputs) -> dict:
    """Let SyncNet judge the clips, and the dubs that `evaluate dubbing` left in the output folder.

    Returns:
        what `report_of` gives: LSE-D, LSE-C, and whether the offset is within a frame of the one known, 0 for dubs.

    Raises:
        PersonaTalkError: no weights are given.
    """
    if inputs.syncnet is None:
        raise PersonaTalkError("SyncNet's weights do not ship with this; give them with --syncnet PATH")
    network = load_syncnet(inputs.syncnet)
    clips = spread_over_persons([c for c in inputs.read_clips() if c.has_sound], inputs.limit)
    rows: dict[str, list[dict[str, float]]] = {"the clips themselves": []}
    for clip in clips:
        for name, video, expected_s in _videos_of(inputs, clip):
            found = judge_video(network, video)
            if found is not None:
                within = abs(found.offset_s - expected_s) * MANIFEST_RATE <= 1 + 1e-6
                figures = {"LSE-D": found.distance, "LSE-C": found.confidence, "within_1_frame": float(within)}
                rows.setdefault(name, []).append(figures)
    return report_of("syncnet", rows, clips=len(clips))


def _videos_of(inputs: EvaluationInputs, clip: Clip) -> Iterable[tuple[str, Path, float]]:
    yield "the clips themselves", inputs.clip_path(clip), clip.offset_s
    dubbed = None if inputs.output is None else inputs.output / f"{clip.name}.dub.mp4"
    if dubbed is not None and dubbed.is_file():
        yield "dubs", dubbed, 0.0


def judge_video(network: SyncNet, video: Path) -> SyncNetFinding | None:
    """Judge a video with sound; None where it has none, or no face for long enough."""
    info = probe_video(video)
    try:
        waveform = read_audio(video)
    except MediaError:
        return None
    with MediaPipeTracker() as tracker:
        frames = ((frame.time, frame.image) for frame in read_frames(video))
        track = track_face(frames, tracker, width=info.width, height=info.height)
    if track.detected.sum() < 2 * WINDOW_FRAMES:
        return None
    boxes = face_boxes(track.landmarks, track.detected)
    crops = crop_faces(read_frames(video), boxes, track.times)
    return compare_streams(*embed_streams(network, crops, cepstra(waveform)))


def face_boxes(landmarks: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Centre and half the side of faces, smoothed over time and held where none was found.

    Args:
        landmarks: [T, 468, 3] px.
        detected: [T] bool.

    Returns:
        [T, 3] px

    Ours: the box is that of the mesh, where SyncNet's authors use a detector's.
    """
    low, high = landmarks[detected, :, :2].min(1), landmarks[detected, :, :2].max(1)
    found = np.concatenate([(low + high) / 2, (high - low).max(1, keepdims=True) / 2], 1)
    frames = np.arange(len(detected))
    held = np.stack([np.interp(frames, frames[detected], column) for column in found.T], 1)
    margin = SMOOTHING // 2
    padded = np.pad(held, ((margin, margin), (0, 0)), "edge")
    return np.stack([medfilt(column, SMOOTHING)[margin : margin + len(held)] for column in padded.T], 1)


def crop_faces(frames: Iterable[Frame], boxes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Cut the faces out at 25 Hz: uint8 [N, 224, 224, 3], blue first.

    Args:
        frames: of the video.
        boxes: [T, 3] of `face_boxes`.
        times: [T] s of the frames.
    """
    grid = np.arange(0, times[-1] - times[0] + 0.5 / MANIFEST_RATE, 1 / MANIFEST_RATE) + times[0]
    nearest = np.abs(times[None] - grid[:, None]).argmin(1)
    wanted, kept = set(nearest.tolist()), {}
    for index, frame in enumerate(frames):
        if index in wanted:
            x, y, half = boxes[index]
            pad = int(half * (1 + 2 * CROP_MARGIN)) + 1
            image = cv2.copyMakeBorder(frame.image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(BORDER,) * 3)
            top, bottom = (int(y + pad + half * share) for share in (-1, 1 + 2 * CROP_MARGIN))
            left, right = (int(x + pad + half * side * (1 + CROP_MARGIN)) for side in (-1, 1))
            face = image[max(top, 0) : bottom, max(left, 0) : right]
            kept[index] = cv2.resize(face, (CROP_PX, CROP_PX))[..., ::-1]
    return np.stack([kept[index] for index in nearest])


def cepstra(waveform: np.ndarray) -> np.ndarray:
    """Mel cepstra [M, 13] at 100 Hz of [S] at 16 kHz, the first of them the energy's logarithm.

    Source: the definition that SyncNet was trained with: 26 mel filters, lifter 22, emphasis .97, no window function.
    """
    sound = waveform.astype(np.float64) * 32768
    sound = np.append(sound[0], sound[1:] - EMPHASIS * sound[:-1])
    count = 1 + max(0, -(-(len(sound) - WINDOW) // STEP))
    padded = np.pad(sound, (0, (count - 1) * STEP + WINDOW - len(sound)))
    power = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP], FFT_SIZE)) ** 2
    power /= FFT_SIZE
    energy, bands = power.sum(1), power @ _filters().T
    logs = np.log(np.where(bands == 0, np.finfo(float).eps, bands))
    values = dct(logs, type=2, axis=1, norm="ortho")[:, :NUM_CEPSTRA]
    values = values * (1 + LIFTER / 2 * np.sin(np.pi * np.arange(NUM_CEPSTRA) / LIFTER))
    values[:, 0] = np.log(np.where(energy == 0, np.finfo(float).eps, energy))
    return values


def _filters() -> np.ndarray:
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), NUM_FILTERS + 2)
    edges = np.floor((FFT_SIZE + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)
    bins = np.arange(FFT_SIZE // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return np.where(bins < centre, rising, falling).clip(min=0) * ((bins >= low) & (bins < high))


@torch.inference_mode()
def embed_streams(network: SyncNet, crops: np.ndarray, heard: np.ndarray) -> tuple[Tensor, Tensor]:
    """Embed every window of faces uint8 [T, 224, 224, 3] and of sound [M, 13]: [N, 1024] each."""
    count = min(len(crops), len(heard) // 4) - WINDOW_FRAMES + 1
    seen, sounds = [], []
    for start in range(0, max(count, 0), BATCH):
        windows = range(start, min(start + BATCH, count))
        faces = np.stack([crops[i : i + WINDOW_FRAMES] for i in windows])
        seen.append(network.see(torch.from_numpy(faces).permute(0, 4, 1, 2, 3).float()))
        columns = np.stack([heard[4 * i : 4 * (i + WINDOW_FRAMES)].T for i in windows])
        sounds.append(network.hear(torch.from_numpy(columns)[:, None].float()))
    return (torch.cat(seen), torch.cat(sounds)) if seen else (torch.zeros(0, 1024), torch.zeros(0, 1024))


def compare_streams(seen: Tensor, sounds: Tensor) -> SyncNetFinding | None:
    """Find the shift at which the embeddings [N, E] are nearest; None where there are none."""
    if not len(seen):
        return None
    padded = nn.functional.pad(sounds, (0, 0, MAX_SHIFT, MAX_SHIFT))
    around = padded.unfold(0, 2 * MAX_SHIFT + 1, 1).transpose(1, 2)  # [N, shifts, E]
    distances = (seen[:, None] - around + 1e-6).norm(dim=-1).mean(0)
    best = int(distances.argmin())
    return SyncNetFinding(
        offset_s=(MAX_SHIFT - best) / MANIFEST_RATE,
        distance=float(distances[best]),
        confidence=float(distances.median() - distances[best]),
    )
