"""A face that the tracker lost for a while and found again: where it was in between, by registration."""

from __future__ import annotations

import cv2
import numpy as np

from personatalk.media.picture import Pixels

REGION = 3.0  # side of what is kept of a frame without the face, in sides of the face before
PATCH_PX = 144  # of that region
STILL_THERE = 0.7  # correlation with how the face looked before and after, below which something hides it
AGREEMENT = 0.08  # widths of the face; how far apart it may be found from before and from after
BLUR_PX = 3  # of patches while they are registered
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)


def cut_patch(image: Pixels, box: np.ndarray) -> np.ndarray:
    """[144, 144] float32: grey, REGION as large as a box [4] px (left, top, right, bottom), around it."""
    fine = 4 * PATCH_PX  # so that nothing flickers when it is shrunk
    gain, shift = _to_patch(box)
    affine = np.concatenate([4 * gain * np.eye(2), 4 * shift[:, None]], 1)
    patch = cv2.warpAffine(
        np.asarray(image), affine, (fine, fine), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_AREA).astype(np.float32)


def find_in_gap(patches: list[np.ndarray], box: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """Find a face in the frames of a gap by registering it to how it looked at both ends.

    Ours: in gaps of 1 s, places that are interpolated are 6 % of the distance of the eyes off, registered ones 1.8 %
    (`benchmarks/lost_faces.py`).

    Args:
        patches: T + 2 of them, see `cut_patch`: the last frame that showed the face, those of the gap, and the first
            that shows it again.
        box: [4] px, by which all were cut.
        before: [478, 3] px, landmarks of the first of them.
        after: [478, 3] px, landmarks of the last of them.

    Returns:
        [T, 478, 3] px, float32; None where one of the frames does not show the face, or its place is uncertain.
    """
    gain, shift = _to_patch(box)
    ends = [gain * points[:, :2] + shift for points in (before, after)]
    forward, backward = _register(patches, ends[0]), _register(patches[::-1], ends[1])
    if forward is None or backward is None:
        return None
    backward = backward[::-1]
    width = np.ptp(ends[0][:, 0])
    if np.linalg.norm(forward - backward, axis=-1).mean(1).max() > AGREEMENT * width:
        return None
    share = np.linspace(0, 1, len(patches))[1:-1, None, None]
    places = ((1 - share) * forward + share * backward - shift) / gain
    depths = (1 - share) * before[:, 2:] + share * after[:, 2:]
    return np.concatenate([places, depths], 2).astype(np.float32)


def _register(patches: list[np.ndarray], points: np.ndarray) -> np.ndarray | None:
    """Where the points [N, 2] px of the first patch are in those between it and the last: [T, N, 2], None if hidden."""
    mask = cv2.fillConvexPoly(
        np.zeros((PATCH_PX, PATCH_PX), np.uint8), cv2.convexHull(points.astype(np.float32)).astype(np.int32), 255
    )
    affine, places = np.eye(2, 3, dtype=np.float32), []
    for patch in patches[1:-1]:
        try:
            correlation, affine = cv2.findTransformECC(
                patches[0], patch, affine.copy(), cv2.MOTION_AFFINE, STOP, mask, BLUR_PX
            )
        except cv2.error:  # nothing in common
            return None
        if correlation < STILL_THERE:
            return None
        places.append(points @ affine[:, :2].T + affine[:, 2])
    return np.stack(places)


def _to_patch(box: np.ndarray) -> tuple[float, np.ndarray]:
    """Gain and shift [2] from px of a frame to px of the patch that a box [4] cuts."""
    gain = PATCH_PX / (REGION * max(box[2] - box[0], box[3] - box[1]))
    return float(gain), PATCH_PX / 2 - gain * (box[:2] + box[2:]) / 2
