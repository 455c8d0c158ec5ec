"""SyncNet with its authors' weights, where the user gives them, on the clips and on dubs: LSE-D, LSE-C and offset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from scipy.signal import medfilt

from personatalk.errors import MediaError, PersonaTalkError
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.tracking import MediaPipeTracker, track_face
from personatalk.media import Frame, probe_video, read_audio, read_frames
from personatalk.speech.syncnet import (
    CROP_PX,
    FRAME_RATE,
    WINDOW_FRAMES,
    SyncNet,
    SyncNetResult,
    cepstra,
    compare_streams,
    embed_streams,
    load_syncnet,
)
from personatalk.training.corpus import Clip, spread_over_persons

CROP_MARGIN = 0.4  # of half a face box to the sides, twice that below
BORDER = 110  # grey outside the picture
SMOOTHING = 13  # frames of the median over boxes
TOLERANCE_S = 1 / FRAME_RATE + 1e-6


def evaluate_syncnet(inputs: EvaluationInputs) -> dict:
    """Measure the clips, and the dubs that `evaluate dubbing` left in the output folder.

    Returns:
        what `report_of` gives: LSE-D, LSE-C, and whether the offset is within a frame of the known one, 0 for dubs.

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
            result = measure_video(network, video)
            if result is not None:
                within = abs(result.offset_s - expected_s) <= TOLERANCE_S
                figures = {"LSE-D": result.distance, "LSE-C": result.confidence, "within_1_frame": float(within)}
                rows.setdefault(name, []).append(figures)
    return report_of("syncnet", rows, clips=len(clips))


def _videos_of(inputs: EvaluationInputs, clip: Clip) -> Iterable[tuple[str, Path, float]]:
    yield "the clips themselves", inputs.clip_path(clip), clip.offset_s
    dubbed = None if inputs.output is None else inputs.output / f"{clip.name}.dub.mp4"
    if dubbed is not None and dubbed.is_file():
        yield "dubs", dubbed, 0.0


def measure_video(network: SyncNet, video: Path) -> SyncNetResult | None:
    """Measure a video with sound; None where it has no sound, or no face for long enough."""
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
    """Centre and half the side of the face boxes, median-filtered over time and interpolated where none was found.

    Args:
        landmarks: [T, 468, 3] px.
        detected: [T] bool.

    Returns:
        [T, 3] px

    Ours: the box is that of the mesh, since a second face detector, as SyncNet's authors use, would add nothing.
    """
    low, high = landmarks[detected, :, :2].min(1), landmarks[detected, :, :2].max(1)
    found = np.concatenate([(low + high) / 2, (high - low).max(1, keepdims=True) / 2], 1)
    frames = np.arange(len(detected))
    filled = np.stack([np.interp(frames, frames[detected], column) for column in found.T], 1)
    margin = SMOOTHING // 2
    padded = np.pad(filled, ((margin, margin), (0, 0)), "edge")
    return np.stack([medfilt(column, SMOOTHING)[margin : margin + len(filled)] for column in padded.T], 1)


def crop_faces(frames: Iterable[Frame], boxes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Crop the faces at 25 Hz: uint8 [N, 224, 224, 3] BGR.

    Args:
        frames: of the video.
        boxes: [T, 3] of `face_boxes`.
        times: [T] s of the frames.
    """
    grid = np.arange(0, times[-1] - times[0] + 0.5 / FRAME_RATE, 1 / FRAME_RATE) + times[0]
    nearest = np.abs(times[None] - grid[:, None]).argmin(1)
    wanted, crops = set(nearest.tolist()), {}
    for index, frame in enumerate(frames):
        if index in wanted:
            x, y, half = boxes[index]
            pad = int(half * (1 + 2 * CROP_MARGIN)) + 1
            image = cv2.copyMakeBorder(frame.image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(BORDER,) * 3)
            top, bottom = (int(y + pad + half * share) for share in (-1, 1 + 2 * CROP_MARGIN))
            left, right = (int(x + pad + half * side * (1 + CROP_MARGIN)) for side in (-1, 1))
            face = image[max(top, 0) : bottom, max(left, 0) : right]
            crops[index] = cv2.resize(face, (CROP_PX, CROP_PX))[..., ::-1]
    return np.stack([crops[index] for index in nearest])
