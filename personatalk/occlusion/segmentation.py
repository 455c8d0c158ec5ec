"""Occluder segmentation: hands, microphones and cups in front of the lower face, which a dub leaves as they are.

A network that knows faces and things before them (`network.py`) looks at each frame alone, so it also finds what is
there from the first frame to the last. Hands are found by their shape as well (`hands.py`). What comes and goes is a
region of outliers of the appearance model (`appearance.py`), beyond illumination, misfit and folds of the skin, that
covers enough skin away from the lips. It is grown from there by its own colours: to its edges by mean-field smoothing,
into neighbouring frames, and over the lips, where it competes with the colours of all the clip's mouths. An open mouth
alone is never an occluder, because it does not reach the skin.

Ours: the paper's examples have no occluders; a dub of people's own clips has to leave them alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from personatalk.concurrency import map_in_order, num_workers
from personatalk.geometry.camera import invert_affine, scale_affine
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.mesh import FaceMesh
from personatalk.occlusion.appearance import (
    HEIGHT,
    OUTLIER,
    SHRINK,
    WIDTH,
    Appearance,
    ColourWindows,
    FrameAppearance,
    colour_density,
    density_of,
)
from personatalk.occlusion.hands import draw_hands
from personatalk.occlusion.network import OccluderNetwork, occluder_probability
from personatalk.progress import Tick, no_tick

MIN_SHARE = 0.03  # of the skin, or by the network of the mask, that an occluder must hide in one piece to be believed
MAX_SHARE = 0.8  # above it the shot has another light, or shows another person
WEAK_OUTLIER, WEAK_SHARE = 2.0, 0.01  # enough beside a frame in which one is believed
MIN_RUN_S = 0.12  # s that something is seen for to be believed
INNER_MASK, MIN_ENTRY_PX = 0.5, 8  # what has no part outside of the inner mask did not come in from anywhere
OCCLUDED_SHARE = 0.01  # of the mask; such frames are no references
MIN_LOGIT, MAX_LOGIT, BIAS = -4.0, 4.0, -0.5  # of a pixel's own colour
MAX_LIP_LOGIT = 1.0  # over the lips it counts less than what surrounds them
AGREEMENT, ROUNDS, NEIGHBOURS = 4.0, 6, (7, 7)  # logit that neighbours add who all agree
PROBABLE = 0.5  # of the network, from which a pixel shows something before the face
SURE, SURE_SHARE = 0.9, 0.01  # of the network, and of the skin: what is believed is seen so surely on so much of it,
PLAIN = 0.97  # or so plainly on MIN_SHARE of the mask; of chins that it takes for things it is less sure
LIKELY = 0.2  # of the network; frames in which no pixel reaches it are not kept
STEADY_S = 0.12  # s before and after a frame, over which what stays is told
EDGE_PX = 1.0  # softness, at half the window's size


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """Where something stands in front of a clip's lower face.

    Attributes:
        window_from_image: [T, 2, 3], half the renderer's window.
        masks: frame number to the occluder's mask [80, 96] uint8, compressed; frames without one are missing.
        share: [T] of the region that is rendered anew, hidden.
    """

    window_from_image: np.ndarray
    masks: dict[int, bytes]
    share: np.ndarray

    @property
    def is_occluded(self) -> np.ndarray:
        """[T] bool: too much is hidden for a reference."""
        return self.share > OCCLUDED_SHARE

    def mask(self, frame: int) -> np.ndarray | None:
        """[80, 96] uint8, 255 where the occluder stands, in the window; None where there is none."""
        if frame not in self.masks:
            return None
        return cv2.imdecode(np.frombuffer(self.masks[frame], np.uint8), cv2.IMREAD_GRAYSCALE)

    def on_crop(self, frame: int, crop_from_image: np.ndarray, height: int, width: int) -> np.ndarray | float:
        """Lay a frame's mask over a part of the frame.

        Args:
            frame: number in the clip.
            crop_from_image: [2, 3].
            height: px of the crop.
            width: px of the crop.

        Returns:
            [height, width] in [0, 1]; 0 where nothing is hidden.
        """
        mask = self.mask(frame)
        if mask is None:
            return 0.0
        image_from_window = invert_affine(self.window_from_image[frame])
        affine = crop_from_image[:, :2] @ image_from_window
        affine[:, 2] += crop_from_image[:, 2]
        affine[:, 2] += affine[:, :2].sum(1) * 0.5 - 0.5  # OpenCV counts from the centre of the first pixel
        warped = cv2.warpAffine(mask, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return warped.astype(np.float32) / np.float32(255)


def find_occlusion(
    geometry: FaceGeometry,
    windows: ColourWindows,
    mesh: FaceMesh,
    *,
    hands: dict[int, np.ndarray] | None = None,
    network: OccluderNetwork | None = None,
    tick: Tick = no_tick,
) -> Occlusion:
    """Look for things in front of the lower face of a clip.

    Args:
        geometry: of the clip.
        windows: of its frames; where fewer than there are frames, nothing is found in the rest.
        mesh: the face mesh.
        hands: frame number to the hands before the face, as `HandTracker.hands` gives them.
        network: looks at each frame alone; without it only hands and what comes and goes are found.
        tick: called for each frame.
    """
    appearance = Appearance(mesh, geometry, windows)
    search = FrameSearch(appearance, hands or {}, network)
    frames = [int(frame) for frame in appearance.valid]
    found: dict[int, np.ndarray] = {}

    def look_at(chosen: list[int]) -> None:
        """Keep what is found in some frames."""
        for frame, mask in zip(chosen, map_in_order(search.look, chosen, num_workers()), strict=True):
            if mask is not None:
                found[frame] = mask
            tick()

    look_at([frame for row, frame in enumerate(frames) if row % 2 == 0 or frame in search.hands])
    # where nothing is beside the others, what they show would be too short
    others = sorted(set(frames).difference(search.seen))
    beside = [frame for frame in others if frame - 1 in found or frame + 1 in found]
    look_at(beside)
    for _ in range(len(others) - len(beside)):
        tick()
    if found:
        search.steady(found, frames)
        for order in (frames, frames[::-1]):
            spread_in_time(appearance, found, order)
    kept = filter_over_time(found, geometry.frames_in(MIN_RUN_S))
    share, masks = np.zeros(len(geometry), np.float32), {}
    for frame, mask in kept.items():
        region = appearance.look(frame).mask
        soft = soften(mask)
        share[frame] = (region * soft).sum() / max(255 * region.sum(), 1.0)
        masks[frame] = cv2.imencode(".png", soft)[1].tobytes()
    return Occlusion(window_from_image=windows.window_from_image, masks=masks, share=share)


class FrameSearch:
    """Looks for things before the face in single frames of a clip.

    Args:
        appearance: of the clip's face.
        hands: frame number to the hands before the face.
        network: tells things from faces; None for none.
    """

    def __init__(self, appearance: Appearance, hands: dict[int, np.ndarray], network: OccluderNetwork | None) -> None:
        self.appearance, self.hands, self.network = appearance, hands, network
        self.seen: set[int] = set()
        self._probabilities: dict[int, np.ndarray | None] = {}  # of 255; None where nothing is likely

    def look(self, frame: int) -> np.ndarray | None:
        """Find what stands before the face in a frame, looked at alone: [H, W] bool, None where nothing does."""
        self.seen.add(frame)
        look = self.appearance.look(frame)
        seeds = find_seeds(look)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        if seeds is not None:
            mask |= grow(look, seeds, self.appearance.mouth_colours)
        if self.network is not None:
            mask |= believe(self.probability(frame), look)
        if frame in self.hands:
            hand = draw_hands(self.hands[frame], self.appearance.windows.window_from_image[frame], HEIGHT, WIDTH)
            mask |= hand & ((hand & (look.mask > 0)).sum() > OCCLUDED_SHARE * (look.mask > 0).sum())
        return mask if mask.any() else None

    def probability(self, frame: int) -> np.ndarray:
        """[H, W] in [0, 1], how probably something stands before the face of a frame; 0 without a network."""
        if self.network is None:
            return np.zeros((HEIGHT, WIDTH), np.float32)
        if frame not in self._probabilities:
            geometry, mesh, windows = self.appearance.geometry, self.appearance.mesh, self.appearance.windows
            head = mesh.face_model.vertices(geometry.template, geometry.expression[frame : frame + 1])[0]
            pose = geometry.pose(frame, head, scale_affine(windows.window_from_image[frame], SHRINK))
            maps = mesh.geometry_map(pose, mesh.project(pose))
            probability = occluder_probability(self.network, windows.rgb(frame), maps)
            is_likely = probability.max() > LIKELY
            self._probabilities[frame] = np.round(255 * probability).astype(np.uint8) if is_likely else None
        kept = self._probabilities[frame]
        return np.zeros((HEIGHT, WIDTH), np.float32) if kept is None else kept / np.float32(255)

    def steady(self, found: dict[int, np.ndarray], frames: list[int]) -> None:
        """Add to what was found in frames what the network sees in most of the frames around them: it stays."""
        if self.network is None:
            return
        reach, shot = self.appearance.geometry.frames_in(STEADY_S), self.appearance.geometry.shot
        valid, steady = set(frames), {}
        for frame in frames:
            around = [f for f in range(frame - reach, frame + reach + 1) if f in valid and shot[f] == shot[frame]]
            if 2 * sum(f in found for f in around) > len(around):
                median = np.median([self.probability(f) for f in around], 0)
                steady[frame] = believe(median, self.appearance.look(frame))
        for frame, mask in steady.items():
            if mask.any():
                found[frame] = found.get(frame, mask) | mask


def believe(probability: np.ndarray, look: FrameAppearance) -> np.ndarray:
    """Take what the network holds for things, where it is sure, and it hides enough, and more than lips: [H, W] bool.

    Hysteresis: what is found reaches to where the network thinks a thing likelier than not.
    """
    around = (look.mask > INNER_MASK) & ~look.lips
    found = probability > PROBABLE
    count, labels = cv2.connectedComponents(found.astype(np.uint8), connectivity=4)
    on_skin, plain = (probability > SURE) & look.skin, (probability > PLAIN) & around
    regions = found & around, found & look.lips, on_skin, plain
    hidden, on_lips, on_skin, plain = (np.bincount(labels[region], minlength=count) for region in regions)
    is_sure = (on_skin >= SURE_SHARE * look.skin.sum()) | (plain >= MIN_SHARE * around.sum())
    believed = (hidden >= MIN_SHARE * around.sum()) & (hidden >= on_lips) & is_sure
    believed[0] = False
    return believed[labels]


def find_seeds(look: FrameAppearance) -> np.ndarray | None:
    """Find seeds of an occluder, regions of outliers: [H, W] bool; None where none of them covers enough skin."""
    novel = (look.outlier_distance > OUTLIER) & look.others
    on_skin = novel & look.skin
    num_skin = look.skin.sum()
    if not MIN_SHARE * num_skin <= on_skin.sum() <= MAX_SHARE * num_skin:
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats(on_skin.astype(np.uint8), connectivity=4)
    if len(stats) < 2 or stats[1:, cv2.CC_STAT_AREA].max() < MIN_SHARE * num_skin:
        return None
    count, labels = cv2.connectedComponents(novel.astype(np.uint8), connectivity=4)
    hides = np.bincount(labels[on_skin], minlength=count) >= MIN_SHARE / 4 * num_skin
    hides[0] = False
    return hides[labels]


def grow(
    look: FrameAppearance, seeds: np.ndarray, mouth_colours: np.ndarray, colours: np.ndarray | None = None
) -> np.ndarray:
    """Grow an occluder from its seeds by its colours, to where the face is more likely (mean-field smoothing).

    It must reach outside of the mask, and cover more than lips.

    Args:
        look: of the frame.
        seeds: [H, W] bool.
        mouth_colours: density of the colours of the clip's mouths, from `colour_density`.
        colours: density of the occluder's colours; without them, those at the seeds.

    Returns:
        [H, W] bool
    """
    occluder = density_of(look.lab, colour_density(look.lab[seeds]) if colours is None else colours) + 1e-7
    spread = 3 + look.spread
    square = (((look.lab - look.common) / spread) ** 2).sum(-1)
    face = np.exp(-0.5 * np.minimum(square, 60)) / ((2 * np.pi) ** 1.5 * spread.prod(-1))
    face = np.maximum(face, 1e-6 * (look.outlier_distance < 1)) + 1e-8
    face = np.where(look.lips, np.maximum(face, density_of(look.lab, mouth_colours)), face)
    highest = np.where(look.lips, MAX_LIP_LOGIT, MAX_LOGIT)
    logit = np.clip(np.log(occluder / face), MIN_LOGIT, highest) + BIAS
    logit[seeds] = MAX_LOGIT
    logit = cv2.blur(logit.astype(np.float32), (3, 3))
    share = 1 / (1 + np.exp(-logit))
    for _ in range(ROUNDS):
        share = 1 / (1 + np.exp(-(logit + AGREEMENT * (2 * cv2.blur(share, NEIGHBOURS) - 1))))
    found = share > 0.5
    count, labels = cv2.connectedComponents(found.astype(np.uint8), connectivity=4)
    begun = np.bincount(labels[seeds & found], minlength=count) > 0
    enters = np.bincount(labels[look.mask < INNER_MASK], minlength=count) >= MIN_ENTRY_PX
    beside = np.bincount(labels[~look.lips], minlength=count) > np.bincount(labels[look.lips], minlength=count)
    begun[0] = False
    return (begun & enters & beside)[labels.astype(np.intp)]


def spread_in_time(appearance: Appearance, found: dict[int, np.ndarray], order: list[int]) -> None:
    """Propagate occluders from frame to frame, where the evidence of one frame is too weak.

    Args:
        appearance: of the clip.
        found: frame to mask [H, W] bool; grows.
        order: frames, each after the one that it may follow.
    """
    for before, frame in zip(order, order[1:], strict=False):
        if before not in found or frame in found or abs(frame - before) > 1:
            continue
        if appearance.geometry.shot[before] != appearance.geometry.shot[frame]:
            continue
        look = appearance.look(frame)
        near = cv2.dilate(found[before].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        seeds = (look.outlier_distance > WEAK_OUTLIER) & look.others & near
        if (seeds & look.skin).sum() < WEAK_SHARE * look.skin.sum():
            continue
        colours = colour_density(appearance.look(before).lab[found[before]])
        mask = grow(look, seeds, appearance.mouth_colours, colours)
        if mask.any():
            found[frame] = mask


def filter_over_time(found: dict[int, np.ndarray], min_run: int) -> dict[int, np.ndarray]:
    """Fill masks that drop out for a frame, and drop those that are not seen for `min_run` frames on end."""
    frames, calmed = sorted(found), {}
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    for frame in range(frames[0], frames[-1] + 1) if frames else ():
        before, after = found.get(frame - 1, nothing), found.get(frame + 1, nothing)
        mask = found.get(frame, nothing) | (before & after)
        if mask.any():
            calmed[frame] = mask
    run: list[int] = []
    for frame in [*sorted(calmed), -1]:
        if run and frame != run[-1] + 1:
            if len(run) < min_run:
                for short in run:
                    del calmed[short]
            run = []
        run.append(frame)
    return calmed


def soften(mask: np.ndarray) -> np.ndarray:
    """Give a mask [H, W] bool an edge that fades outwards: [H, W] uint8, 255 wherever the mask is."""
    grown = cv2.dilate(mask.astype(np.float32), np.ones((5, 5), np.uint8))
    soft = cv2.GaussianBlur(grown, (0, 0), EDGE_PX)
    return np.where(mask, 255, np.round(255 * soft)).astype(np.uint8)
