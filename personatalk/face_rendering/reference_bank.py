"""The references of a clip: which of its frames serve lips and face, their pixels, and their encodings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from personatalk.concurrency import map_in_order, num_workers
from personatalk.errors import NoFaceError
from personatalk.face_rendering.compositing import Crop, cut_crop
from personatalk.face_rendering.detail import detail_energy
from personatalk.face_rendering.inputs import ReferenceFrame, device_of, images_of, maps_of, reference_frame
from personatalk.face_rendering.reference_selection import select_lip_references
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.face_rendering.texture_prior import (
    MIN_TEXTURES,
    TextureFrame,
    TexturePrior,
    spread_frames,
    texture_frame,
)
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image, window_from_image
from personatalk.geometry.face_model import HeadVertices
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.lip_refinement import registered_frames
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import apertures_of, lip_descriptors
from personatalk.media import Frame
from personatalk.occlusion.segmentation import Occlusion

LIP_BANK_SIZE, FACE_BANK_SIZE = 48, 256  # at most; measured, twice the lips are hardly better
FACE_STRIDE = 4  # frames between face references, more in long clips; twice as many bring .05 dB and switch more
BANK_PIXELS = 120e6  # of all references together, which are held in memory; large faces have fewer
MIN_LIP_BANK, MIN_FACE_BANK = 16, 16
MIN_CLEAR_FRAMES = 24  # fewer without an occluder are too few to choose references from


@dataclass(frozen=True, kw_only=True)
class BankEntry:
    """One reference of a clip, at the renderer's size and in its own pixels.

    Attributes:
        frame: prepared for the renderer.
        crop: native pixels.
        projected: [N, 2] px, vertices in the crop.
        detail: [40, 48] how strong the crop's fine detail is.
    """

    frame: ReferenceFrame
    crop: Crop
    projected: np.ndarray
    detail: np.ndarray


class ClipReferences:
    """The references of a clip: which frames, their pixels, their encodings, and what all of them together tell.

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
        num_lip, num_face = bank_sizes(self.affines[shown])
        chosen = select_lip_references(
            descriptors[valid], demanded, num_lip, strategy=strategy,
            opening=apertures_of(self.head_vertices)[valid],
        )  # fmt: skip
        self.lip_indices = valid[chosen]
        self.lip_descriptors = descriptors[self.lip_indices]
        self.mouth_normals = mesh.mouth_normals(geometry.template)
        count = int(np.clip(len(shown) // FACE_STRIDE, 2, num_face))
        self.face_indices = shown[np.unique(np.linspace(0, len(shown) - 1, count).astype(int))]
        self.texture_indices = spread_frames(shown)
        self.textures: dict[int, TextureFrame] = {}
        self.prior: TexturePrior | None = None
        self.entries: dict[int, BankEntry] = {}
        self.features: dict[int, torch.Tensor] = {}

    @property
    def wanted(self) -> set[int]:
        """Frame numbers whose pixels are needed."""
        return {*self.lip_indices.tolist(), *self.face_indices.tolist(), *self.texture_indices.tolist()}

    def gather(self, frames: Iterable[Frame], renderer: DualAttentionRenderer) -> None:
        """Take the wanted frames out of a stream and encode them; the rest is let go.

        Raises:
            NoFaceError: no wanted frame shows the face.
        """
        missing = self.wanted

        def wanted_frames() -> Iterator[Frame]:
            for frame in frames:
                if frame.index in missing:
                    missing.discard(frame.index)
                    yield frame
                if not missing:
                    return

        with closing(map_in_order(lambda frame: self._add(frame, renderer), wanted_frames(), num_workers())) as added:
            for _ in added:
                pass
        keep = np.array([i in self.entries for i in self.lip_indices], bool)
        self.lip_indices, self.lip_descriptors = self.lip_indices[keep], self.lip_descriptors[keep]
        self.face_indices = np.array([i for i in self.face_indices if i in self.entries])
        if not len(self.lip_indices) or not len(self.face_indices):
            raise NoFaceError("the face lies outside the picture in all frames; use a clip that shows the whole mouth")
        if len(self.textures) >= MIN_TEXTURES:
            self.prior = TexturePrior(self.mesh, self.geometry, [self.textures[i] for i in sorted(self.textures)])
        self.textures.clear()

    @torch.inference_mode()
    def _add(self, frame: Frame, renderer: DualAttentionRenderer) -> None:
        index = frame.index
        crop = cut_crop(frame.image, self.affines[index])
        if crop is None:
            return
        window = warp_image(frame.image, self.affines[index], WINDOW_WIDTH, WINDOW_HEIGHT)
        vertices = self.head_vertices[index]
        if index in self.texture_indices:
            in_window = self.mesh.project(vertices, self.geometry, index, self.affines[index])
            self.textures[index] = texture_frame(index, window, in_window)
        if index not in self.lip_indices and index not in self.face_indices:
            return
        entry = reference_frame(self.mesh, self.geometry, vertices, self.affines[index], index, window)
        projected = self.mesh.project(vertices, self.geometry, index, crop.crop_from_image)[:, :2]
        detail = detail_energy(crop.image, crop.window_from_crop)
        self.entries[index] = BankEntry(frame=entry, crop=crop, projected=projected, detail=detail)
        device = device_of(renderer)
        features = renderer.encode_references(images_of([entry], device), maps_of([entry], device))[0]
        self.features[index] = features.permute(1, 2, 0).contiguous()  # so they are sampled, all channels at once


def bank_sizes(window_from_image: np.ndarray) -> tuple[int, int]:
    """How many lip and face references a clip may have, so that their pixels fit in memory.

    Args:
        window_from_image: [T, 2, 3] of the frames there are.
    """
    pixels = np.median(WINDOW_WIDTH * WINDOW_HEIGHT / np.linalg.det(window_from_image[:, :, :2]))
    fitting = int(BANK_PIXELS / pixels)
    num_lip = min(max(fitting // 3, MIN_LIP_BANK), LIP_BANK_SIZE)
    return num_lip, min(max(fitting - num_lip, MIN_FACE_BANK), FACE_BANK_SIZE)


def clear_frames(frames: np.ndarray, occlusion: Occlusion | None) -> np.ndarray:
    """Drop the frames [N] with an occluder, as long as enough others are left."""
    if occlusion is None:
        return frames
    clear = frames[~occlusion.is_occluded[frames]]
    return clear if len(clear) >= MIN_CLEAR_FRAMES else frames
