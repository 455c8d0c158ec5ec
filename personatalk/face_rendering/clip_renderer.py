"""Stage 2 over a whole clip: render and composite frame after frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from personatalk.face_rendering.attention import spread_out
from personatalk.face_rendering.compositing import Crop, Plan, composite, cut_crop
from personatalk.face_rendering.detail import restore_detail, wanted_energy
from personatalk.face_rendering.inputs import (
    correspondences,
    device_of,
    images_of,
    make_target,
    stack_references,
    stack_targets,
)
from personatalk.face_rendering.precision import prepare, render_in
from personatalk.face_rendering.reference_bank import BankEntry, ClipReferences
from personatalk.face_rendering.reference_selection import (
    active_references,
    rank_face_references,
    rank_lip_references,
    self_occlusion,
)
from personatalk.face_rendering.renderer import DualAttentionRenderer, Rendering
from personatalk.face_rendering.texture_prior import nothing_predicted
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image, window_from_image
from personatalk.geometry.face_model import HeadVertices, smoothstep
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry.rasterizer import rasterize
from personatalk.occlusion.segmentation import Occlusion

FADE_FRAMES = 4  # around frames without a face
TURN_FADE_DEG = (50.0, 62.0)  # the dub fades back to the source as the head turns away


@dataclass(frozen=True, kw_only=True)
class RenderedFrame:
    """A finished frame and how it was made.

    Attributes:
        image: [H, W, 3] uint8.
        is_dubbed: false where the source was passed through.
        lip_frames: [K] frame numbers of the lip references.
        face_frames: [K] frame numbers of the face references.
        rendering: of the window, batch of one; None where the source was passed through.
    """

    image: np.ndarray
    is_dubbed: bool
    lip_frames: np.ndarray
    face_frames: np.ndarray
    rendering: Rendering | None = None


class ClipRenderer:
    """Renders the frames of a clip with driven geometry.

    Args:
        renderer: the network.
        mesh: the face mesh.
        geometry: of the clip, one pose for each frame to render.
        head_vertices: [T, V, 3] IOD, driven; HeadVertices computes them frame by frame.
        references: gathered.
        is_same_clip: whether references and target are the same clip, so that near frames are shunned.
        source_indices: [T] frame number in the source of each frame to render.
        precision: in which the network computes.
        occlusion: of the source; what stands in front of the face stays as it is.
        source_vertices: of the source's own frames, IOD; what belongs neither to this face nor to the driven one,
            such as a collar, stays as it is. None fills it anew.
    """

    def __init__(
        self, renderer: DualAttentionRenderer, mesh: FaceMesh, geometry: FaceGeometry,
        head_vertices: np.ndarray | HeadVertices, references: ClipReferences, *, is_same_clip: bool = True,
        source_indices: np.ndarray | None = None, precision: torch.dtype = torch.float32,
        occlusion: Occlusion | None = None, source_vertices: np.ndarray | HeadVertices | None = None,
    ) -> None:  # fmt: skip
        self.renderer, self.mesh, self.geometry = prepare(renderer, precision), mesh, geometry
        self.head_vertices, self.references = head_vertices, references
        self.is_same_clip, self.precision = is_same_clip, precision
        self.source_indices = np.arange(len(geometry)) if source_indices is None else source_indices
        self.occlusion, self.source_vertices = occlusion, source_vertices
        self.affines = window_from_image(geometry)
        self.strength = dub_strength(geometry)
        self.descriptors = lip_descriptors(head_vertices, geometry.template, geometry.rotation)

    def rank(self, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Choose the references of a frame: lip frames, their log-weights, face frames, their log-weights."""
        bank, config = self.references, self.renderer.config
        source = self.source_indices[position]
        far = 10**6
        lip_gap = bank.lip_indices - source if self.is_same_clip else np.full(len(bank.lip_indices), far)
        face_gap = bank.face_indices - source if self.is_same_clip else np.full(len(bank.face_indices), far)
        turns, turn = bank.geometry.rotation[bank.lip_indices], self.geometry.rotation[position]
        hidden = self_occlusion(bank.mouth_normals, turns, turn)
        lips, lip_weights = rank_lip_references(
            bank.lip_descriptors, self.descriptors[position], lip_gap, config.num_lip_references, hidden
        )
        faces, face_weights = rank_face_references(face_gap, config.num_face_references)
        return bank.lip_indices[lips], lip_weights, bank.face_indices[faces], face_weights

    @torch.inference_mode()
    def render(self, position: int, image: np.ndarray) -> RenderedFrame:
        """Render one frame.

        Args:
            position: which of the T frames.
            image: [H, W, 3] uint8, the source frame.
        """
        nothing = np.zeros(0, int)
        crop = cut_crop(image, self.affines[position]) if self.strength[position] > 0 else None
        if crop is None:
            return RenderedFrame(image=image, is_dubbed=False, lip_frames=nothing, face_frames=nothing)
        lip_frames, lip_weights, face_frames, face_weights = self.rank(position)
        lip_counts, face_counts = active_references(lip_weights), active_references(face_weights)
        frames, k = [*lip_frames[lip_counts], *face_frames[face_counts]], len(lip_counts)
        entries = [self.references.entries[i] for i in frames]
        vertices = self.head_vertices[position]
        window = warp_image(image, self.affines[position], WINDOW_WIDTH, WINDOW_HEIGHT)
        target, projected = make_target(self.mesh, self.geometry, vertices, self.affines[position], position, window)
        target["prior"] = self._predict(position, target["image"], projected, vertices)
        grids = correspondences(self.mesh, projected, [entry.frame for entry in entries])[None]
        images = images_of([entry.frame for entry in entries], device_of(self.renderer))[None]
        features = torch.stack([self.references.features[i] for i in frames])[None].permute(0, 1, 4, 2, 3)
        rendering = render_in(
            self.precision,
            self.renderer,
            stack_targets([target], device_of(self.renderer)),
            stack_references(features[:, :k], images[:, :k], grids[:, :k], lip_weights[None, lip_counts]),
            stack_references(features[:, k:], images[:, k:], grids[:, k:], face_weights[None, face_counts]),
        )
        finished = self._composite(position, image, crop, entries, rendering, grids[0])
        rendering = replace(
            rendering,
            lip=spread_out(rendering.lip, lip_counts, len(lip_frames)),
            face=spread_out(rendering.face, face_counts, len(face_frames)),
        )
        return RenderedFrame(
            image=finished, is_dubbed=True, lip_frames=lip_frames, face_frames=face_frames, rendering=rendering
        )

    def _predict(self, position: int, image: np.ndarray, projected: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """[5, 80, 96]: the coarse texture of a frame; another video's light is another, and tells nothing."""
        prior = self.references.prior
        if prior is None or not self.is_same_clip:
            return nothing_predicted()
        return prior.predict(image, projected, vertices, self.descriptors[position], int(self.source_indices[position]))

    def _composite(
        self, position: int, image: np.ndarray, crop: Crop, entries: list[BankEntry], rendering: Rendering,
        grids: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        height, width = crop.image.shape[:2]
        projected = self.mesh.project(self.head_vertices[position], self.geometry, position, crop.crop_from_image)
        index, barycentric = rasterize(projected, self.mesh.triangles, height, width)
        mask = self._mask(position, crop, index)
        plan = Plan(
            weights=torch.cat([rendering.lip.weights, rendering.face.weights], 1)[0].numpy(),
            offsets=torch.cat([rendering.lip.offsets, rendering.face.offsets], 1)[0].numpy(),
            gate=rendering.gate[0, 0].numpy(),
            residual=rendering.residual[0].numpy(),
            num_lip=rendering.lip.weights.shape[1],
        )
        filled = composite(
            crop, mask, index, barycentric, self.mesh.triangles, [entry.crop for entry in entries],
            np.stack([entry.projected for entry in entries]), plan,
        )  # fmt: skip
        wanted = wanted_energy([entry.detail for entry in entries], grids, plan.weights, plan.gate, plan.num_lip)
        filled = restore_detail(filled, mask, wanted, crop.window_from_crop)
        finished = image.copy()
        finished[crop.top : crop.top + height, crop.left : crop.left + width] = filled
        return finished

    def _mask(self, position: int, crop: Crop, index: np.ndarray) -> np.ndarray:
        """Say how far each pixel of a crop is replaced: [h, w] in [0, 1]; `index` [h, w] is of the driven face."""
        source = int(self.source_indices[position])
        own = self.source_vertices[source] if self.source_vertices is not None else None
        mask = self.mesh.region(self.geometry, position, index, own, crop.crop_from_image) * self.strength[position]
        if self.occlusion:
            mask *= 1 - self.occlusion.on_crop(source, crop.crop_from_image, *index.shape)
        return mask


def dub_strength(geometry: FaceGeometry) -> np.ndarray:
    """How far each frame is dubbed: 0 without a face, fading in and out, and back to the source as the head turns.

    Returns:
        [T] in [0, 1]
    """
    near = np.ones(len(geometry))
    if not geometry.valid.all():
        near = np.clip(distance_transform_edt(geometry.valid) / FADE_FRAMES, 0, 1)
    facing = np.degrees(np.arccos(np.clip(geometry.rotation[:, 2, 2], -1, 1)))
    return (near * (1 - smoothstep(facing, *TURN_FADE_DEG))).astype(np.float32)
