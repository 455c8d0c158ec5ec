"""Are things in front of the face found, and nothing else: where they are drawn over clips, the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from personatalk.occlusion.segmentation import Occlusion, find_occlusion
from personatalk.training.corpus import Clip, read_track, spread_over_persons

HIDES_SHARE = 0.03  # of the region, from which an occluder should be found
CHEEKS = (50, 280)  # vertices where the skin's colour is read

Draw = Callable[[int, np.ndarray], object]  # (frame number, image) -> None: draws into the image


def evaluate_occlusion(inputs: EvaluationInputs) -> dict:
    """Measure what is called occluded in clips as they are, and with something drawn over them: one kind a clip.

    Returns:
        what `report_of` gives: a row for the clips as they are, a row for each kind, and one for other mouths under
        the same occluder.
    """
    mesh = FaceMesh(inputs.load_face_model())
    rows: dict[str, list[dict[str, float]]] = {"as it is": [], **{kind: [] for kind in KINDS}, "other mouths": []}
    fired, skipped = {}, []
    clips = spread_over_persons(inputs.read_clips(), inputs.limit)
    for number, clip in enumerate(clips):
        track = read_track(inputs.corpus, clip)
        if track is None:
            skipped.append(clip.name)
            continue
        try:
            seen = see(inputs, clip, track, mesh)
            kind = KINDS[number % len(KINDS)]
            occluder = occluder_for(inputs, clip, seen[0], kind, number)
            rows["other mouths"].append(swap_mouths(inputs, clip, seen[0], mesh, occluder))
            rows["as it is"].append(false_figures(seen[1], np.ones(len(seen[0]), bool)))
            if seen[1].masks:
                fired[clip.name] = sorted(seen[1].masks)
            drawn = followed(inputs, clip, occluder.draw_at, track)
            rows[kind].append(drawn_figures(*see(inputs, clip, drawn, mesh, occluder.draw_at), mesh, occluder))
        except NoFaceError:
            skipped.append(clip.name)
    return report_of("occlusion", rows, clips=len(clips) - len(skipped), skipped=skipped, fired=fired)


def frames_of(inputs: EvaluationInputs, clip: Clip, draw: Draw | None) -> Iterator[np.ndarray]:
    """Read a clip's frames, with something drawn over them."""
    for frame in read_frames(inputs.clip_path(clip)):
        image = frame.image.copy()
        if draw:
            draw(frame.index, image)
        yield image


def followed(inputs: EvaluationInputs, clip: Clip, draw: Draw, track: FaceTrack) -> FaceTrack:
    """Follow the face of a clip anew, with something drawn over it."""
    with MediaPipeTracker() as tracker:
        frames = zip(track.times, frames_of(inputs, clip, draw), strict=False)
        return track_face(frames, tracker, width=track.width, height=track.height)


def see(
    inputs: EvaluationInputs, clip: Clip, track: FaceTrack, mesh: FaceMesh, draw: Draw | None = None
) -> tuple[FaceGeometry, Occlusion]:
    """Fit a clip and find what is in front of its face, as a dub does."""
    geometry = fit_track(track, mesh.face_model)
    grey, colours = GreyWindows(geometry), ColourWindows(geometry)
    with HandTracker(geometry) as hands:
        for frame, image in zip(range(len(geometry)), frames_of(inputs, clip, draw), strict=False):
            grey.append(image)
            colours.append(image)
            hands.look(frame, image)
    geometry = refine_face(track, geometry, grey, mesh)
    return geometry, find_occlusion(geometry, colours, mesh, hands=hands.hands())


def occluder_for(inputs: EvaluationInputs, clip: Clip, geometry: FaceGeometry, kind: str, seed: int) -> Occluder:
    """Make a thing that fits a clip: before its mouth, hands of its skin's colour."""
    first = int(np.flatnonzero(geometry.valid)[0])
    image = next(image for i, image in enumerate(frames_of(inputs, clip, None)) if i == first)
    corners = np.array(image.shape[1::-1]) - 1
    cheeks = geometry.project(geometry.template[list(CHEEKS)][None], slice(first, first + 1))[0, :, :2].astype(int)
    cheeks = np.clip(cheeks, 2, corners - 2)
    skin = np.concatenate([image[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3) for x, y in cheeks])
    lips = np.tile(geometry.template[[13, 14]].mean(0), (len(geometry), 1, 1))
    mouth = np.median(geometry.project(lips)[geometry.valid, 0, :2], 0)
    scale = float(np.median(geometry.scale[geometry.valid]))
    sprite = make_sprite(kind, np.median(skin, 0), seed)
    return Occluder(kind=kind, sprite=sprite, mouth=mouth, scale=scale, num_frames=len(geometry))


def false_figures(occlusion: Occlusion, frames: np.ndarray) -> dict[str, float]:
    """What is called occluded in frames [T] bool where nothing is."""
    share = occlusion.share[frames]
    return {"false_share_%": 100 * float(share.mean()), "false_frames_%": 100 * float((share > 0).mean())}


def drawn_figures(geometry: FaceGeometry, occlusion: Occlusion, mesh: FaceMesh, occluder: Occluder) -> dict[str, float]:
    """Compare what was found with what was drawn, inside the region that is rendered anew."""
    ious, shares = [], []
    absent = np.zeros(len(geometry), bool)
    for frame in np.flatnonzero(geometry.valid):
        frame = int(frame)
        truth, region = truth_of(geometry, occlusion.window_from_image[frame], mesh, occluder, frame)
        mask = occlusion.mask(frame)
        found = np.zeros_like(region) if mask is None else (mask > 127) & region
        absent[frame] = occluder.presence(frame) == 0
        if truth.sum() > HIDES_SHARE * region.sum():
            ious.append((truth & found).sum() / (truth | found).sum())
            shares.append((truth & found).sum() / truth.sum())
    missed = float(np.mean(np.array(shares) < 0.1)) if shares else float("nan")
    whole = {"iou": float(np.mean(ious)) if ious else float("nan"), "missed_frames": missed}
    hit = np.array(ious)[np.array(shares) >= 0.1] if shares else np.zeros(0)
    return {
        **whole, "iou_where_found": float(hit.mean()) if len(hit) else float("nan"),
        "covered": float(np.mean(shares)) if shares else float("nan"), **false_figures(occlusion, absent),
    }  # fmt: skip


def truth_of(
    geometry: FaceGeometry, window_from_image: np.ndarray, mesh: FaceMesh, occluder: Occluder, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find where the drawn thing hides the region: both [80, 96] bool."""
    opacity = occluder.draw(np.zeros((HEIGHT, WIDTH, 3), np.uint8), frame, window_from_image)
    projected = mesh.project(geometry.pose(frame, geometry.template, window_from_image))
    region = mesh.mask(projected, geometry.template, HEIGHT, WIDTH) > 0.05
    return (opacity > 0.5) & region, region


def swap_mouths(
    inputs: EvaluationInputs, clip: Clip, geometry: FaceGeometry, mesh: FaceMesh, occluder: Occluder
) -> dict[str, float]:
    """Put the most open mouths in the place of the most closed ones, and back, under the same occluder.

    Returns:
        by how much the occluder's mask then changes, in % of the region that is rendered anew, where the occluder
        is not.
    """
    plain = ColourWindows(geometry)
    windows = [plain.cut(image, frame) for frame, image in enumerate(frames_of(inputs, clip, None))][: len(geometry)]
    opening = apertures_of(HeadVertices(mesh.face_model, geometry.template, geometry.expression))
    order = np.argsort(opening[: len(windows)])
    partner = np.empty_like(order)
    partner[order] = order[::-1]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    masks = []
    for swapped in (False, True):
        colours = ColourWindows(geometry)
        for frame, window in enumerate(windows):
            lips = geometry.project(np.array([[*LIP_CENTRE, 0.0]], np.float32), slice(frame, frame + 1))[0, 0, :2]
            x, y = plain.window_from_image[frame] @ np.append(lips, 1)
            radius = np.hypot((columns - x) / (48 * LIP_RADII[0]), (rows - y) / (48 * LIP_RADII[1]))
            weight = np.clip((1.15 - radius) / 0.3, 0, 1)[..., None] * swapped
            image = (window + weight * (windows[partner[frame]].astype(np.float32) - window)).astype(np.uint8)
            occluder.draw(image, frame, plain.window_from_image[frame])
            colours.append_window(image)
        masks.append(find_occlusion(geometry, colours, mesh))
    changed = []
    for frame in np.flatnonzero(geometry.valid):
        if occluder.presence(int(frame)):
            truth, region = truth_of(geometry, plain.window_from_image[frame], mesh, occluder, int(frame))
            first, second = (0 if m.mask(int(frame)) is None else m.mask(int(frame)).astype(float) for m in masks)
            outside = region & ~truth
            changed.append(np.abs(np.broadcast_to(first - second, region.shape)[outside]).sum() / 255 / region.sum())
    return {"changed_%": 100 * float(np.mean(changed)) if changed else float("nan")}
