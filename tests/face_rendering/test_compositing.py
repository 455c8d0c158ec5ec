"""Maps, masks and the paste-back: untouched pixels, exact copies, and a mask that knows nothing of the mouth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import MediaError
from personatalk.face_rendering.clip_renderer import dub_strength
from personatalk.face_rendering.compositing import Plan, Raster, _sharp, composite, cut_crop
from personatalk.geometry.camera import (
    WINDOW_CENTRE,
    WINDOW_HEIGHT,
    WINDOW_WIDTH,
    apply_affine,
    invert_affine,
    warp_image,
    window_from_image,
)
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel, mouth_triangles
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.media.shots import Shots
from personatalk.occlusion.search import FaceEstimate
from personatalk.persons.search import Cast


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


def make_geometry(mesh: FaceMesh, num_frames: int = 2, scale: float = 150.0) -> FaceGeometry:
    return FaceGeometry(
        template=mesh.face_model.mean,
        expression=np.zeros((num_frames, mesh.face_model.num_expression), np.float32),
        rotation=np.tile(np.eye(3, dtype=np.float32), (num_frames, 1, 1)),
        translation=np.full((num_frames, 2), 250, np.float32),
        scale=np.full(num_frames, scale, np.float32),
        valid=np.ones(num_frames, bool),
        times=np.arange(num_frames) / 25,
    )


def make_plan(mesh: FaceMesh) -> Plan:
    return Plan(
        weights=np.stack([np.full((40, 48), w, np.float32) for w in (1.0, 1.0)]),
        offsets=np.zeros((2, 2, 40, 48), np.float32),
        gate=np.full((WINDOW_HEIGHT, WINDOW_WIDTH), 0.5, np.float32),
        residual=np.zeros((3, WINDOW_HEIGHT, WINDOW_WIDTH), np.float32),
        num_lip=1,
    )


def paste(mesh: FaceMesh, image: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Composite `source`, seen in the same pose, into `image`: result and mask, both of the crop."""
    geometry = make_geometry(mesh)
    affine = window_from_image(geometry)[0]
    crop, reference = cut_crop(image, affine), cut_crop(source, affine)
    projected = mesh.project(geometry.pose(0, geometry.template, crop.crop_from_image))
    height, width = crop.image.shape[:2]
    mask = mesh.mask(projected, geometry.template, height, width)
    index, barycentric = rasterize(projected, mesh.triangles, height, width)
    raster = Raster(index=index, barycentric=barycentric, triangles=mesh.triangles)
    both = np.stack([projected[:, :2]] * 2)
    result = composite(crop, mask, raster, [reference] * 2, projected=both, plan=make_plan(mesh))
    return result, mask


def test_outside_the_mask_nothing_changes(mesh):
    rng = np.random.default_rng(0)
    image, source = (rng.integers(0, 256, (600, 500, 3), np.uint8) for _ in range(2))
    result, mask = paste(mesh, image, source)
    crop = cut_crop(image, window_from_image(make_geometry(mesh))[0])
    assert (mask == 0).any() and (mask == 1).any()
    np.testing.assert_array_equal(result[mask == 0], crop.image[mask == 0])
    assert not np.array_equal(result[mask == 1], crop.image[mask == 1])


def test_the_same_pose_copies_native_pixels_exactly(mesh):
    rng = np.random.default_rng(1)
    image, source = (rng.integers(0, 256, (600, 500, 3), np.uint8) for _ in range(2))
    result, mask = paste(mesh, image, source)
    reference = cut_crop(source, window_from_image(make_geometry(mesh))[0])
    difference = np.abs(result.astype(int) - reference.image)[mask == 1]
    assert np.quantile(difference, 0.99) <= 1


def test_mask_depends_on_pose_alone(mesh):
    geometry = make_geometry(mesh)
    affine = window_from_image(geometry)[0]
    projected = mesh.project(geometry.pose(0, geometry.template, affine))
    mask = mesh.mask(projected, geometry.template, WINDOW_HEIGHT, WINDOW_WIDTH)
    spoken = geometry.expression.copy()
    spoken[:, :4] = 3
    assert not np.allclose(mesh.face_model.vertices(geometry.template, spoken), geometry.template, atol=0.02)
    other = FaceGeometry(**{**vars(geometry), "expression": spoken})
    np.testing.assert_array_equal(window_from_image(other)[0], affine)
    again = mesh.mask(mesh.project(other.pose(0, other.template, affine)), other.template, WINDOW_HEIGHT, WINDOW_WIDTH)
    np.testing.assert_array_equal(mask, again)


def test_window_is_centred_and_invertible(mesh):
    geometry = make_geometry(mesh)
    affine = window_from_image(geometry)[0]
    centre = geometry.project(np.array([WINDOW_CENTRE], np.float32))[0, :, :2]
    np.testing.assert_allclose(apply_affine(affine, centre)[0], (WINDOW_WIDTH / 2, WINDOW_HEIGHT / 2), atol=1e-3)
    points = np.random.default_rng(0).uniform(0, 400, (9, 2)).astype(np.float32)
    np.testing.assert_allclose(apply_affine(invert_affine(affine), apply_affine(affine, points)), points, atol=1e-2)


def test_identity_warp_keeps_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(warp_image(image, np.array([[1, 0, 0], [0, 1, 0]], np.float32), 50, 40), image)


def test_rasterizer_agrees_with_linear_interpolation():
    vertices = np.array([(2, 3, 1), (37, 6, 1), (11, 29, 1)], np.float32)
    triangles = np.array([(0, 1, 2)], np.int32)
    index, barycentric = rasterize(vertices, triangles, 32, 40)
    positions = interpolate(index, barycentric, triangles, np.ascontiguousarray(vertices[:, :2]))
    rows, columns = np.nonzero(index == 0)
    assert len(rows) == pytest.approx(0.5 * abs(np.cross(*(vertices[1:, :2] - vertices[0, :2]))), rel=0.05)
    np.testing.assert_allclose(positions[0, rows, columns], columns + 0.5, atol=1e-3)
    np.testing.assert_allclose(positions[1, rows, columns], rows + 0.5, atol=1e-3)


def test_nearer_triangle_hides_the_farther():
    square = np.array([(0, 0, 5), (40, 0, 5), (0, 40, 5), (0, 0, 1), (40, 0, 1), (0, 40, 1)], np.float32)
    for order in ([(0, 1, 2), (3, 4, 5)], [(3, 4, 5), (0, 1, 2)]):
        index, _ = rasterize(square, np.array(order, np.int32), 16, 16)
        assert (index == order.index((3, 4, 5))).all()


def test_inner_mouth_is_closed_by_triangles_of_the_lips():
    triangles = mouth_triangles()
    edges = {tuple(sorted(pair)) for t in triangles for pair in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))}
    assert len(triangles) == 18 and (13, 14) in edges or (14, 13) in edges


def test_turned_and_lost_faces_fade_to_the_source(mesh):
    geometry = make_geometry(mesh, 20)
    geometry.valid[10] = False
    strength = dub_strength(geometry)
    assert strength[10] == 0 and strength[0] == 1 and 0 < strength[9] < 1
    turned = make_geometry(mesh, 3)
    turned.rotation[1] = np.array([(0, 0, 1), (0, 1, 0), (-1, 0, 0)], np.float32)
    assert dub_strength(turned)[1] == 0


def test_at_a_cut_there_is_no_fade_but_into_a_dissolve_there_is(mesh):
    shot = np.repeat((0, 1, 2, -1, 3), (10, 10, 10, 4, 6))
    geometry = replace(make_geometry(mesh, 40), shot=shot, valid=(shot == 0) | (shot == 2))
    strength = dub_strength(geometry)
    assert (strength[:10] == 1).all() and (strength[20:26] == 1).all(), "what another shot shows does not count"
    assert 0 < strength[29] < strength[27] < 1 and not strength[~geometry.valid].any()


def test_a_clip_too_short_for_references_is_refused(pipeline, mesh, tmp_path, clip, speech, monkeypatch):
    geometry = make_geometry(mesh, 5)
    times = np.arange(5) / 25
    shots = Shots(first=np.array([0]), last=np.array([4]), num_frames=5)
    cast = Cast(persons=[], shots=shots, times=times, pts=np.arange(5), width=64, height=48)
    monkeypatch.setattr("personatalk.pipeline.find_persons", lambda *_, **__: cast)
    face = FaceEstimate(geometry=geometry)
    monkeypatch.setattr("personatalk.pipeline.estimate_face", lambda *_, **__: face)
    with pytest.raises(MediaError, match="5 frames show the face, and one second is needed"):
        pipeline.dub(clip, speech, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("place", [(8.3, 7.6), (1.2, 5.0), (0.1, 0.2), (15.9, 11.8), (14.4, 10.3), (9.0, -3.0)])
def test_colours_between_pixels_follow_the_cubic_wherever_they_lie(place):
    """Inside, where rows are mixed side by side, and at the border, where the last pixels are repeated."""
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    x, y = np.clip(place, 0.5, (15.5, 11.5)) - 0.5
    column, row = int(x), int(y)

    def cubic(t):
        return 0.5 * np.array(
            [t * (t * (2 - t) - 1), t * t * (3 * t - 5) + 2, t * (t * (4 - 3 * t) + 1), t * t * (t - 1)]
        )

    around = np.pad(image.astype(float), ((1, 2), (1, 2), (0, 0)), "edge")[row : row + 4, column : column + 4]
    expected = np.einsum("i,j,ijc->c", cubic(y - row), cubic(x - column), around)
    pixels = np.concatenate([np.full(30, 255, np.uint8), image.ravel(), np.zeros(4, np.uint8)])
    found = _sharp(pixels, 10, 12, 16, np.float32(place[0]), np.float32(place[1]), np.empty(16, np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-2)
