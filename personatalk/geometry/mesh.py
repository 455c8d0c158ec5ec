"""Geometry as the renderer sees it: maps of the face over the window, its mask, and correspondences."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.face_geometry import FramePose
from personatalk.geometry.face_model import FACE_CORNERS, OVAL, FaceModel, add_border, border_triangles, smoothstep
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.kernels import kernel

MAP_STRIDE = 4  # geometry maps are made at 1/4 of the window
PRIOR_STRIDE, NUM_PRIOR_CHANNELS = 2, 5  # textures are predicted at 1/2 of the window
NUM_MAP_CHANNELS = 8
DISPLACEMENT_GAIN = 8.0
OUTSIDE_PX = -1e4  # where the target has no face
MASK_CENTRE = (0.0, 0.9)  # IOD, head space
MASK_HALF_WIDTH, MASK_ABOVE, MASK_BELOW_CHIN = 0.74, 0.46, 0.42
MASK_EDGE = 0.78  # share of the mask's radius where it begins to fade
BLEND_MARGIN, BLEND_FADE = 0.05, 0.04  # IOD around the faces, and within which it fades
BLEND_EDGE = (
    0.92  # as MASK_EDGE, below the chin: what lies within is rendered, and an open mouth's chin may reach there
)
DROP = 0.04, 0.2  # IOD by which the source's jaw is lower than the driven one, that the margin grows between
EDGE_ON = 0.3  # cosine below which a ring's triangle is seen edge-on
LIP_CENTRE, LIP_RADII = (0.0, 0.77), (0.46, 0.36)


class FaceMesh:
    """The face model's mesh with the rings around it, ready for the window.

    Args:
        face_model: gives topology and canonical positions.
    """

    def __init__(self, face_model: FaceModel) -> None:
        self.face_model = face_model
        self.triangles = np.ascontiguousarray(np.concatenate([face_model.triangles, border_triangles()]), np.int32)
        self.canonical = add_border(face_model.mean, face_model.mean)
        from_centre = face_model.mean[:, :2] - face_model.mean[FACE_CORNERS, :2].mean(0)
        below = np.clip(from_centre[:, 1] / np.linalg.norm(from_centre, axis=1), 0, 1)
        self._below = below**4  # beside the chin a background is near
        self._inwards = np.sign(normals(self.canonical, self.triangles)[:, 2:])
        centre, radii = np.array(LIP_CENTRE), np.array(LIP_RADII)
        radius = np.linalg.norm((self.canonical[:, :2] - centre) / radii, axis=1)
        self.lip_region = (1 - smoothstep(radius, 0.75, 1.15)).astype(np.float32)
        first_mouth = len(face_model.triangles) - 18
        self.is_mouth_triangle = np.zeros(len(self.triangles), bool)
        self.is_mouth_triangle[first_mouth : len(face_model.triangles)] = True

    def project(self, pose: FramePose) -> np.ndarray:
        """Carry the face of a pose, border included, into the pose's target: [N, 3] px."""
        return pose.project(add_border(pose.vertices, pose.template))

    def geometry_map(self, pose: FramePose, projected: np.ndarray) -> np.ndarray:
        """Draw the face over the window at 1/4 of its size.

        Args:
            pose: of the face, its target the window.
            projected: [N, 3] px of the window, what `project` gives for the pose.

        Returns:
            [8, H / 4, W / 4]: canonical x, y; displacement x, y, z; inside of the mouth; face; lip region.
        """
        displacement = np.zeros((len(projected), 3), np.float32)  # the border does not move
        displacement[: len(pose.template)] = pose.vertices.astype(np.float32) - pose.template.astype(np.float32)
        ones = np.ones((len(projected), 1), np.float32)
        attributes = np.concatenate(
            [self.canonical[:, :2], displacement * DISPLACEMENT_GAIN, 0 * ones, ones, self.lip_region[:, None]], 1
        ).astype(np.float32)
        height, width = WINDOW_HEIGHT // MAP_STRIDE, WINDOW_WIDTH // MAP_STRIDE
        index, barycentric = rasterize(projected / np.float32(MAP_STRIDE), self.triangles, height, width)
        maps = interpolate(index, barycentric, self.triangles, attributes)
        maps[5] = self.is_mouth_triangle[index] & (index >= 0)
        return maps

    def mask(
        self,
        projected_template: np.ndarray,
        template: np.ndarray,
        height: int,
        width: int,
        *,
        edge_below: float = MASK_EDGE,
    ) -> np.ndarray:
        """Draw the region that is rendered anew.

        It follows the template under the head's pose, reaches below any chin that may drop, and so
        tells nothing of the true mouth.

        Args:
            projected_template: [N, 3] px, the template with rings, projected.
            template: [V, 3] IOD.
            height: px.
            width: px.
            edge_below: share of the radius below the chin where it begins to fade.

        Returns:
            [height, width] in [0, 1]
        """
        index, barycentric = rasterize(projected_template, self.triangles, height, width)
        flat = add_border(template, template)[:, :2] - np.array(MASK_CENTRE, np.float32)
        below = template[152, 1] + MASK_BELOW_CHIN - MASK_CENTRE[1]
        return _elliptical_mask(index, barycentric, self.triangles, flat.astype(np.float32), float(below), edge_below)

    def region(self, pose: FramePose, index: np.ndarray, own_vertices: np.ndarray | None) -> np.ndarray:
        """Draw where a dub replaces the source: `mask`, narrowed down by `blend_mask`.

        Args:
            pose: of the driven face.
            index: [H, W] of `rasterize`, the driven face with its border.
            own_vertices: [V, 3] IOD, the source's own face in that pose; None leaves the mask as wide as it is.

        Returns:
            [H, W] in [0, 1]
        """
        projected_template = self.project(pose.at_rest())
        if own_vertices is None:
            return self.mask(projected_template, pose.template, *index.shape)
        mask = self.mask(projected_template, pose.template, *index.shape, edge_below=BLEND_EDGE)
        own_projected = self.project(replace(pose, vertices=own_vertices))
        further = self.drop(own_vertices - pose.vertices)
        return self.blend_mask(mask, index, projected_template, own_projected, scale=pose.scale, further=further)

    def drop(self, moved: np.ndarray) -> np.ndarray:
        """Say how much lower a jaw came to lie below each triangle, beyond what the margin allows for.

        Args:
            moved: [V, 3] IOD, from another face to this one.

        Returns:
            [F] IOD; the rings take it from the jaw.
        """
        further = (np.clip(moved[:, 1], *DROP) - DROP[0]) * self._below
        return np.concatenate([further, further[OVAL], further[OVAL]])[self.triangles].mean(1)

    def blend_mask(
        self,
        mask: np.ndarray,
        index: np.ndarray,
        projected_template: np.ndarray,
        own_projected: np.ndarray,
        *,
        scale: float,
        further: np.ndarray | None = None,
    ) -> np.ndarray:
        """Narrow a mask down to where a driven face may replace the source: over either of the two, and close by.

        Elsewhere, as at a collar, the source is right as it is. But where the source's jaw lay lower, its beard or
        shadow reaches further than its mesh does, and would be a second chin. Where the rings are seen edge-on, what
        they carry is squeezed into a slit, so there the mask ends with the face. It fades in pixels, however the face
        is turned.

        Args:
            mask: [H, W] in [0, 1], of `mask`.
            index: [H, W] of `rasterize`, the driven face with rings.
            projected_template: [N, 3] px, as for `mask`.
            own_projected: [N, 3] px, the source's own face in the same picture.
            scale: px per IOD.
            further: [F] IOD of `drop`, by which the margin is wider; None for nowhere.

        Returns:
            [H, W] in [0, 1], nowhere above the mask.

        Ours: replacing all of the mask smeared collars and necks; the source's own pixels are right there.
        """
        num_face = len(self.face_model.triangles)
        own, _ = rasterize(own_projected, self.triangles[:num_face], *index.shape)
        outside = ((index < 0) | (index >= num_face)) & (own < 0)
        distance = cv2.distanceTransform(outside.view(np.uint8), cv2.DIST_L2, 3)
        margin = np.float32(BLEND_MARGIN * scale)
        if further is not None:
            margin = margin + (further * scale).astype(np.float32)[index]
        mask = mask * (1 - smoothstep(distance / margin, 1, 2))
        edge_on = facing(projected_template, self.triangles) < EDGE_ON
        edge_on[:num_face] = False
        mask[outside & edge_on[index]] = 0
        side = 2 * round(BLEND_FADE * scale / 2) + 1
        return cv2.blur(cv2.erode(mask, np.ones((side, side), np.uint8)), (side, side))

    def mouth_normals(self, template: np.ndarray) -> np.ndarray:
        """[P, 3] normals of the vertices of the lip region of a template [V, 3] IOD, into the head, as long as 1."""
        inwards = normals(add_border(template, template), self.triangles) * self._inwards
        count = len(self.lip_region)
        summed = np.stack([np.bincount(self.triangles.ravel(), axis.repeat(3), count) for axis in inwards.T], 1)
        summed = summed[self.lip_region > 0.5]
        return (summed / np.linalg.norm(summed, axis=1, keepdims=True)).astype(np.float32)

    def correspondence(self, projected: np.ndarray, references: np.ndarray, height: int, width: int) -> np.ndarray:
        """Find where each pixel of the target lies in each reference.

        Args:
            projected: [N, 3] px of the target, the target's grid.
            references: [R, N, 2] px, each in its own image.
            height: px of the target's grid.
            width: px of the target's grid.

        Returns:
            [R, height, width, 2] px; far outside (OUTSIDE_PX) where the target has no face.
        """
        index, barycentric = rasterize(projected, self.triangles, height, width)
        count = len(references)
        attributes = np.ascontiguousarray(references.transpose(1, 0, 2).reshape(len(projected), 2 * count), np.float32)
        grids = interpolate(index, barycentric, self.triangles, attributes, OUTSIDE_PX)
        return grids.reshape(count, 2, height, width).transpose(0, 2, 3, 1)


def facing(projected: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[F] in [0, 1], cosine of the angle at which each triangle [F, 3] of projected vertices [N, 3] px is seen."""
    normal = normals(projected, triangles)
    return np.abs(normal[:, 2]) / (np.linalg.norm(normal, axis=1) + 1e-9)


def normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[F, 3] normals of the triangles [F, 3] of vertices [N, 3], as long as twice their areas."""
    first, second, third = vertices[triangles.T]
    return np.cross(second - first, third - first)


@kernel("int32[:, ::1], float32[:, :, ::1], int32[:, ::1], float32[:, ::1], float64, float64")
def _elliptical_mask(index, barycentric, triangles, flat, below, edge_below):
    """Fill [H, W] with 1 around the origin of `flat` [N, 2], fading to 0 where the egg ends, `below` it and above."""
    filled = np.zeros(index.shape, np.float32)
    for row in range(index.shape[0]):
        for column in range(index.shape[1]):
            f = index[row, column]
            if f < 0:
                continue
            a, b, c = triangles[f]
            u, v, w = barycentric[row, column]
            x = (u * flat[a, 0] + v * flat[b, 0] + w * flat[c, 0]) / MASK_HALF_WIDTH
            y = u * flat[a, 1] + v * flat[b, 1] + w * flat[c, 1]
            y = y / MASK_ABOVE if y < 0 else y / below
            square = x * x + y * y
            edge = MASK_EDGE + (edge_below - MASK_EDGE) * y * y / square if y > 0 else MASK_EDGE
            if square <= edge**2:
                filled[row, column] = 1
            elif square < 1:
                t = (np.sqrt(square) - edge) / (1 - edge)
                filled[row, column] = 1 - t * t * (3 - 2 * t)
    return filled
