"""The compiled rasterizer against one that asks every pixel about every triangle."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.geometry.rasterizer import rasterize

TOUCHING = 1e-6  # of barycentric coordinates, by which an edge belongs to both of its sides


def all_triangles(vertices, triangles, height, width):
    """Depths [F, H, W], infinite beside a triangle, and barycentric coordinates [F, H, W, 3], in double precision."""
    y, x = np.mgrid[:height, :width] + 0.5
    depths = np.full((len(triangles), height, width), np.inf)
    shares = np.full((len(triangles), height, width, 3), -1.0)
    for f, (a, b, c) in enumerate(vertices[triangles].astype(np.float64)):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
        v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
        shares[f] = np.stack([u, v, 1 - u - v], -1)
        inside = (shares[f] >= -TOUCHING).all(-1)
        depths[f][inside] = (shares[f] @ (a[2], b[2], c[2]))[inside]
    return depths, shares


@pytest.mark.parametrize(("placing", "doubtful"), [("anywhere", 1e-4), ("on corners", 1e-7), ("on centres", 1e-7)])
def test_every_pixel_gets_the_nearest_triangle(placing, doubtful):
    rng, num_judged = np.random.default_rng(0), 0
    for _ in range(60):
        height, width, count = (int(size) for size in rng.integers((1, 1, 3), (50, 50, 20)))
        vertices = rng.normal(size=(count, 3)) * rng.choice([2, 12, 60]) + (width / 2, height / 2, 0)
        if placing != "anywhere":
            vertices[:, :2] = vertices[:, :2].round() + (0.5 if placing == "on centres" else 0)
        vertices = vertices.astype(np.float32)
        triangles = rng.integers(0, count, (12, 3)).astype(np.int32)
        index, barycentric = rasterize(vertices, triangles, height, width)
        depths, shares = all_triangles(vertices, triangles, height, width)
        is_clear = (np.abs(shares + TOUCHING) > doubtful).all((0, 3))
        seen = np.isfinite(depths).any(0) & is_clear
        np.testing.assert_array_equal((index >= 0)[is_clear], seen[is_clear])
        of_index = np.maximum(index, 0)[None]
        found = np.take_along_axis(depths, of_index, 0)[0]
        np.testing.assert_allclose(found[seen], depths.min(0)[seen], atol=2e-3)
        expected = np.take_along_axis(shares, of_index[..., None], 0)[0]
        np.testing.assert_allclose(barycentric[seen], expected[seen], atol=2e-3)
        num_judged += int(seen.sum())
    assert num_judged > 5000


def test_pixels_under_an_edge_that_two_triangles_share_are_filled():
    vertices = np.array([(0.5, 0.5, 1), (8.5, 0.5, 1), (8.5, 8.5, 1), (0.5, 8.5, 1)], np.float32)
    index, _ = rasterize(vertices, np.array([(0, 1, 2), (0, 2, 3)], np.int32), 10, 10)
    assert (index[:9, :9] >= 0).all() and (index[9:] < 0).all() and (index[:, 9:] < 0).all()


@pytest.mark.parametrize("slope", [0.0, 1e-8, 1e-7, 1e-6, 1e-5, -1e-7, -1e-5])
def test_an_edge_that_is_almost_level_leaves_no_gap(slope):
    """Along it both coordinates are as small as rounding for many columns."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, right = (rng.uniform(*span) for span in ((-20, 0), (200, 230)))
        edge = [(x, 10.5 + slope * (x - 100) + rng.normal(0, 1e-6), 1) for x in (left, right)]
        vertices = np.array([*edge, (rng.uniform(50, 150), -40, 1), (rng.uniform(50, 150), 60, 1)], np.float32)
        index, _ = rasterize(vertices, np.array([(0, 1, 2), (1, 0, 3)], np.int32), 21, 200)
        assert (index[10, 30:170] >= 0).all()
