"""Occluders in front of the face: whether synthetic ones, of known masks, are found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from personatalk.errors import NoFaceError
from personatalk.evaluation.geometry.occluders import KINDS, Occluder, make_sprite
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.estimation import refine_face
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import HeadVertices
from personatalk.geometry.face_refinement import GreyWindows
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import LIP_CENTRE, LIP_RADII, FaceMesh
from personatalk.geometry.mouth import apertures_of
from personatalk.geometry.tracking import FaceTrack, MediaPipeTracker, track_face
from personatalk.media import read_frames
from personatalk.occlusion.appearance import HEIGHT, WIDTH, ColourWindows
from personatalk.occlusion.hands import HandTracker
from personatalk.occlusion.network import OccluderNetwork, load_occluder_network
from personatalk.occlusion.segmentation import Occlusion, find_occlusion
from personatalk.training.corpus import Clip, read_track, spread_over_persons

MIN_HIDDEN_SHARE = 0.03  # of the region, from which an occluder should be found
MISSED_SHARE = 0.1  # of an occluder's area; it is missed where less of it is found
CHEEKS = (50, 280)  # vertices where the skin's colour is read
INNER_LIPS = (13, 14)
IOD_PX = 48  # of the windows
WAYS = ("", ", without the network")

Draw = Callable[[int, np.ndarray], object]  # (frame number, image): draws into the image


@dataclass(frozen=True, kw_only=True)
class OcclusionProtocol:
    """What the evaluation of occlusion runs on every clip.

    Attributes:
        inputs: where the clips are.
        mesh: the face mesh.
        network: tells occluders from faces.
    """

    inputs: EvaluationInputs
    mesh: FaceMesh
    network: OccluderNetwork | None

    def frames(self, clip: Clip, draw: Draw | None = None) -> Iterator[np.ndarray]:
        """Read a clip's frames, with something drawn over them."""
        for frame in read_frames(self.inputs.clip_path(clip)):
            image = frame.image.copy()
            if draw:
                draw(frame.index, image)
            yield image

    def track(self, clip: Clip, draw: Draw, track: FaceTrack) -> FaceTrack:
        """Track the face of a clip again, with something drawn over it."""
        with MediaPipeTracker() as tracker:
            frames = zip(track.times, self.frames(clip, draw), strict=False)
            return track_face(frames, tracker, width=track.width, height=track.height)

    def estimate(self, clip: Clip, track: FaceTrack, draw: Draw | None = None) -> tuple[FaceGeometry, list[Occlusion]]:
        """Estimate a clip's geometry and find what is in front of its face, as a dub does, and without the network."""
        geometry = fit_track(track, self.mesh.face_model)
        grey, colours = GreyWindows(geometry), ColourWindows(geometry)
        with HandTracker(geometry) as hands:
            for frame, image in zip(range(len(geometry)), self.frames(clip, draw), strict=False):
                grey.append(image)
                colours.append(image)
                hands.look(frame, image)
        geometry = refine_face(track, geometry, grey, self.mesh)
        seen = hands.hands()
        networks = (self.network, None)
        return geometry, [find_occlusion(geometry, colours, self.mesh, hands=seen, network=n) for n in networks]

    def occluder(self, clip: Clip, geometry: FaceGeometry, kind: str, seed: int) -> Occluder:
        """Make an occluder that fits a clip: in front of its mouth, hands in the colour of its skin."""
        first = int(np.flatnonzero(geometry.valid)[0])
        image = next(image for number, image in enumerate(self.frames(clip)) if number == first)
        corners = np.array(image.shape[1::-1]) - 1
        cheeks = geometry.project(geometry.template[list(CHEEKS)][None], slice(first, first + 1))[0, :, :2].astype(int)
        cheeks = np.clip(cheeks, 2, corners - 2)
        skin = np.concatenate([image[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3) for x, y in cheeks])
        lips = np.tile(geometry.template[list(INNER_LIPS)].mean(0), (len(geometry), 1, 1))
        mouth = np.median(geometry.project(lips)[geometry.valid, 0, :2], 0)
        scale = float(np.median(geometry.scale[geometry.valid]))
        sprite = make_sprite(kind, np.median(skin, 0), seed)
        return Occluder(kind=kind, sprite=sprite, mouth=mouth, scale=scale, num_frames=len(geometry))

    def swap_figures(self, clip: Clip, geometry: FaceGeometry, occluder: Occluder) -> dict[str, float]:
        """Swap the most open mouths with the most closed ones under the same occluder.

        Returns:
            changed_%: by how much the occluder's mask then differs, in % of the region that is rendered anew, where
            the occluder is not.
        """
        cutter = ColourWindows(geometry)
        windows = [cutter.cut(image, t) for t, image in enumerate(self.frames(clip))][: len(geometry)]
        aperture = apertures_of(HeadVertices(self.mesh.face_model, geometry.template, geometry.expression))
        order = np.argsort(aperture[: len(windows)])
        partner = np.empty_like(order)
        partner[order] = order[::-1]
        found = []
        for source in (np.arange(len(windows)), partner):
            colours = ColourWindows(geometry)
            for t, window in enumerate(windows):
                image = put_mouth(window, windows[source[t]], geometry, cutter.window_from_image[t], t)
                occluder.draw(image, t, cutter.window_from_image[t])
                colours.append_window(image)
            found.append(find_occlusion(geometry, colours, self.mesh, network=self.network))
        changed = []
        for t in np.flatnonzero(geometry.valid).tolist():
            if occluder.presence(t):
                truth, region = truth_of(geometry, cutter.window_from_image[t], self.mesh, occluder, t)
                difference = np.abs(mask_of(found[0], t) - mask_of(found[1], t))[region & ~truth]
                changed.append(difference.sum() / 255 / region.sum())
        return {"changed_%": 100 * float(np.mean(changed)) if changed else float("nan")}


def evaluate_occlusion(inputs: EvaluationInputs) -> dict:
    """Measure what is taken for an occluder in clips as they are, and with one drawn over them: one kind a clip.

    Returns:
        what `report_of` gives: a row for the clips as they are, a row for each kind, both also without the network,
        and one for other mouths under the same occluder.
    """
    network = load_occluder_network(inputs.checkpoints)
    protocol = OcclusionProtocol(inputs=inputs, mesh=FaceMesh(inputs.load_face_model()), network=network)
    kinds = [kind + way for kind in ("as it is", *KINDS) for way in WAYS]
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in (*kinds, "other mouths")}
    fired, skipped = {}, []
    clips = spread_over_persons(inputs.read_clips(), inputs.limit)
    for number, clip in enumerate(clips):
        track, kind = read_track(inputs.corpus, clip), KINDS[number % len(KINDS)]
        if track is None:
            skipped.append(clip.name)
            continue
        try:
            geometry, found = protocol.estimate(clip, track)
            occluder = protocol.occluder(clip, geometry, kind, number)
            rows["other mouths"].append(protocol.swap_figures(clip, geometry, occluder))
            for way, occlusion in zip(WAYS, found, strict=True):
                rows["as it is" + way].append(false_figures(occlusion, np.ones(len(geometry), bool)))
                if occlusion.masks:
                    fired[clip.name + way] = sorted(occlusion.masks)
            occluded = protocol.track(clip, occluder.draw_at, track)
            geometry, found = protocol.estimate(clip, occluded, occluder.draw_at)
            for way, occlusion in zip(WAYS, found, strict=True):
                rows[kind + way].append(occluder_figures(geometry, occlusion, protocol.mesh, occluder))
        except NoFaceError:
            skipped.append(clip.name)
    return report_of("occlusion", rows, clips=len(clips) - len(skipped), skipped=skipped, fired=fired)


def false_figures(occlusion: Occlusion, frames: np.ndarray) -> dict[str, float]:
    """What is taken for an occluder in frames [T] bool without one; not a number where there is no such frame."""
    if not frames.any():
        return {"false_share_%": float("nan"), "false_frames_%": float("nan")}
    share = occlusion.share[frames]
    return {"false_share_%": 100 * float(share.mean()), "false_frames_%": 100 * float((share > 0).mean())}


def occluder_figures(
    geometry: FaceGeometry, occlusion: Occlusion, mesh: FaceMesh, occluder: Occluder
) -> dict[str, float]:
    """Compare the masks found with those drawn, inside the region that is rendered anew.

    Returns:
        iou, the mean intersection over union; missed_frames, the share of frames in which less than a tenth is found;
        iou_where_found, of the others; covered, the mean share of the occluder's area; false_*, of the frames before
        and after the occluder.
    """
    ious, shares = [], []
    absent = np.zeros(len(geometry), bool)
    for frame in np.flatnonzero(geometry.valid).tolist():
        truth, region = truth_of(geometry, occlusion.window_from_image[frame], mesh, occluder, frame)
        found = (mask_of(occlusion, frame) > 127) & region
        absent[frame] = occluder.presence(frame) == 0
        if truth.sum() > MIN_HIDDEN_SHARE * region.sum():
            ious.append((truth & found).sum() / (truth | found).sum())
            shares.append((truth & found).sum() / truth.sum())
    iou, share = np.array(ious), np.array(shares)
    return {
        "iou": mean_of(iou),
        "missed_frames": mean_of(share < MISSED_SHARE),
        "iou_where_found": mean_of(iou[share >= MISSED_SHARE]),
        "covered": mean_of(share),
        **false_figures(occlusion, absent),
    }


def mean_of(values: np.ndarray) -> float:
    """Mean, not a number where there is nothing."""
    return float(values.mean()) if len(values) else float("nan")


def mask_of(occlusion: Occlusion, frame: int) -> np.ndarray:
    """[80, 96] in [0, 255], the occlusion found in a frame; 0 where none is."""
    mask = occlusion.mask(frame)
    return np.zeros((HEIGHT, WIDTH)) if mask is None else mask.astype(float)


def truth_of(
    geometry: FaceGeometry, window_from_image: np.ndarray, mesh: FaceMesh, occluder: Occluder, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the occluder hides the region that is rendered anew, and that region: [80, 96] bool each."""
    opacity = occluder.draw(np.zeros((HEIGHT, WIDTH, 3), np.uint8), frame, window_from_image)
    projected = mesh.project(geometry.pose(frame, geometry.template, window_from_image))
    region = mesh.mask(projected, geometry.template, HEIGHT, WIDTH) > 0.05
    return (opacity > 0.5) & region, region


def put_mouth(
    window: np.ndarray, other: np.ndarray, geometry: FaceGeometry, window_from_image: np.ndarray, frame: int
) -> np.ndarray:
    """Blend the mouth of another window into a window of a frame, in a soft ellipse: uint8 [80, 96, 3]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    lips = geometry.project(np.array([[*LIP_CENTRE, 0.0]], np.float32), slice(frame, frame + 1))[0, 0, :2]
    x, y = window_from_image @ np.append(lips, 1)
    radius = np.hypot((columns - x) / (IOD_PX * LIP_RADII[0]), (rows - y) / (IOD_PX * LIP_RADII[1]))
    weight = np.clip((1.15 - radius) / 0.3, 0, 1)[..., None]
    return (window + weight * (other.astype(np.float32) - window)).astype(np.uint8)
