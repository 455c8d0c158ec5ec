"""Stage 2 over a whole clip: gather references once, then render and composite frame after frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from personatalk.attention import spread_out
from personatalk.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image, window_from_image
from personatalk.compositing import Crop, Plan, composite, cut_crop
from personatalk.detail import detail_energy, restore_detail, wanted_energy
from personatalk.errors import NoFaceError
from personatalk.face_model import HeadVertices, smoothstep
from personatalk.fitting import FaceGeometry
from personatalk.geometry_maps import FaceMesh
from personatalk.lip_registration import registered_frames
from personatalk.media import Frame
from personatalk.number_format import prepare, render_in
from personatalk.occlusion import Occlusion
from personatalk.rasterizer import rasterize
from personatalk.references import (
    counting,
    lip_descriptors,
    rank_face_references,
    rank_lip_references,
    select_lip_references,
)
from personatalk.render_inputs import (
    ReferenceFrame,
    correspondences,
    device_of,
    images_of,
    make_target,
    maps_of,
    reference_frame,
    stack_references,
    stack_targets,
)
from personatalk.renderer import DualAttentionRenderer, Rendering

LIP_BANK_SIZE = 16
FACE_BANK_SIZE = 48
FACE_STRIDE = 12  # frames between face references, more in long clips
FADE_FRAMES = 4  # around frames without a face
MIN_CLEAR_FRAMES = 24  # fewer without an occluder are too few to choose references from
TURN_FADE_DEG = (50.0, 62.0)  # the dub fades back to the source as the head turns away


@dataclass(frozen=True, kw_only=True)
class BankEntry:
    """One reference of a clip, at the renderer's size and in its own pixels.

    Attributes:
        frame: prepared for the renderer.
        crop: native pixels.
        placed: [N, 2] px, vertices in the crop.
        detail: [40, 48] how strong the crop's fine detail is.
    """

    frame: ReferenceFrame
    crop: Crop
    placed: np.ndarray
    detail: np.ndarray


class ClipReferences:
    """The references of a clip: which frames, their pixels, and their encodings.

    Args:
        mesh: the face mesh.
        geometry: of the clip that gives the references.
        demanded: [M, D] lip descriptors of the mouths to be rendered.
        strategy: how lip references are chosen.
        occlusion: of that clip; frames with something in front of the face are passed over.
    """

    def __init__(
        self, mesh: FaceMesh, geometry: FaceGeometry, demanded: np.ndarray, strategy: str,
        occlusion: Occlusion | None = None,
    ) -> None:  # fmt: skip
        self.mesh, self.geometry = mesh, geometry
        self.head_vertices = HeadVertices(mesh.face_model, geometry.template, geometry.expression)
        self.affines = window_from_image(geometry)
        descriptors = lip_descriptors(self.head_vertices, geometry.template, geometry.rotation)
        valid = clear_frames(registered_frames(geometry.valid), occlusion)
        shown = clear_frames(np.flatnonzero(geometry.valid), occlusion)
        chosen = select_lip_references(
            descriptors[valid], demanded, LIP_BANK_SIZE, strategy=strategy,
            opening=self.head_vertices.openness()[valid],
        )  # fmt: skip
        self.lip_indices = valid[chosen]
        self.lip_descriptors = descriptors[self.lip_indices]
        count = int(np.clip(len(shown) // FACE_STRIDE, 2, FACE_BANK_SIZE))
        self.face_indices = shown[np.unique(np.linspace(0, len(shown) - 1, count).astype(int))]
        self.entries: dict[int, BankEntry] = {}
        self.features: dict[int, torch.Tensor] = {}

    @property
    def wanted(self) -> set[int]:
        """Frame numbers whose pixels are needed."""
        return {*self.lip_indices.tolist(), *self.face_indices.tolist()}

    def gather(self, frames: Iterable[Frame], renderer: DualAttentionRenderer) -> None:
        """Take the wanted frames out of a stream and encode them; the rest is let go.

        Raises:
            NoFaceError: no wanted frame shows the face.
        """
        missing = self.wanted
        for frame in frames:
            if frame.index in missing:
                missing.discard(frame.index)
                self._add(frame, renderer)
            if not missing:
                break
        keep = np.array([i in self.entries for i in self.lip_indices], bool)
        self.lip_indices, self.lip_descriptors = self.lip_indices[keep], self.lip_descriptors[keep]
        self.face_indices = np.array([i for i in self.face_indices if i in self.entries])
        if not len(self.lip_indices) or not len(self.face_indices):
            raise NoFaceError("the face lies outside the picture in all frames; use a clip that shows the whole mouth")

    @torch.inference_mode()
    def _add(self, frame: Frame, renderer: DualAttentionRenderer) -> None:
        index = frame.index
        crop = cut_crop(frame.image, self.affines[index])
        if crop is None:
            return
        window = warp_image(frame.image, self.affines[index], WINDOW_WIDTH, WINDOW_HEIGHT)
        vertices = self.head_vertices[index]
        entry = reference_frame(self.mesh, self.geometry, vertices, self.affines[index], index, window)
        placed = self.mesh.place(vertices, self.geometry, index, crop.crop_from_image)[:, :2]
        detail = detail_energy(crop.image, crop.window_from_crop)
        self.entries[index] = BankEntry(frame=entry, crop=crop, placed=placed, detail=detail)
        device = device_of(renderer)
        features = renderer.encode_references(images_of([entry], device), maps_of([entry], device))[0]
        self.features[index] = features.permute(1, 2, 0).contiguous()  # so they are sampled, all channels at once


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
        number_format: in which the network computes.
        occlusion: of the source; what stands in front of the face stays as it is.
    """

    def __init__(
        self, renderer: DualAttentionRenderer, mesh: FaceMesh, geometry: FaceGeometry,
        head_vertices: np.ndarray | HeadVertices, references: ClipReferences, *, is_same_clip: bool = True,
        source_indices: np.ndarray | None = None, number_format: torch.dtype = torch.float32,
        occlusion: Occlusion | None = None,
    ) -> None:  # fmt: skip
        self.renderer, self.mesh, self.geometry = prepare(renderer, number_format), mesh, geometry
        self.head_vertices, self.references = head_vertices, references
        self.is_same_clip, self.number_format = is_same_clip, number_format
        self.source_indices = np.arange(len(geometry)) if source_indices is None else source_indices
        self.occlusion = occlusion
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
        lips, lip_weights = rank_lip_references(
            bank.lip_descriptors, self.descriptors[position], lip_gap, config.num_lip_references
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
        lip_counts, face_counts = counting(lip_weights), counting(face_weights)
        frames, k = [*lip_frames[lip_counts], *face_frames[face_counts]], len(lip_counts)
        entries = [self.references.entries[i] for i in frames]
        vertices = self.head_vertices[position]
        window = warp_image(image, self.affines[position], WINDOW_WIDTH, WINDOW_HEIGHT)
        target, placed = make_target(self.mesh, self.geometry, vertices, self.affines[position], position, window)
        grids = correspondences(self.mesh, placed, [entry.frame for entry in entries])[None]
        images = images_of([entry.frame for entry in entries], device_of(self.renderer))[None]
        features = torch.stack([self.references.features[i] for i in frames])[None].permute(0, 1, 4, 2, 3)
        rendering = render_in(
            self.number_format,
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

    def _composite(
        self, position: int, image: np.ndarray, crop: Crop, entries: list[BankEntry], rendering: Rendering,
        grids: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        height, width = crop.image.shape[:2]
        placed = self.mesh.place(self.head_vertices[position], self.geometry, position, crop.crop_from_image)
        template = self.geometry.template
        placed_template = self.mesh.place(template, self.geometry, position, crop.crop_from_image)
        mask = self.mesh.mask(placed_template, template, height, width) * self.strength[position]
        if self.occlusion:
            source = int(self.source_indices[position])
            mask *= 1 - self.occlusion.on_crop(source, crop.crop_from_image, height, width)
        index, barycentric = rasterize(placed, self.mesh.triangles, height, width)
        plan = Plan(
            weights=torch.cat([rendering.lip.weights, rendering.face.weights], 1)[0].numpy(),
            offsets=torch.cat([rendering.lip.offsets, rendering.face.offsets], 1)[0].numpy(),
            gate=rendering.gate[0, 0].numpy(),
            residual=rendering.residual[0].numpy(),
            num_lip=rendering.lip.weights.shape[1],
        )
        filled = composite(
            crop, mask, index, barycentric, self.mesh.triangles, [entry.crop for entry in entries],
            np.stack([entry.placed for entry in entries]), plan,
        )  # fmt: skip
        wanted = wanted_energy([entry.detail for entry in entries], grids, plan.weights, plan.gate, plan.num_lip)
        filled = restore_detail(filled, mask, wanted, crop.window_from_crop)
        finished = image.copy()
        finished[crop.top : crop.top + height, crop.left : crop.left + width] = filled
        return finished


def clear_frames(frames: np.ndarray, occlusion: Occlusion | None) -> np.ndarray:
    """Drop the frames [N] with an occluder, as long as enough others are left."""
    if occlusion is None:
        return frames
    clear = frames[~occlusion.is_occluded[frames]]
    return clear if len(clear) >= MIN_CLEAR_FRAMES else frames


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
