"""The references of a clip: their pixels, their encodings, and the texture prior learnt from all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch

from personatalk.concurrency import map_in_order, num_workers
from personatalk.errors import NoFaceError
from personatalk.face_rendering.compositing import Crop, cut_crop
from personatalk.face_rendering.detail import detail_energy
from personatalk.face_rendering.filling import fill_hidden
from personatalk.face_rendering.inputs import ReferenceFrame, device_of, images_of, maps_of, reference_frame
from personatalk.face_rendering.mouth_interior import gap_profile
from personatalk.face_rendering.reference_selection import ANY_LIGHT, ReferenceCandidates
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.face_rendering.texture_prior import MIN_TEXTURES, TextureFrame, TexturePrior, texture_frame
from personatalk.geometry.camera import (
    WINDOW_HEIGHT,
    WINDOW_WIDTH,
    share_in_picture,
    warp_image,
    window_from_image,
)
from personatalk.geometry.face_geometry import FaceGeometry, FramePose
from personatalk.geometry.face_model import HeadVertices
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.rasterizer import rasterize
from personatalk.media import Frame
from personatalk.occlusion.segmentation import Occlusion

MIN_IN_PICTURE = 0.5  # share of a reference's window; of the rest only the picture's border would be repeated


@dataclass(frozen=True, kw_only=True)
class BankEntry:
    """One reference of a clip, at the renderer's size and in its own pixels.

    Attributes:
        frame: prepared for the renderer.
        crop: native pixels.
        projected: [N, 2] px, vertices in the crop.
        detail: [40, 48] how strong the crop's fine detail is.
        gaps: [11] IOD between the inner lips, see `gap_profile`.
    """

    frame: ReferenceFrame
    crop: Crop
    projected: np.ndarray
    detail: np.ndarray
    gaps: np.ndarray


class ReferenceBank:
    """Reads and encodes the references of a clip.

    Args:
        mesh: the face mesh.
        geometry: of the clip that gives the references.
        candidates: which of its frames serve.
        occlusion: of the clip; what stands before the face is filled out of its frames.
    """

    def __init__(
        self,
        mesh: FaceMesh,
        geometry: FaceGeometry,
        candidates: ReferenceCandidates,
        occlusion: Occlusion | None = None,
    ) -> None:
        self.mesh, self.geometry, self.candidates, self.occlusion = mesh, geometry, candidates, occlusion
        self.entries: dict[int, BankEntry] = {}
        self.features: dict[int, torch.Tensor] = {}
        self.priors: dict[int, TexturePrior] = {}  # of each light, where enough frames show it
        self._head_vertices = HeadVertices(mesh.face_model, geometry.template, geometry.expression)
        self._windows = window_from_image(geometry)
        self._textures: dict[int, TextureFrame] = {}

    def gather(self, frames: Iterable[Frame], renderer: DualAttentionRenderer) -> None:
        """Take the candidates' frames out of a stream and encode them; the rest is let go.

        Raises:
            NoFaceError: no candidate shows the face.
        """
        missing = self.candidates.frames

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
        self.candidates = self.candidates.among(set(self.entries))
        if not len(self.candidates.lip_frames) or not len(self.candidates.face_frames):
            raise NoFaceError("the face lies outside the picture in all frames; use a clip that shows the whole mouth")
        for light in set(self.candidates.lights.tolist()) - {ANY_LIGHT}:
            textures = [self._textures[i] for i in sorted(self._textures) if self.candidates.lights[i] == light]
            if len(textures) >= MIN_TEXTURES:
                self.priors[light] = TexturePrior(self.mesh, self.geometry, textures)
        self._textures.clear()

    def _unhidden(self, image: np.ndarray, pose: FramePose, occlusion: Occlusion) -> np.ndarray:
        """Fill what stands before the face out of an image [H, W, 3] uint8 of a pose, its frame being occluded."""
        height, width = image.shape[:2]
        triangles = self.mesh.triangles[: len(self.mesh.face_model.triangles)]
        face = rasterize(self.mesh.project(pose), triangles, height, width)[0] >= 0
        hidden = np.asarray(occlusion.on_crop(pose.frame, pose.target_from_image, height, width))
        return fill_hidden(image, hidden, face)

    @torch.inference_mode()
    def _add(self, frame: Frame, renderer: DualAttentionRenderer) -> None:
        index, candidates = frame.index, self.candidates
        crop = cut_crop(frame.pixels, self._windows[index])
        height, width = frame.pixels.shape[:2]
        if crop is None or share_in_picture(self._windows[index], width, height) < MIN_IN_PICTURE:
            return
        window = warp_image(frame.pixels, self._windows[index], WINDOW_WIDTH, WINDOW_HEIGHT)
        pose = self.geometry.pose(index, self._head_vertices[index], self._windows[index])
        if self.occlusion is not None and index in self.occlusion.masks:
            crop = replace(crop, image=self._unhidden(crop.image, pose.into(crop.crop_from_image), self.occlusion))
            window = self._unhidden(window, pose, self.occlusion)
        if index in candidates.texture_frames:
            self._textures[index] = texture_frame(index, window, self.mesh.project(pose))
        if index not in candidates.lip_frames and index not in candidates.face_frames:
            return
        entry = reference_frame(self.mesh, pose, window)
        self.entries[index] = BankEntry(
            frame=entry,
            crop=crop,
            projected=self.mesh.project(pose.into(crop.crop_from_image))[:, :2],
            detail=detail_energy(crop.image, crop.window_from_crop),
            gaps=gap_profile(pose.vertices),
        )
        device = device_of(renderer)
        features = renderer.encode_references(images_of([entry], device), maps_of([entry], device))[0]
        self.features[index] = features.permute(1, 2, 0).contiguous()  # so they are sampled, all channels at once
