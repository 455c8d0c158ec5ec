"""Stage 2 over a whole clip: render and composite frame after frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from personatalk.face_rendering.attention import spread_out
from personatalk.face_rendering.compositing import Crop, Plan, Raster, composite, cut_crop
from personatalk.face_rendering.detail import restore_detail, wanted_energy
from personatalk.face_rendering.inputs import (
    AttendedReferences,
    FrameInputs,
    PriorQuery,
    device_of,
    frame_inputs,
    stack_frames,
)
from personatalk.face_rendering.mouth_interior import (
    MouthGap,
    MouthInterior,
    gap_profile,
    is_worth_painting,
    missing_share,
    mouth_gap,
)
from personatalk.face_rendering.precision import paint_in, prepare, render_in
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import (
    ANY_LIGHT,
    RankedReferences,
    active_references,
    rank_references,
)
from personatalk.face_rendering.renderer import DualAttentionRenderer, Rendering
from personatalk.geometry.camera import (
    WINDOW_HEIGHT,
    WINDOW_WIDTH,
    share_in_picture,
    warp_image,
    window_from_image,
)
from personatalk.geometry.face_geometry import FaceGeometry, FramePose
from personatalk.geometry.face_model import HeadVertices, smoothstep
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry.rasterizer import rasterize
from personatalk.media.picture import Pixels, with_part
from personatalk.occlusion.segmentation import Occlusion

PAINTED_STRIDE = 5  # of the frames that `painted_share` looks at
FADE_S = 0.16  # s around frames without a face
TURN_FADE_DEG = (50.0, 62.0)  # the dub fades back to the source as the head turns away
PICTURE_FADE = (0.4, 0.6)  # and as the window leaves the picture: the share of it that lies inside


@dataclass(frozen=True, kw_only=True)
class RenderedFrame:
    """A finished frame and how it was made.

    Attributes:
        pixels: [H, W, 3] uint8; of a Picture, only the changed part was converted.
        is_dubbed: false where the source was passed through.
        lip_frames: [K] frame numbers of the lip references.
        face_frames: [K] frame numbers of the face references.
        rendering: of the window, batch of one; None where the source was passed through.
    """

    pixels: Pixels
    is_dubbed: bool
    lip_frames: np.ndarray
    face_frames: np.ndarray
    rendering: Rendering | None = None

    @property
    def image(self) -> np.ndarray:
        """The whole of it: [H, W, 3] uint8."""
        return np.asarray(self.pixels)


class ClipRenderer:
    """Renders the frames of a clip with driven geometry.

    Args:
        renderer: the network.
        mesh: the face mesh.
        geometry: of the clip, one pose for each frame to render.
        head_vertices: [T, V, 3] IOD, driven; HeadVertices computes them frame by frame.
        bank: gathered references.
        is_same_clip: whether references and target are the same clip, so that near frames are excluded.
        source_indices: [T] frame number in the source of each frame to render.
        precision: in which the network computes.
        occlusion: of the source; what stands in front of the face stays as it is.
        source_vertices: of the source's own frames, IOD; what belongs neither to this face nor to the driven one,
            such as a collar, stays as it is. None renders all of the mask anew.
        interior: paints the inside of the mouth where the references do not show it; None leaves it as they have it.
    """

    def __init__(
        self,
        renderer: DualAttentionRenderer,
        mesh: FaceMesh,
        geometry: FaceGeometry,
        head_vertices: np.ndarray | HeadVertices,
        bank: ReferenceBank,
        *,
        is_same_clip: bool = True,
        source_indices: np.ndarray | None = None,
        precision: torch.dtype = torch.float32,
        occlusion: Occlusion | None = None,
        source_vertices: np.ndarray | HeadVertices | None = None,
        interior: MouthInterior | None = None,
    ) -> None:
        self.renderer, self.mesh, self.geometry = prepare(renderer, precision), mesh, geometry
        self.interior = prepare(interior, precision) if interior is not None else None
        self.head_vertices, self.bank = head_vertices, bank
        self.is_same_clip, self.precision = is_same_clip, precision
        self.source_indices = np.arange(len(geometry)) if source_indices is None else source_indices
        self.occlusion, self.source_vertices = occlusion, source_vertices
        self.windows = window_from_image(geometry)
        self.strength = dub_strength(geometry)
        self.descriptors = lip_descriptors(head_vertices, geometry.template, geometry.rotation)

    def rank(self, position: int) -> RankedReferences:
        """Rank the references of a frame."""
        time = self._time(position) if self.is_same_clip else None
        descriptor, rotation = self.descriptors[position], self.geometry.rotation[position]
        return rank_references(
            self.bank.candidates, self.renderer.config, descriptor, rotation, time, light=self._light(position)
        )

    @torch.inference_mode()
    def render(self, position: int, image: Pixels) -> RenderedFrame:
        """Render one frame.

        Args:
            position: which of the T frames.
            image: [H, W, 3] uint8, the source frame.
        """
        nothing, strength = np.zeros(0, int), self._strength(position, image)
        crop = cut_crop(image, self.windows[position]) if strength > 0 else None
        if crop is None:
            return RenderedFrame(pixels=image, is_dubbed=False, lip_frames=nothing, face_frames=nothing)
        ranked = self.rank(position)
        attending = ranked.active()
        pose = self.geometry.pose(position, self.head_vertices[position], self.windows[position])
        inputs = self._inputs(pose, image, attending)
        rendering = self._network(pose.vertices, inputs, attending)
        finished = self._composite(pose, image, crop, attending, rendering, grids=inputs.grids)
        return RenderedFrame(
            pixels=finished,
            is_dubbed=True,
            lip_frames=ranked.lip_frames,
            face_frames=ranked.face_frames,
            rendering=of_all_references(rendering, ranked),
        )

    def painted_share(self) -> float:
        """In which share of the frames the inside of the mouth, or a part of it, is painted; some are looked at."""
        positions = [t for t in range(0, len(self.geometry), PAINTED_STRIDE) if self.strength[t] > 0]
        if self.interior is None or not positions:
            return 0.0
        poses = [self.geometry.pose(t, self.head_vertices[t], self.windows[t]) for t in positions]
        gaps = (self._gap(pose.vertices, self.mesh.project(pose), self.rank(pose.frame).active()) for pose in poses)
        return float(np.mean([gap is not None for gap in gaps]))

    def _strength(self, position: int, image: Pixels) -> float:
        """How far a frame is dubbed, 0 to 1: what is known of its face, and how much of the window it shows."""
        height, width = image.shape[:2]
        inside = share_in_picture(self.windows[position], width, height)
        return float(self.strength[position] * smoothstep(np.array(inside), *PICTURE_FADE))

    def _time(self, position: int) -> float:
        """Seconds of the source frame that stands at a position, in the clip of the references."""
        return float(self.bank.geometry.times[self.source_indices[position]])

    def _light(self, position: int) -> int:
        """Light of the source frame that stands at a position, among those of the references."""
        return int(self.bank.candidates.lights[self.source_indices[position]]) if self.is_same_clip else ANY_LIGHT

    def _inputs(self, pose: FramePose, image: Pixels, attending: RankedReferences) -> FrameInputs:
        position, entries = pose.frame, self.bank.entries
        window = warp_image(image, self.windows[position], WINDOW_WIDTH, WINDOW_HEIGHT)
        references = AttendedReferences(
            lip=[entries[frame].frame for frame in attending.lip_frames],
            lip_log_weights=attending.lip_log_weights,
            face=[entries[frame].frame for frame in attending.face_frames],
            face_log_weights=attending.face_log_weights,
        )
        # another video was filmed in another light, and its textures say nothing of this one's
        query = PriorQuery(prior=None, mouth=self.descriptors[position], time=0.0)
        if self.is_same_clip:
            query = replace(query, prior=self.bank.priors.get(self._light(position)), time=self._time(position))
        return frame_inputs(self.mesh, pose, window, references, query)

    def _network(self, vertices: np.ndarray, inputs: FrameInputs, attending: RankedReferences) -> Rendering:
        batch = stack_frames([inputs], device_of(self.renderer))
        frames = (*attending.lip_frames, *attending.face_frames)
        features = torch.stack([self.bank.features[frame] for frame in frames])[None].permute(0, 1, 4, 2, 3)
        rendering = render_in(self.precision, self.renderer, batch.target, *batch.references(features))
        gap = self._gap(vertices, inputs.projected, attending) if self.interior is not None else None
        if self.interior is None or gap is None:
            return rendering
        return paint_in(self.precision, self.interior, rendering, batch.target, gap)

    def _gap(self, vertices: np.ndarray, projected: np.ndarray, attending: RankedReferences) -> MouthGap | None:
        """What of the mouth's inside no reference shows; None where nothing is to be painted.

        Args:
            vertices: [V, 3] IOD of the driven face.
            projected: [N, 3] px of the window, the same with its border.
            attending: the references.
        """
        shown = np.stack([self.bank.entries[frame].gaps for frame in attending.lip_frames])
        weights = np.exp(attending.lip_log_weights - attending.lip_log_weights.max())
        gaps = gap_profile(vertices)
        missing = missing_share(gaps, shown, weights / weights.sum())
        if not is_worth_painting(gaps, missing):
            return None
        return mouth_gap(self.mesh, projected, gaps, missing)

    def _composite(
        self,
        pose: FramePose,
        image: Pixels,
        crop: Crop,
        attending: RankedReferences,
        rendering: Rendering,
        *,
        grids: np.ndarray,
    ) -> Pixels:
        height, width = crop.image.shape[:2]
        on_crop = pose.into(crop.crop_from_image)
        index, barycentric = rasterize(self.mesh.project(on_crop), self.mesh.triangles, height, width)
        mask = self._mask(on_crop, index) * np.float32(self._strength(pose.frame, image))
        entries = [self.bank.entries[frame] for frame in (*attending.lip_frames, *attending.face_frames)]
        plan = Plan(
            weights=torch.cat([rendering.lip.weights, rendering.face.weights], 1)[0].numpy(),
            offsets=torch.cat([rendering.lip.offsets, rendering.face.offsets], 1)[0].numpy(),
            gate=rendering.gate[0, 0].numpy(),
            residual=rendering.residual[0].numpy(),
            num_lip=rendering.lip.weights.shape[1],
            interior=None if rendering.interior is None else rendering.interior[0].numpy(),
            interior_share=None if rendering.interior_share is None else rendering.interior_share[0, 0].numpy(),
        )
        filled = composite(
            crop,
            mask,
            Raster(index=index, barycentric=barycentric, triangles=self.mesh.triangles),
            [entry.crop for entry in entries],
            projected=np.stack([entry.projected for entry in entries]),
            plan=plan,
        )
        wanted = wanted_energy([entry.detail for entry in entries], grids, plan.weights, plan.gate, plan.num_lip)
        filled = restore_detail(filled, mask, wanted, crop.window_from_crop)
        return with_part(image, crop.left, crop.top, filled)

    def _mask(self, pose: FramePose, index: np.ndarray) -> np.ndarray:
        """Say which pixels of a crop are replaced: [h, w] in [0, 1]; `index` [h, w] is of the driven face."""
        source = int(self.source_indices[pose.frame])
        own = self.source_vertices[source] if self.source_vertices is not None else None
        mask = self.mesh.region(pose, index, own)
        if self.occlusion:
            mask *= 1 - self.occlusion.on_crop(source, pose.target_from_image, *index.shape)
        return mask


def of_all_references(rendering: Rendering, ranked: RankedReferences) -> Rendering:
    """Give weights and offsets of all ranked references; those without any say have weight 0."""
    lip, face = active_references(ranked.lip_log_weights), active_references(ranked.face_log_weights)
    return replace(
        rendering,
        lip=spread_out(rendering.lip, lip, len(ranked.lip_frames)),
        face=spread_out(rendering.face, face, len(ranked.face_frames)),
    )


def dub_strength(geometry: FaceGeometry) -> np.ndarray:
    """How far each frame is dubbed: 0 without a face, fading in and out, and back to the source as the head turns.

    A cut needs no fade: only what is without a face in a frame's own shot, or in a dissolve beside it, counts.

    Returns:
        [T] in [0, 1]
    """
    facing = np.degrees(np.arccos(np.clip(geometry.rotation[:, 2, 2], -1, 1)))
    strength = 1 - smoothstep(facing, *TURN_FADE_DEG)
    for shot in np.unique(geometry.shot[geometry.valid]):
        frames = np.flatnonzero(geometry.shot == shot)
        near = ~geometry.valid & ((geometry.shot == shot) | (geometry.shot < 0))
        strength[frames] *= np.clip(gap_to(geometry.times[near], geometry.times[frames]) / FADE_S, 0, 1)
    strength[~geometry.valid] = 0
    return strength.astype(np.float32)


def gap_to(times: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """[N] how far each target [N] s is from the nearest of some times [M] s; infinite where there is none."""
    if not len(times):
        return np.full(len(targets), np.inf)
    nearest = np.searchsorted(times, targets).clip(0, len(times) - 1)
    return np.minimum(*(np.abs(times[near] - targets) for near in (nearest, np.maximum(nearest - 1, 0))))
