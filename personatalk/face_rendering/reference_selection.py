"""Which frames the renderer may look at: lip references, face references. Pure functions of geometry and time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import cdist

from personatalk.face_rendering.config import RendererConfig
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import HeadVertices, smoothstep
from personatalk.geometry.lip_refinement import registered_frames
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import apertures_of, lip_descriptors

MIN_GAP_S = 0.32  # s between a target and its references; nearer ones would show the true mouth
FADE_S = 0.28, 0.44  # s; from the first a reference begins to have weight, from the second on it has all of it
TIME_TOLERANCE_S = 1e-3  # of timestamps
NIL = 1e-5  # of the greatest prior weight: the network raises none by more than some ten times
LEAST_FACING = 0.2  # cosine up to which a target hardly shows its own skin
SHOWN = 0.1, 0.4  # shares of the target's cosine at which a reference shows nothing, and all
SELF_OCCLUSION_WEIGHT = 0.4  # IOD of lip shape that a mouth is worth of which nothing is seen
MAX_CANDIDATES = 400
OTHER_CLIP_S = 1e5  # s; stands for the distance in time of a frame of another clip
LIP_FOCUS, FACE_FOCUS = 2.0, 1.0  # powers of the weights: measured, fewer references are sharper, more are calmer
LIP_BANK_SIZE, FACE_BANK_SIZE = 48, 256  # at most; measured, twice the lips are hardly better
FACE_STRIDE_S = 0.16  # s between face references, more in long clips; half of it brings .05 dB and switches more
BANK_PIXELS = 120e6  # of all references together, which are held in memory; large faces have fewer
MIN_LIP_BANK, MIN_FACE_BANK = 16, 16
ANY_LIGHT = -1  # of frames whose light too few others share: all may be their references
MIN_CLEAR_FRAMES = 24  # fewer without an occluder are too few to choose references from
MAX_TEXTURES = 200  # of a clip, from which the texture prior learns; more take longer


@dataclass(frozen=True, kw_only=True)
class ReferenceCandidates:
    """The frames of a clip that serve as references, and what ranking them for a target needs to know.

    Attributes:
        lip_frames: [L] frame numbers.
        lip_descriptors: [L, D].
        lip_rotations: [L, 3, 3] camera_from_head.
        face_frames: [F] frame numbers.
        texture_frames: [X] frame numbers, of which the texture prior learns.
        times: [T] s, of all frames of the clip.
        lights: [T] number of what is lit alike, or ANY_LIGHT.
        mouth_normals: [P, 3] of the skin around the mouth, unit length, into the head.
    """

    lip_frames: np.ndarray
    lip_descriptors: np.ndarray
    lip_rotations: np.ndarray
    face_frames: np.ndarray
    texture_frames: np.ndarray
    times: np.ndarray
    lights: np.ndarray
    mouth_normals: np.ndarray

    @property
    def frames(self) -> set[int]:
        """Frame numbers whose pixels are needed."""
        return {*self.lip_frames.tolist(), *self.face_frames.tolist(), *self.texture_frames.tolist()}

    def among(self, frames: set[int]) -> ReferenceCandidates:
        """Keep the lip and face references whose frame number is in a set."""
        kept = np.array([int(frame) in frames for frame in self.lip_frames], bool)
        return replace(
            self,
            lip_frames=self.lip_frames[kept],
            lip_descriptors=self.lip_descriptors[kept],
            lip_rotations=self.lip_rotations[kept],
            face_frames=np.array([frame for frame in self.face_frames if int(frame) in frames], int),
        )


@dataclass(frozen=True, kw_only=True)
class RankedReferences:
    """The references of one target.

    Attributes:
        lip_frames: [K] frame numbers.
        lip_log_weights: [K] prior of Lip-Attention.
        face_frames: [M] frame numbers.
        face_log_weights: [M] prior of Face-Attention.
    """

    lip_frames: np.ndarray
    lip_log_weights: np.ndarray
    face_frames: np.ndarray
    face_log_weights: np.ndarray

    def active(self) -> RankedReferences:
        """Leave out references without any say, so that no work is done for them."""
        lip, face = active_references(self.lip_log_weights), active_references(self.face_log_weights)
        return RankedReferences(
            lip_frames=self.lip_frames[lip],
            lip_log_weights=self.lip_log_weights[lip],
            face_frames=self.face_frames[face],
            face_log_weights=self.face_log_weights[face],
        )


def choose_candidates(
    geometry: FaceGeometry,
    mesh: FaceMesh,
    targets: np.ndarray,
    *,
    strategy: str = "coverage",
    is_occluded: np.ndarray | None = None,
) -> ReferenceCandidates:
    """Choose the frames of a clip that serve as references.

    Args:
        geometry: of the clip that gives the references.
        mesh: the face mesh.
        targets: [M, D] lip descriptors of the mouths to be rendered.
        strategy: how lip references are chosen, see `select_lip_references`.
        is_occluded: [T] bool; frames with something in front of the face are passed over.
    """
    head_vertices = HeadVertices(mesh.face_model, geometry.template, geometry.expression)
    descriptors = lip_descriptors(head_vertices, geometry.template, geometry.rotation)
    registered = clear_frames(registered_frames(geometry.valid), is_occluded)
    shown = clear_frames(np.flatnonzero(geometry.valid), is_occluded)
    lights = reference_lights(geometry, shown)
    num_lip, num_face = bank_sizes(window_from_image(geometry)[shown])
    aperture = apertures_of(head_vertices)
    lip_frames, face_frames = [], []
    numbers = np.unique(lights[shown])
    for light in numbers:  # each has its share, so that frames of every light find theirs
        lit, seen = registered[lights[registered] == light], shown[lights[shown] == light]
        lit, share = lit if len(lit) else seen, len(seen) / len(shown)
        count = max(round(num_lip * share), min(num_lip // len(numbers), MIN_LIP_BANK))
        chosen = select_lip_references(descriptors[lit], targets, count, strategy=strategy, aperture=aperture[lit])
        lip_frames.append(lit[chosen])
        most = max(2, round(num_face * share))
        face_frames.append(spread_frames(seen, int(np.clip(len(seen) // geometry.frames_in(FACE_STRIDE_S), 2, most))))
    lips = np.sort(np.concatenate(lip_frames))
    return ReferenceCandidates(
        lip_frames=lips,
        lip_descriptors=descriptors[lips],
        lip_rotations=geometry.rotation[lips],
        face_frames=np.sort(np.concatenate(face_frames)),
        texture_frames=spread_frames(shown, MAX_TEXTURES),
        times=geometry.times,
        lights=lights,
        mouth_normals=mesh.mouth_normals(geometry.template),
    )


def reference_lights(geometry: FaceGeometry, shown: np.ndarray) -> np.ndarray:
    """Say which frames may be references of each other by their light: [T] its number, or ANY_LIGHT.

    Args:
        geometry: of the clip.
        shown: [N] frames that may serve. A light that fewer than MIN_CLEAR_FRAMES of them share leaves no choice, so
            that its frames take their references anywhere, and colour transfer has to bridge the difference.
    """
    numbers, counts = np.unique(geometry.light[shown], return_counts=True)
    rich = numbers[counts >= MIN_CLEAR_FRAMES]
    if not len(rich):
        return np.zeros(len(geometry), int)
    return np.where(np.isin(geometry.light, rich), geometry.light, ANY_LIGHT)


def spread_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """Choose at most `count` of the frames [N], evenly spread over them."""
    return frames[np.unique(np.linspace(0, len(frames) - 1, min(len(frames), count)).astype(int))]


def bank_sizes(window_from_image: np.ndarray) -> tuple[int, int]:
    """How many lip and face references a clip may have, so that their pixels fit in memory.

    Args:
        window_from_image: [T, 2, 3] of the frames there are.
    """
    pixels = np.median(WINDOW_WIDTH * WINDOW_HEIGHT / np.linalg.det(window_from_image[:, :, :2]))
    fitting = int(BANK_PIXELS / pixels)
    num_lip = min(max(fitting // 3, MIN_LIP_BANK), LIP_BANK_SIZE)
    return num_lip, min(max(fitting - num_lip, MIN_FACE_BANK), FACE_BANK_SIZE)


def clear_frames(frames: np.ndarray, is_occluded: np.ndarray | None) -> np.ndarray:
    """Drop the frames [N] with an occluder, as long as enough others are left."""
    if is_occluded is None:
        return frames
    clear = frames[~is_occluded[frames]]
    return clear if len(clear) >= MIN_CLEAR_FRAMES else frames


def select_lip_references(
    available: np.ndarray,
    targets: np.ndarray,
    count: int,
    *,
    strategy: str = "coverage",
    aperture: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Choose the fixed set of lip references of a clip.

    Args:
        available: [N, D] descriptors of the frames there are.
        targets: [M, D] descriptors of the mouths to be rendered.
        count: how many to choose; fewer are returned where there are fewer.
        strategy: "coverage" minimises the mean distance from each target mouth to its nearest reference;
            "paper" spaces them evenly by lip aperture; "random"; "nearest" takes the frames nearest to the mean target.
        aperture: [N] IOD, lip aperture of the frames there are, for the strategy "paper".

    Returns:
        [R] indices into `available`, ascending.

    Ours: the paper says that lip references are chosen by content, not how; even spacing by lip aperture is
        how IP_LAP does it.
    """
    count = min(count, len(available))
    if strategy == "random":
        return np.sort(np.random.default_rng(seed).choice(len(available), count, replace=False))
    if strategy == "paper":
        if aperture is None:
            raise ValueError("the strategy 'paper' needs the frames' lip aperture")
        order = np.argsort(aperture, kind="stable")
        return np.sort(order[np.linspace(0, len(order) - 1, count).astype(int)])
    if strategy == "nearest":
        return np.sort(np.argsort(np.linalg.norm(available - targets.mean(0), axis=1), kind="stable")[:count])
    return _cover(available, targets, count)


def _cover(available: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
    """Greedy facility location: each step takes the frame that lowers the mean nearest distance most."""
    candidates = np.unique(np.linspace(0, len(available) - 1, MAX_CANDIDATES).astype(int))
    wanted = np.unique(np.linspace(0, len(targets) - 1, MAX_CANDIDATES).astype(int))
    distance = cdist(available[candidates], targets[wanted])
    nearest = np.full(len(wanted), np.inf)
    chosen: list[int] = []
    for _ in range(count):
        cost = np.minimum(distance, nearest).mean(1)
        cost[chosen] = np.inf
        chosen.append(int(cost.argmin()))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return np.sort(candidates[chosen])


def self_occlusion(normals: np.ndarray, bank: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How much of what a target shows of the mouth is hidden in references, because the head was turned away.

    Args:
        normals: [P, 3] of the skin around the mouth, into the head, as long as 1.
        bank: [N, 3, 3] camera_from_head of the references.
        target: [3, 3] of the target.

    Returns:
        [N] in [0, 1]

    Ours: in a short clip with a turning head, mouths that the reference did not show were pasted askew.
    """
    normals = normals[normals @ target[2] > LEAST_FACING]
    if not len(normals):  # the back of a head
        return np.zeros(len(bank), np.float32)
    return 1 - smoothstep(bank[:, 2] @ normals.T / (normals @ target[2]), *SHOWN).mean(1)


def rank_references(
    candidates: ReferenceCandidates,
    config: RendererConfig,
    descriptor: np.ndarray,
    rotation: np.ndarray,
    time: float | None,
    *,
    light: int = ANY_LIGHT,
) -> RankedReferences:
    """Rank the references of a clip for one target.

    Args:
        candidates: of the clip.
        config: says how many references attend.
        descriptor: [D] lip descriptor of the target.
        rotation: [3, 3] camera_from_head of the target.
        time: s of the target in that clip; None where the target is of another clip.
        light: of the target; what is lit otherwise has no say.
    """
    lip_gap, face_gap = (
        np.full(len(frames), np.inf) if time is None else np.abs(candidates.times[frames] - time)
        for frames in (candidates.lip_frames, candidates.face_frames)
    )
    if light != ANY_LIGHT:
        lip_gap[candidates.lights[candidates.lip_frames] != light] = 0
        face_gap[candidates.lights[candidates.face_frames] != light] = 0
    occluded = self_occlusion(candidates.mouth_normals, candidates.lip_rotations, rotation)
    lips, lip_log_weights = rank_lip_references(
        candidates.lip_descriptors, descriptor, lip_gap, config.num_lip_references, occluded
    )
    faces, face_log_weights = rank_face_references(face_gap, config.num_face_references)
    return RankedReferences(
        lip_frames=candidates.lip_frames[lips],
        lip_log_weights=lip_log_weights,
        face_frames=candidates.face_frames[faces],
        face_log_weights=face_log_weights,
    )


def gap_weight(gap_s: np.ndarray) -> np.ndarray:
    """Weight of references by their distance in time [N] s: 0 nearer than MIN_GAP_S, fading in, then 1."""
    return smoothstep(gap_s, *FADE_S) * is_far(gap_s)


def is_far(gap_s: np.ndarray) -> np.ndarray:
    """Whether frames so far away in time [...] s know nothing of the target's mouth: [...] bool."""
    return gap_s >= MIN_GAP_S - TIME_TOLERANCE_S


def rank_lip_references(
    bank: np.ndarray, target: np.ndarray, gap_s: np.ndarray, count: int, occluded: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Pick the references of the bank that resemble a target, with weights that fade in and out.

    A reference's weight reaches zero where the next one would take its place, and where it comes too near
    in time, so that nothing jumps when the choice changes.

    Args:
        bank: [N, D] descriptors.
        target: [D].
        gap_s: [N] s between target and each reference.
        count: K, how many.
        occluded: [N] of `self_occlusion`.

    Returns:
        indices [K] into the bank, log_weights [K].
    """
    distance = np.linalg.norm(bank - target, axis=1) + SELF_OCCLUSION_WEIGHT * occluded + 1e-4
    return _rank(distance, gap_weight(gap_s), count, focus=LIP_FOCUS)


def rank_face_references(gap_s: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pick the face references nearest in time, at least MIN_GAP_S away.

    Args:
        gap_s: [N] s between target and each reference.
        count: K.

    Returns:
        indices [K], log_weights [K].
    """
    distance = np.where(np.isfinite(gap_s), gap_s, OTHER_CLIP_S) + 1e-6
    return _rank(distance, gap_weight(gap_s), count, focus=FACE_FOCUS)


def _rank(distance: np.ndarray, allowed: np.ndarray, count: int, *, focus: float) -> tuple[np.ndarray, np.ndarray]:
    """Take the K nearest of those that are allowed; their weight falls to zero at the distance of the next."""
    order = np.argsort(np.where(allowed > 0, distance, np.inf), kind="stable")
    chosen = order[np.arange(count) % min(count, len(order))]
    has_next = len(order) > count and allowed[order[count]] > 0
    beyond = distance[order[count]] if has_next else 1.5 * distance[chosen].max()
    weight = allowed[chosen] * np.maximum(1 - (distance[chosen] / beyond) ** 2, 0)
    return chosen, focus * np.log(weight + 2e-9).astype(np.float32)


def active_references(log_weights: np.ndarray) -> np.ndarray:
    """Say which references [K] have any say by their log-weights."""
    return np.flatnonzero(log_weights >= log_weights.max() + np.log(NIL))
