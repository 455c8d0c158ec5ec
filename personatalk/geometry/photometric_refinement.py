"""Photometric refinement by analysis by synthesis: a rendered face is compared with the pixels of each frame.

What is rendered has the texture that frames with like mouths show, under light of its own in each frame; identity,
expression and pose follow the gradient of the difference, which PyTorch3D's rasterizer carries to the vertices.

Source: analysis by synthesis as in Thies et al. 2016, "Face2Face"; light as in Ramamoorthi and Hanrahan 2001, "An
    efficient representation for irradiance environment maps".
Ours: the paper says "hybrid", not how. The texture is the clip's own and not a model's, because the face model has
    none; the flow-based refinement is where it starts, because from farther away gradients lose their way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import EYE_CORNERS
from personatalk.geometry.face_refinement import GreyWindows
from personatalk.geometry.lip_refinement import MIN_GAP_S, registered_frames, without_opening
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture, lip_descriptors
from personatalk.geometry.pytorch3d_rasterizer import barycentric_coordinates, nearest_triangles, require_pytorch3d
from personatalk.geometry.rasterizer import rasterize
from personatalk.progress import Tick, no_tick

ROUNDS = 3  # texture, light and visibility are found anew in each
STEPS = 15  # of gradient descent in a round
PASSES = ROUNDS * (STEPS + 1)  # over the registered frames
MAX_STEP_S = 0.07  # s; frames farther apart need not move alike
STRIDE = 2  # px of the window for one that is compared
BATCH_FRAMES = 16  # that are worked on at once
LIKENESS = 0.03  # IOD between two mouths at which one counts .37 for the texture of the other
LEAST_WEIGHT = 1e-3  # of the least like frame, so that every place has a texture
TINY = 1e-9
NUM_LIGHT = 9  # spherical harmonics up to the second order
LIGHT_RIDGE = 1e-2  # pulls the light to what was there before, against a mean square over pixels
LEAST_SHADE = 0.3
ROBUSTNESS = 0.03  # of 1; larger differences count linearly
LIP_WEIGHT = 3.0  # of pixels of the lips
STEP_SIZES = {"identity": 0.02, "expression": 0.05, "turn": 0.001, "shift": 0.001, "growth": 0.001}
# weights of squared corrections, and of their squared second differences over time, against the mean difference
STAY = {"identity": 0.01, "expression": 3e-4, "turn": 1.0, "shift": 1.0, "growth": 1.0}
SMOOTH = {"expression": 3e-4, "turn": 10.0, "shift": 10.0, "growth": 10.0}


class Corrections(nn.Module):
    """What is looked for: steps of identity, expression and pose from a fit.

    Args:
        geometry: the fit.
        frames: [T] those to correct.
        window_from_image: [T, 2, 3], of these frames.
        mesh: the face mesh.
    """

    def __init__(self, geometry: FaceGeometry, frames: np.ndarray, window_from_image: np.ndarray, mesh: FaceMesh):
        super().__init__()
        model, count = mesh.face_model, len(frames)
        self.identity = nn.Parameter(torch.zeros(len(model.shape_basis)))  # standard deviations
        self.expression = nn.Parameter(torch.zeros(count, model.num_expression))  # standard deviations
        self.turn = nn.Parameter(torch.zeros(count, 3))  # radians
        self.shift = nn.Parameter(torch.zeros(count, 2))  # IOD
        self.growth = nn.Parameter(torch.zeros(count))  # logarithm of the scale
        self.geometry, self.frames = geometry, frames
        self.start = {
            name: torch.from_numpy(getattr(geometry, name)[frames]).float()
            for name in ("expression", "rotation", "translation", "scale")
        }
        self.middle = torch.from_numpy(middle_frames(geometry, frames))
        self.window_from_image = torch.from_numpy(window_from_image).float()
        self.template = torch.from_numpy(geometry.template).float()
        self.shape_basis = torch.from_numpy(model.shape_basis).float()
        self.expression_basis = torch.from_numpy(model.expression_basis).float()

    def pose(self, batch: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Rotation [B, 3, 3], translation [B, 2] px and scale [B] px per IOD of some of the frames."""
        x, y, z = self.turn[batch].unbind(-1)
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
        scale = self.start["scale"][batch]
        rotation = torch.linalg.matrix_exp(skew) @ self.start["rotation"][batch]
        translation = self.start["translation"][batch] + self.shift[batch] * scale[:, None]
        return rotation, translation, scale * self.growth[batch].exp()

    def project(self, batch: slice) -> Tensor:
        """The vertices of some of the frames, [B, V, 3] px of the window."""
        template = self.template + torch.einsum("k,kvc->vc", self.identity, self.shape_basis)
        coefficients = self.start["expression"][batch] + self.expression[batch]
        head = template + torch.einsum("bk,kvc->bvc", coefficients, self.expression_basis)
        rotation, translation, scale = self.pose(batch)
        turned = head @ rotation.transpose(-1, -2) * scale[:, None, None]
        affine = self.window_from_image[batch]
        flat = (turned[..., :2] + translation[:, None]) @ affine[..., :2].transpose(-1, -2) + affine[:, None, :, 2]
        zoom = torch.linalg.det(affine[..., :2]).abs().sqrt()
        return torch.cat([flat, turned[..., 2:] * zoom[:, None, None]], -1)

    def penalty(self) -> Tensor:
        """How far the corrections are from nothing, and from being smooth over time."""
        total = torch.zeros(())
        for name, weight in STAY.items():
            total = total + weight * getattr(self, name).square().mean()
        middle = self.middle
        for name, weight in SMOOTH.items() if len(middle) else ():
            values = getattr(self, name)
            bend = values[middle + 1] - 2 * values[middle] + values[middle - 1]
            total = total + weight * bend.square().mean()
        return total

    @torch.no_grad()
    def corrected(self, mesh: FaceMesh) -> FaceGeometry:
        """The fit with the corrections in it; the eye corners of its template are 1 apart again.

        As in `lip_refinement`, what of the corrections follows the lip aperture is taken out: a texture of several
        mouths is blurred where they differ, which would close the widest.
        """
        frames, start = self.frames, self.geometry
        template = (self.template + torch.einsum("k,kvc->vc", self.identity, self.shape_basis)).numpy()
        unit = np.float32(np.linalg.norm(template[EYE_CORNERS[0]] - template[EYE_CORNERS[1]]))
        opening = lip_aperture(mesh.face_model.vertices(start.template, start.expression[frames]))
        steps = without_opening(self.expression.numpy()[..., None], opening)[..., 0].astype(np.float32)
        rotation, translation, scale = (part.numpy() for part in self.pose(slice(None)))
        found = {"rotation": rotation, "translation": translation, "scale": scale}
        found["expression"] = start.expression[frames] + steps
        arrays = {name: getattr(start, name).copy() for name in found}
        for name, values in found.items():
            arrays[name][frames] = values
        arrays["expression"] /= unit
        arrays["scale"] *= unit
        return replace(start, template=(template / unit).astype(np.float32), **arrays)


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The pixels of some frames that show the face, and what does not follow the gradient.

    Attributes:
        batch: which frames.
        frame: [P] position in the batch.
        corners: [P, 3] vertices of the triangle that each pixel shows.
        centres: [P, 2] px, at which it lies.
        value: [P] in [0, 1].
        weight: [P] sums to 1 over each frame.
        textures: [B, h, w] in [0, 1], without light.
        shade: [B, V] factor of the light at the vertices.
    """

    batch: slice
    frame: Tensor
    corners: Tensor
    centres: Tensor
    value: Tensor
    weight: Tensor
    textures: Tensor
    shade: Tensor


class Synthesis:
    """Renders the face of a clip as its frames should show it, and says how far they differ.

    Args:
        geometry: where the refinement starts.
        windows: of the clip's frames.
        mesh: the face mesh.
        frames: [T] those to look at.
    """

    def __init__(self, geometry: FaceGeometry, windows: GreyWindows, mesh: FaceMesh, frames: np.ndarray) -> None:
        self.geometry, self.frames, self.face_model = geometry, frames, mesh.face_model
        self.images = shrink(torch.from_numpy(np.stack([windows[int(t)] for t in frames])).float() / 255)
        self.corrections = Corrections(geometry, frames, windows.window_from_image[frames], mesh)
        count = len(mesh.face_model.triangles)
        self.triangles = torch.from_numpy(mesh.triangles[:count].astype(np.int64))
        self.is_skin = torch.from_numpy(~mesh.is_mouth_triangle[:count])
        weight = 1 + (LIP_WEIGHT - 1) * mesh.lip_region[: len(mesh.face_model.mean)]
        self.importance = torch.from_numpy(weight)
        frontal = int(frames[geometry.rotation[frames, 2, 2].argmax()])
        flat = geometry.pose(frontal, geometry.template, windows.window_from_image[frontal])
        canonical = flat.project(geometry.template) / np.float32(STRIDE)
        index, barycentric = rasterize(canonical, mesh.triangles[:count], *self.images.shape[1:])
        self.texels = torch.from_numpy(np.argwhere(index >= 0))  # [Q, 2] row, column
        where = self.texels.unbind(1)
        self.texel_triangle = torch.from_numpy(index).long()[where]
        self.texel_coordinates = torch.from_numpy(barycentric)[where]
        self.places = torch.from_numpy(canonical[:, :2])  # [V, 2] px of the texture
        self.sign = normals(torch.from_numpy(canonical)[None], self.triangles)[0, :, 2].sign()
        self.shade = torch.ones(len(frames), len(mesh.face_model.mean))

    def batches(self) -> Iterator[slice]:
        """All frames, some at a time."""
        for start in range(0, len(self.frames), BATCH_FRAMES):
            yield slice(start, start + BATCH_FRAMES)

    @torch.no_grad()
    def look(self, tick: Tick = no_tick) -> list[Pixels]:
        """Find texture, light and visibility for the corrections as they are."""
        projected = torch.cat([self.corrections.project(batch) for batch in self.batches()]) / STRIDE
        textures = self.textures(projected)
        found = []
        for batch in self.batches():
            found.append(self.light_up(batch, projected[batch], textures[batch]))
            tick_all(tick, len(projected[batch]))
        return found

    def textures(self, projected: Tensor) -> Tensor:
        """What each frame should show, without light, as frames with like mouths have it: [T, h, w]."""
        corners = self.triangles[self.texel_triangle]
        mixed = torch.einsum("qk,tqkc->tqc", self.texel_coordinates, projected[:, corners, :2])
        shade = torch.einsum("qk,tqk->tq", self.texel_coordinates, self.shade[:, corners])
        frame = torch.arange(len(projected))[:, None].expand(mixed.shape[:2])
        albedo = sample(self.images, frame.reshape(-1), mixed.reshape(-1, 2)).view(shade.shape) / shade
        seen = self.facing(projected)[:, self.texel_triangle] + LEAST_WEIGHT
        weight = self.likeness()
        values = (weight @ (seen * albedo)) / (weight @ seen)
        textures = values.new_zeros(len(projected), *self.images.shape[1:])
        textures[:, self.texels[:, 0], self.texels[:, 1]] = values
        return textures

    def likeness(self) -> Tensor:
        """[T, T] how much of each frame's texture goes into that of another; none of its own and its neighbours'."""
        start, frames = self.geometry, self.frames
        expression = (self.corrections.start["expression"] + self.corrections.expression).numpy()
        head = self.face_model.vertices(start.template, expression)
        descriptors = lip_descriptors(head, start.template, start.rotation[frames])
        weight = np.exp(-((cdist(descriptors, descriptors) / LIKENESS) ** 2)) + LEAST_WEIGHT
        weight[np.abs(frames[:, None] - frames) < start.frames_in(MIN_GAP_S)] = 0
        weight[start.light[frames][:, None] != start.light[frames]] = 0
        weight += TINY  # where no frame may serve, all do
        return torch.from_numpy(weight / weight.sum(1, keepdims=True)).float()

    def facing(self, projected: Tensor) -> Tensor:
        """[T, F] in [0, 1], cosine of the angle at which each triangle is seen; 0 from behind."""
        normal = normals(projected, self.triangles) * self.sign[:, None]
        return torch.nn.functional.normalize(normal, dim=-1)[..., 2].clamp(min=0)

    def light_up(self, batch: slice, projected: Tensor, textures: Tensor) -> Pixels:
        """Find what a batch of frames shows of the face, and the light in which it agrees best with the texture."""
        height, width = textures.shape[1:]
        index = nearest_triangles(projected, self.triangles, height, width)
        shows = (index >= 0) & self.is_skin[index.clamp(min=0).long()]
        frame, row, column = torch.nonzero(shows, as_tuple=True)
        corners = self.triangles[index[shows].long()]
        centres = torch.stack([column, row], -1) + 0.5
        value = self.images[batch][shows]
        coordinates = barycentric_coordinates(projected[frame[:, None], corners, :2], centres)
        weight = (coordinates * self.importance[corners]).sum(-1)
        weight = weight * self.facing(projected)[frame, index[shows].long()]
        weight = weight / torch.zeros(len(projected)).index_add(0, frame, weight).clamp(min=1e-6)[frame]
        places = (coordinates[..., None] * self.places[corners]).sum(1)
        albedo = sample(textures, frame, places)
        basis = light_basis(vertex_normals(projected, self.triangles, self.sign))  # [B, V, 9]
        at_pixels = (coordinates[..., None] * basis[frame[:, None], corners]).sum(1) * albedo[:, None]
        for number in range(len(projected)):
            here = frame == number
            self.shade[batch.start + number] = basis[number] @ solve_light(at_pixels[here], value[here], weight[here])
        self.shade.clamp_(min=LEAST_SHADE)
        return Pixels(
            batch=batch, frame=frame, corners=corners, centres=centres, value=value, weight=weight, textures=textures,
            shade=self.shade[batch],
        )  # fmt: skip

    def difference(self, pixels: Pixels) -> Tensor:
        """How far a batch of frames differs from what is rendered, summed over its frames."""
        projected = self.corrections.project(pixels.batch) / STRIDE
        frame, corners = pixels.frame, pixels.corners
        coordinates = barycentric_coordinates(projected[frame[:, None], corners, :2], pixels.centres)
        places = (coordinates[..., None] * self.places[corners]).sum(1)
        shade = (coordinates * pixels.shade[frame[:, None], corners]).sum(1)
        rendered = sample(pixels.textures, frame, places) * shade
        missed = ((rendered - pixels.value).square() + ROBUSTNESS**2).sqrt() - ROBUSTNESS
        return (missed * pixels.weight).sum()


def refine_photometrically(
    geometry: FaceGeometry, windows: GreyWindows, mesh: FaceMesh, *, tick: Tick = no_tick
) -> FaceGeometry:
    """Refine identity, expression and pose until the rendered face agrees with the pixels, in at most 400 frames.

    Args:
        geometry: where to start.
        windows: of the clip's frames; where fewer than there are frames, the rest stays.
        mesh: the face mesh.
        tick: called PASSES times for each registered frame.

    Raises:
        AdapterError: PyTorch3D is not installed.
    """
    require_pytorch3d("photometric refinement")
    frames = registered_frames(geometry.valid[: len(windows)])
    if len(frames) < 2:
        return geometry
    synthesis = Synthesis(geometry, windows, mesh, frames)
    corrections = synthesis.corrections
    optimizer = torch.optim.Adam(
        [{"params": [values], "lr": STEP_SIZES[name]} for name, values in corrections.named_parameters()]
    )
    for _ in range(ROUNDS):
        looks = synthesis.look(tick)
        for _ in range(STEPS):
            optimizer.zero_grad()
            for pixels in looks:
                (synthesis.difference(pixels) / len(frames)).backward()
                tick_all(tick, len(pixels.shade))
            corrections.penalty().backward()
            optimizer.step()
    return corrections.corrected(mesh)


def middle_frames(geometry: FaceGeometry, frames: np.ndarray) -> np.ndarray:
    """Positions in frames [T] of those that lie between two others of their shot, less than MAX_STEP_S away."""
    positions = np.arange(1, len(frames) - 1)
    before, here, after = frames[:-2], frames[1:-1], frames[2:]
    is_near = geometry.times[after] - geometry.times[before] < 2 * MAX_STEP_S
    is_same = (geometry.shot[before] == geometry.shot[here]) & (geometry.shot[here] == geometry.shot[after])
    return positions[is_near & is_same]


def tick_all(tick: Tick, count: int) -> None:
    """Call a tick for each of so many frames."""
    for _ in range(count):
        tick()


def solve_light(basis: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """Find the light by weighted ridge regression.

    Args:
        basis: [P, 9], times the texture.
        value: [P] in [0, 1].
        weight: [P] sums to 1.

    Returns:
        [9] factors of the basis; (1, 0, ...) changes nothing.
    """
    start = torch.zeros(NUM_LIGHT)
    start[0] = 1
    weighted = basis * weight[:, None]
    normal = weighted.T @ basis + LIGHT_RIDGE * torch.eye(NUM_LIGHT)
    return start + torch.linalg.solve(normal, weighted.T @ (value - basis[:, 0]))


def light_basis(normal: Tensor) -> Tensor:
    """Spherical harmonics up to the second order, without their constants: normals [..., 3] -> [..., 9]."""
    x, y, z = normal.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], -1)


def normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """[B, F, 3] normals of triangles [F, 3] of vertices [B, V, 3], as long as twice their areas."""
    first, second, third = (vertices[:, corner] for corner in triangles.unbind(1))
    return torch.linalg.cross(second - first, third - first)


def vertex_normals(vertices: Tensor, triangles: Tensor, sign: Tensor) -> Tensor:
    """[B, V, 3] normals of vertices [B, V, 3], as long as 1; sign [F] turns those of the triangles to one side."""
    around = (normals(vertices, triangles) * sign[:, None]).repeat_interleave(3, 1)
    summed = torch.zeros_like(vertices).index_add(1, triangles.reshape(-1), around)
    return torch.nn.functional.normalize(summed, dim=-1)


def sample(images: Tensor, frame: Tensor, places: Tensor) -> Tensor:
    """Sample images [B, h, w] bilinearly at places [P, 2] px of frames [P], with gradients to the places: [P]."""
    height, width = images.shape[1:]
    places = places - 0.5
    low = places.detach().floor()
    share = places - low
    x, y = low.long().unbind(1)
    x0, x1 = x.clamp(0, width - 1), (x + 1).clamp(0, width - 1)
    y0, y1 = y.clamp(0, height - 1), (y + 1).clamp(0, height - 1)
    top = torch.lerp(images[frame, y0, x0], images[frame, y0, x1], share[:, 0])
    bottom = torch.lerp(images[frame, y1, x0], images[frame, y1, x1], share[:, 0])
    return torch.lerp(top, bottom, share[:, 1])


def shrink(images: Tensor) -> Tensor:
    """Average images [T, H, W] over squares of STRIDE px."""
    return torch.nn.functional.avg_pool2d(images[:, None], STRIDE)[:, 0]
