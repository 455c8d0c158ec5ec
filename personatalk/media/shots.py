"""Shot boundaries: hard cuts, dissolves and fades, found in one pass over the frames.

Consecutive frames are compared at 64 x 40 pixels, block by block with motion compensation, so that pans, zooms and
gestures cost little. A boundary is where no frame before resembles a frame after: what flashes up or passes by, and
is then gone, ends no shot.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from personatalk.kernels import kernel
from personatalk.media.picture import Pixels, shrunk

WIDTH, HEIGHT = 64, 40  # px, of the frames that are compared
BLOCK = 8  # px
SEARCH = 6  # px in each direction, about a tenth of the picture
MIN_CONTRAST = 6.0  # levels; standard deviation of luma below which a frame shows nothing
NOISE = 1.0  # levels of luma; coding alone changes a block by as much
STILL = 0.1  # of its texture; a block that differs less in its place is not searched for
CHANGED = 0.5  # of its texture must be new in a block that counts as changed
MIN_TEXTURED = 16  # blocks of 40; fewer must not decide
CUT_DISSIMILARITY = 0.4
CUT_RATIO = 1.8  # of a cut's dissimilarity to the usual one around it
RETURN_RATIO = 0.6  # a frame after that differs from one before by less than this share of the cut: nothing ended
LEVEL_S = 0.5  # around a cut, for the usual dissimilarity
MIN_SHOT_S = 0.3
RETURN_S = 0.4  # longest flash or passing object
DISSOLVE_SPANS_S = (0.16, 0.32, 0.64, 1.0)  # from the middle of a dissolve to either side
DISSOLVE_DISSIMILARITY = 0.5
DISSOLVE_RESIDUAL = 0.25  # of what a mixture of both sides leaves unexplained
MIXTURE = (0.3, 0.7)  # share of the later side in the middle
CLEAR = 0.7  # of the contrast of the clearest frame near by
PURE = 0.08  # share of the other side up to which a frame is outside of a dissolve


@dataclass(frozen=True, kw_only=True)
class Shots:
    """The shots of a video.

    Attributes:
        first: [S] each shot's first frame.
        last: [S] each shot's last frame; frames between two shots belong to a dissolve or fade.
        num_frames: of the video.
    """

    first: np.ndarray
    last: np.ndarray
    num_frames: int

    def labels(self) -> np.ndarray:
        """[T] number of each frame's shot, -1 inside a dissolve or fade."""
        labels = np.full(self.num_frames, -1)
        for number, (first, last) in enumerate(zip(self.first, self.last, strict=True)):
            labels[first : last + 1] = number
        return labels


@dataclass(frozen=True, kw_only=True, eq=False)
class _Small:
    """A frame reduced for comparison.

    Attributes:
        index: of the frame.
        contrast: standard deviation of its luma, levels.
        plain: [3, HEIGHT, WIDTH] YUV.
        luma: [HEIGHT, WIDTH], normalised to mean 0 and deviation 1.
        means: [HEIGHT - BLOCK + 1, WIDTH - BLOCK + 1] of the blocks of `luma` that start at each pixel.
    """

    index: int
    contrast: float
    plain: np.ndarray
    luma: np.ndarray
    means: np.ndarray


class ShotDetector:
    """Finds shot boundaries while frames stream by; it holds two seconds of small frames.

    Args:
        fps: frames per second, the average where the rate varies.
    """

    def __init__(self, fps: float) -> None:
        self._level, self._return = (max(2, round(fps * seconds)) for seconds in (LEVEL_S, RETURN_S))
        self._shortest = max(2, round(fps * MIN_SHOT_S))
        self._spans = [max(2, round(fps * seconds)) for seconds in DISSOLVE_SPANS_S]
        self._delay = max(self._level, self._return, self._spans[-1])  # frames between a frame and its judgement
        self._recent: deque[_Small] = deque(maxlen=2 * self._delay + 1)  # without frames that show nothing
        self._scores: deque[float] = deque(maxlen=2 * self._delay + 1)  # of each against the one before
        self._boundaries: list[tuple[int, int]] = []  # last frame before, first frame after
        self._dissolve: tuple[tuple[int, float], int, int] | None = None  # the best of those that overlap
        self._num_frames = 0

    def add(self, image: Pixels) -> bool:
        """Take the next frame, uint8 [H, W, 3] RGB; true where a shot may begin, which is judged a second later."""
        frame = _reduced(image, self._num_frames)
        self._num_frames += 1
        if frame is None:
            return False
        follows_blank = bool(self._recent) and frame.index > self._recent[-1].index + 1
        self._scores.append(dissimilarity(frame, self._recent[-1]) if self._recent else 0.0)
        self._recent.append(frame)
        if len(self._recent) > self._delay:
            self._judge(len(self._recent) - 1 - self._delay)
        return follows_blank or self._scores[-1] >= CUT_DISSIMILARITY

    def finish(self) -> Shots:
        """Return the shots, when all frames were added."""
        for position in range(max(0, len(self._recent) - self._delay), len(self._recent)):
            self._judge(position)
        self._settle()
        if not self._num_frames:
            return Shots(first=np.zeros(0, int), last=np.zeros(0, int), num_frames=0)
        first = np.array([0] + [after for _, after in self._boundaries])
        last = np.array([before for before, _ in self._boundaries] + [self._num_frames - 1])
        return Shots(first=first, last=last, num_frames=self._num_frames)

    def _judge(self, position: int) -> None:
        """Look for a boundary before the frame at a position of those that are held."""
        if position == 0:
            return
        early, late = self._recent[position - 1], self._recent[position]
        if self._dissolve and late.index > self._dissolve[2]:
            self._settle()
        is_boundary = self._ends_in_blank(position) if late.index > early.index + 1 else self._is_cut(position)
        if is_boundary:
            self._dissolve = None
            self._append(early.index, late.index)
            return
        found = self._dissolve_at(position)
        if found and found[1] >= self._start and (self._dissolve is None or found < self._dissolve):
            self._dissolve = found

    @property
    def _start(self) -> int:
        return self._boundaries[-1][1] if self._boundaries else 0

    def _settle(self) -> None:
        if self._dissolve:
            self._append(*self._dissolve[1:])
            self._dissolve = None

    def _append(self, last: int, first: int) -> None:
        """Add a boundary; what would be too short for a shot between two of them is a transition."""
        if self._boundaries and last - self._boundaries[-1][1] < self._shortest:
            last = self._boundaries.pop()[0]
        self._boundaries.append((last, first))

    def _is_cut(self, position: int) -> bool:
        score = self._scores[position]
        if score < CUT_DISSIMILARITY:
            return False
        scores, frames = list(self._scores), list(self._recent)
        sides = scores[max(1, position - self._level) : position], scores[position + 1 : position + 1 + self._level]
        usual = max(float(np.percentile(side, 70)) if side else 0.0 for side in sides)
        if score < CUT_RATIO * usual:
            return False
        before = frames[max(0, position - self._return) : position]
        after = frames[position : position + self._return]
        return all(dissimilarity(late, early) > RETURN_RATIO * score for late in after for early in before)

    def _ends_in_blank(self, position: int) -> bool:
        """Tell whether another shot comes out of black or white frames than went into them."""
        frames = list(self._recent)
        before = _clear(frames[max(0, position - self._level) : position])
        after = _clear(frames[position : position + self._level])
        return all(dissimilarity(late, early) > CUT_DISSIMILARITY for late in after for early in before)

    def _dissolve_at(self, position: int) -> tuple[tuple[int, float], int, int] | None:
        """Return a dissolve around a position: how well placed it is, last frame before it, first frame after it."""
        for span in reversed(self._spans):  # the longest sees both sides as they are
            if position < span or position + span >= len(self._recent):
                continue
            frames = [self._recent[position + offset] for offset in range(-span, span + 1)]
            early, middle, late = frames[0], frames[span], frames[-1]
            if late.index - early.index > 2 * span:  # a blank between them
                continue
            share, residual = mixture(middle.plain, early.plain, late.plain)
            if not MIXTURE[0] <= share <= MIXTURE[1] or residual > DISSOLVE_RESIDUAL:
                continue
            if dissimilarity(late, early) > DISSOLVE_DISSIMILARITY:
                shares = [mixture(frame.plain, early.plain, late.plain)[0] for frame in frames]
                last = max(i for i in range(span) if shares[i] < PURE)
                first = min(i for i in range(span, 2 * span + 1) if shares[i] > 1 - PURE)
                return (-span, abs(share - 0.5)), early.index + last, early.index + first
        return None


def _clear(frames: list[_Small]) -> list[_Small]:
    """Leave out frames that have faded."""
    most = max(frame.contrast for frame in frames)
    return [frame for frame in frames if frame.contrast > CLEAR * most]


def dissimilarity(first: _Small, second: _Small) -> float:
    """Tell how little of a frame can be predicted from another by moving its blocks: 0 all of it, about 1 none.

    The geometric mean of what is new in the luma of all blocks and of the share of blocks with much that is new.
    """
    noise = NOISE / min(first.contrast, second.contrast)
    residual, texture, changed, textured = _block_differences(first.luma, first.means, second.luma, second.means, noise)
    return float(np.sqrt(residual / texture * changed / max(textured, MIN_TEXTURED)))


def mixture(middle: np.ndarray, early: np.ndarray, late: np.ndarray) -> tuple[float, float]:
    """Explain a frame as a mixture of two others, by least squares.

    Returns:
        share of the later one, and what is left unexplained for the distance of the two, 0 to 1.
    """
    way = (late - early).ravel()
    length = float(way @ way)
    if length < 1e-6:
        return 0.0, 1.0
    start = (middle - early).ravel()
    share = float(start @ way) / length
    rest = start - share * way
    return share, float(np.sqrt(rest @ rest / length))


def _reduced(image: Pixels, index: int) -> _Small | None:
    """Reduce a frame; None if it shows nothing, as in the black of a fade."""
    red, green, blue = cv2.split(shrunk(image, WIDTH, HEIGHT))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    contrast = float(luma.std())
    if contrast < MIN_CONTRAST:
        return None
    plain = np.stack((luma, 0.564 * (blue - luma), 0.713 * (red - luma)))
    normal = (luma - luma.mean()) / np.float32(contrast)
    means = cv2.boxFilter(normal, -1, (BLOCK, BLOCK), anchor=(0, 0))[: HEIGHT - BLOCK + 1, : WIDTH - BLOCK + 1]
    return _Small(index=index, contrast=contrast, plain=plain, luma=normal, means=np.ascontiguousarray(means))


@kernel("float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1], float64", fastmath=True)
def _block_differences(
    frame: np.ndarray, means: np.ndarray, other: np.ndarray, other_means: np.ndarray, noise: float
) -> tuple[float, float, int, int]:
    """Compare the luma of all blocks with their best matches in another frame.

    Blocks are matched without their means, and a change of the mean costs a quarter.

    Returns:
        sums of the difference and of the texture, numbers of changed blocks and of blocks with texture.
    """
    residual, texture, changed, textured = np.float32(0), np.float32(1e-6), 0, 0
    floor = np.float32(noise * BLOCK * BLOCK)
    for top in range(0, HEIGHT, BLOCK):
        for left in range(0, WIDTH, BLOCK):
            block, mean = frame[top : top + BLOCK, left : left + BLOCK], means[top, left]
            own = _texture(block, mean) + floor
            best, best_top, best_left = _cost(block, mean, other, other_means, top, left, np.float32(1e9)), top, left
            if best > STILL * own:
                for other_top in range(max(0, top - SEARCH), min(HEIGHT - BLOCK, top + SEARCH) + 1):
                    for other_left in range(max(0, left - SEARCH), min(WIDTH - BLOCK, left + SEARCH) + 1):
                        cost = _cost(block, mean, other, other_means, other_top, other_left, best)
                        if cost < best:
                            best, best_top, best_left = cost, other_top, other_left
            match = other[best_top : best_top + BLOCK, best_left : best_left + BLOCK]
            own = max(own, _texture(match, other_means[best_top, best_left]) + floor)
            residual += best
            texture += own
            if own > 3 * floor:
                textured += 1
                changed += best > CHANGED * own
    return residual, texture, changed, textured  # pyright: ignore[reportReturnType] (compiled by numba)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _cost(
    block: np.ndarray, mean: np.float32, other: np.ndarray, means: np.ndarray, top: int, left: int, most: np.float32
) -> np.float32:
    """Sum the differences between a block and a place in another frame, or stop where they exceed `most`."""
    shift = mean - means[top, left]
    cost = abs(shift) * np.float32(0.25 * BLOCK * BLOCK)
    for y in range(BLOCK):
        for x in range(BLOCK):
            cost += abs(block[y, x] - other[top + y, left + x] - shift)
        if cost >= most:
            break
    return cost


@numba.njit(nogil=True, cache=True, fastmath=True)
def _texture(block: np.ndarray, mean: np.float32) -> np.float32:
    """Sum the distances of a block's luma from its mean."""
    total = np.float32(0)
    for y in range(BLOCK):
        for x in range(BLOCK):
            total += abs(block[y, x] - mean)
    return total
