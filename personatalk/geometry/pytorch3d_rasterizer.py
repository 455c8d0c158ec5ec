"""A differentiable rasterizer: PyTorch3D's, behind the same protocol as the numba one."""

from __future__ import annotations

import importlib.util
import sys

import torch
from torch import Tensor

from personatalk.errors import AdapterError

INSTALL_PAGE = "https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md"
NEAREST_DEPTH = 1.0  # PyTorch3D draws only what lies in front of the camera
LEAST_AREA = 1e-9  # px^2, twice that of a triangle


def has_pytorch3d() -> bool:
    """Whether PyTorch3D is installed; does not load it."""
    return importlib.util.find_spec("pytorch3d") is not None


def require_pytorch3d(purpose: str) -> None:
    """Refuse what needs PyTorch3D where it is not installed.

    Args:
        purpose: what needs it; the message begins with it.

    Raises:
        AdapterError: PyTorch3D is not installed; the message says how to install it.
    """
    if has_pytorch3d():
        return
    version = ".".join(map(str, sys.version_info[:2]))
    raise AdapterError(
        f"{purpose} needs PyTorch3D, which is not installed. PyPI has no wheel of it for Python {version}: build it "
        "from its source against the PyTorch that is installed, with "
        'pip install --no-build-isolation "git+https://github.com/facebookresearch/pytorch3d.git" '
        f"(requirements: {INSTALL_PAGE}). Where a wheel fits, pip install 'personatalk[pytorch3d]' is enough"
    )


def rasterize(vertices: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Find the nearest triangle under each pixel centre; gradients reach the vertices through the coordinates.

    Args:
        vertices: [..., N, 3] px; x right, y down, z away. First pixel centre at (0.5, 0.5).
        triangles: [F, 3] int64.
        height: px.
        width: px.

    Returns:
        index [..., H, W] int32, -1 where there is none; barycentric [..., H, W, 3], 0 where there is none.

    Raises:
        AdapterError: PyTorch3D is not installed.
    """
    leading = vertices.shape[:-2]
    batch = vertices.reshape(-1, *vertices.shape[-2:])
    index = nearest_triangles(batch.detach(), triangles, height, width)
    frame, row, column = torch.nonzero(index >= 0, as_tuple=True)
    corners = batch[frame[:, None], triangles[index[frame, row, column].long()], :2]
    centres = torch.stack([column, row], -1) + 0.5
    barycentric = batch.new_zeros(*index.shape, 3).index_put(
        (frame, row, column), barycentric_coordinates(corners, centres.to(batch.dtype))
    )
    return index.reshape(*leading, height, width), barycentric.reshape(*leading, height, width, 3)


@torch.no_grad()
def nearest_triangles(vertices: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """As `rasterize`, the index alone: vertices [B, N, 3] px -> [B, H, W] int32."""
    require_pytorch3d("differentiable rasterization")
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    count = len(vertices)
    meshes = Meshes(verts=ndc_from_image(vertices, height, width), faces=triangles.expand(count, -1, -1))
    packed = rasterize_meshes(meshes, (height, width), faces_per_pixel=1)[0][..., 0]
    first = torch.arange(count, device=packed.device).view(-1, 1, 1) * len(triangles)
    return torch.where(packed >= 0, packed - first, -1).int()  # PyTorch3D numbers the triangles of the whole batch


def ndc_from_image(vertices: Tensor, height: int, width: int) -> Tensor:
    """Carry projected vertices [B, N, 3] px into PyTorch3D's normalised device coordinates.

    There x points left and y up, the shorter side of the image spans [-1, 1], and z is positive.
    """
    side = min(height, width)
    x = (width - 2 * vertices[..., 0]) / side
    y = (height - 2 * vertices[..., 1]) / side
    z = 2 * vertices[..., 2] / side
    return torch.stack([x, y, z - z.amin(-1, keepdim=True) + NEAREST_DEPTH], -1)


def barycentric_coordinates(corners: Tensor, points: Tensor) -> Tensor:
    """Barycentric coordinates of points in triangles, differentiable.

    PyTorch3D has the same gradients, but on a CPU they take it a hundred milliseconds for a window at half its size,
    three times as long as its rasterization.

    Args:
        corners: [P, 3, 2] px.
        points: [P, 2] px; outside of a triangle its plane goes on.

    Returns:
        [P, 3], 1 in sum.
    """
    first, second, third = corners.unbind(1)
    area = _cross(second - first, third - first)
    area = torch.where(area.abs() < LEAST_AREA, LEAST_AREA, area)
    u = _cross(second - points, third - points) / area
    v = _cross(third - points, first - points) / area
    return torch.stack([u, v, 1 - u - v], -1)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
