"""PyTorch3D behind the rasterizer's protocol: the numba one's result, with gradients; and what is said without it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import AdapterError
from personatalk.geometry import pytorch3d_rasterizer
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.pytorch3d_rasterizer import barycentric_coordinates
from personatalk.geometry.rasterizer import rasterize

HEIGHT, WIDTH = 80, 96


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """The face mesh, a little turned, in a window: projected vertices and triangles."""
    mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
    angle = 0.3
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    projected = mesh.canonical @ turn.T * 45 + np.array([WIDTH / 2, 8, 0])
    return projected.astype(np.float32), mesh.triangles


@pytest.mark.pytorch3d
def test_both_rasterizers_agree(scene):
    vertices, triangles = scene
    index, barycentric = rasterize(vertices, triangles, HEIGHT, WIDTH)
    found, coordinates = pytorch3d_rasterizer.rasterize(
        torch.from_numpy(vertices), torch.from_numpy(triangles.astype(np.int64)), HEIGHT, WIDTH
    )
    same = found.numpy() == index
    assert same.mean() > 0.995  # edges between triangles may fall to either
    inside = same & (index >= 0)
    assert inside.sum() > 2000
    np.testing.assert_allclose(coordinates.numpy()[inside], barycentric[inside], atol=2e-3)


@pytest.mark.pytorch3d
def test_a_batch_is_its_frames(scene):
    vertices, triangles = torch.from_numpy(scene[0]), torch.from_numpy(scene[1].astype(np.int64))
    batch = torch.stack([vertices, vertices + torch.tensor([5.0, -3.0, 1.0])])
    index, barycentric = pytorch3d_rasterizer.rasterize(batch, triangles, HEIGHT, WIDTH)
    for row, frame in enumerate(batch):
        alone, coordinates = pytorch3d_rasterizer.rasterize(frame, triangles, HEIGHT, WIDTH)
        assert torch.equal(index[row], alone)
        torch.testing.assert_close(barycentric[row], coordinates)


@pytest.mark.pytorch3d
def test_gradients_reach_the_vertices(scene):
    vertices = torch.from_numpy(scene[0]).clone().requires_grad_()
    triangles = torch.from_numpy(scene[1].astype(np.int64))
    index, barycentric = pytorch3d_rasterizer.rasterize(vertices, triangles, HEIGHT, WIDTH)
    barycentric[..., 0].sum().backward()
    assert torch.isfinite(vertices.grad).all() and (vertices.grad[:, :2].abs().sum(1) > 0).sum() > 200
    assert not vertices.grad[:, 2].any() and (index >= 0).any()


def test_barycentric_coordinates_rebuild_the_point():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(50, 3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    points = torch.rand(50, 2, generator=generator, dtype=torch.float64)
    coordinates = barycentric_coordinates(corners, points)
    torch.testing.assert_close((coordinates[..., None] * corners).sum(1), points)
    torch.testing.assert_close(coordinates.sum(1), torch.ones(50, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: barycentric_coordinates(x, points), corners)


def test_without_the_package_the_message_says_how_to_install_it(scene, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytorch3d" else found(name))
    vertices, triangles = torch.from_numpy(scene[0]), torch.from_numpy(scene[1].astype(np.int64))
    with pytest.raises(AdapterError, match=r"needs PyTorch3D.*pip install.*INSTALL\.md"):
        pytorch3d_rasterizer.rasterize(vertices, triangles, HEIGHT, WIDTH)
