"""The painted inside of the mouth: only where references do not show it, only between the lips, and no leak."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from window_clips import pictures, tiny_renderer

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.mouth_interior import (
    COLUMNS,
    LOWER_INNER_LIP,
    ROWS,
    UPPER_INNER_LIP,
    MouthInterior,
    MouthInteriorConfig,
    gap_profile,
    is_worth_painting,
    load_mouth_interior,
    missing_share,
    mouth_gap,
    sharpen,
)
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import choose_candidates
from personatalk.geometry.camera import window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import apertures_of, lip_aperture, lip_descriptors
from personatalk.media import Frame


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


@pytest.fixture(scope="module")
def geometry(mesh) -> FaceGeometry:
    return fit_track(known_face(mesh.face_model, noise_iod=0, seed=0).track, mesh.face_model)


def stirred(widths=(8, 8, 8)) -> MouthInterior:
    torch.manual_seed(0)
    network = MouthInterior(MouthInteriorConfig(widths=widths, fine_width=8)).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return network


def opened(mesh: FaceMesh, geometry: FaceGeometry) -> tuple[np.ndarray, int]:
    """All vertices of a clip, and its frame with the most open mouth."""
    vertices = mesh.face_model.vertices(geometry.template, geometry.expression)
    return vertices, int(lip_aperture(vertices).argmax())


def dub(mesh, geometry, shown, *, interior, usable=None) -> ClipRenderer:
    """What renders a clip of pictures `shown` from the frames `usable` [T] bool."""
    vertices, _ = opened(mesh, geometry)
    demanded = lip_descriptors(vertices, geometry.template, geometry.rotation)
    source = geometry if usable is None else replace(geometry, valid=geometry.valid & usable)
    bank = ReferenceBank(mesh, source, choose_candidates(source, mesh, demanded))
    frames = (Frame(index=i, time=i / 25, pixels=im, pts=i, time_base=Fraction(1, 25)) for i, im in enumerate(shown))
    renderer = tiny_renderer()
    bank.gather(frames, renderer)
    return ClipRenderer(renderer, mesh, geometry, vertices, bank, interior=interior)


def test_what_references_show_is_not_missing():
    gaps = np.linspace(0, 0.2, 11)
    assert missing_share(gaps, np.stack([gaps, gaps]), np.array([0.3, 0.7])) == pytest.approx(np.zeros(11), abs=1e-6)
    wider = missing_share(gaps, gaps[None] * 1.5, np.ones(1))
    assert (wider == 0).all() and not is_worth_painting(gaps, wider)


def test_the_less_the_references_open_the_more_is_missing():
    gaps = np.full(11, 0.2)
    shares = [missing_share(gaps, gaps[None] * share, np.ones(1)).mean() for share in (1.0, 0.6, 0.3, 0.0)]
    assert shares == sorted(shares) and shares[-1] > 0.9
    assert is_worth_painting(gaps, missing_share(gaps, 0 * gaps[None], np.ones(1)))
    shut = np.full(11, 0.001)
    assert not is_worth_painting(shut, missing_share(shut, 0 * gaps[None], np.ones(1)))


def test_the_gap_lies_between_the_lips(mesh, geometry):
    vertices, target = opened(mesh, geometry)
    pose = geometry.pose(target, vertices[target], window_from_image(geometry)[target])
    projected, gaps = mesh.project(pose), gap_profile(vertices[target])
    gap = mouth_gap(mesh, projected, gaps, np.ones(11, np.float32))
    hole, across, down, missing = gap.maps
    rows, columns = np.nonzero(hole)
    lips = projected[[13, 14, 78, 308], :2] - (COLUMNS.start, ROWS.start)
    assert rows.mean() == pytest.approx(lips[:2, 1].mean(), abs=6)
    assert columns.mean() == pytest.approx(lips[2:, 0].mean(), abs=6)
    assert across.min() < -0.5 and across.max() > 0.5 and 0 <= down.min() and down.max() <= 1
    assert missing.max() == pytest.approx(1)
    assert (gap.share[hole == 0] == 0).all() and gap.share.max() > 0.9


def test_shut_lips_have_no_gap(mesh, geometry):
    vertices, target = opened(mesh, geometry)
    shut = vertices[target].copy()
    shut[list(LOWER_INNER_LIP)] = shut[list(UPPER_INNER_LIP)]
    pose = geometry.pose(target, shut, window_from_image(geometry)[target])
    assert mouth_gap(mesh, mesh.project(pose), gap_profile(shut), np.ones(11, np.float32)) is None


def test_a_mouth_that_references_show_is_not_painted(mesh, geometry):
    aperture = lip_aperture(opened(mesh, geometry)[0])
    target = int(np.argsort(aperture)[len(aperture) // 2])
    shown = pictures(1)
    usual = dub(mesh, geometry, shown, interior=stirred()).render(target, shown[target])
    plain = dub(mesh, geometry, shown, interior=None).render(target, shown[target])
    assert usual.rendering.interior is None
    np.testing.assert_array_equal(usual.image, plain.image)


def test_only_the_mouth_is_painted_where_references_are_shut(mesh, geometry):
    vertices, target = opened(mesh, geometry)
    shown, aperture = pictures(1), lip_aperture(vertices)
    usable = aperture <= np.quantile(aperture, 0.3)
    painted = dub(mesh, geometry, shown, interior=stirred(), usable=usable)
    plain = dub(mesh, geometry, shown, interior=None, usable=usable)
    result, before = painted.render(target, shown[target]), plain.render(target, shown[target])
    assert result.rendering.interior_share.max() > 0.9
    changed = (result.image != before.image).any(-1)
    mouth = geometry.pose(target, vertices[target]).project(vertices[target])[[13, 14, 61, 291], :2]
    rows, columns = np.nonzero(changed)
    margin = 0.4 * geometry.scale[target]  # detail is restored around what changed
    assert len(rows)
    assert rows.min() > mouth[:, 1].min() - margin and rows.max() < mouth[:, 1].max() + margin
    assert columns.min() > mouth[:, 0].min() - margin and columns.max() < mouth[:, 0].max() + margin


def test_the_share_of_painted_frames_is_that_of_the_rendered_ones(mesh, geometry, monkeypatch):
    aperture, shown = lip_aperture(opened(mesh, geometry)[0]), pictures(1)
    monkeypatch.setattr("personatalk.face_rendering.clip_renderer.PAINTED_STRIDE", 1)
    clip = dub(mesh, geometry, shown, interior=stirred(), usable=aperture <= np.quantile(aperture, 0.3))
    rendered = [clip.render(position, shown[position]).rendering for position in range(len(geometry))]
    painted = [each.interior is not None for each in rendered if each is not None]
    assert 0.2 < np.mean(painted) < 1
    assert clip.painted_share() == pytest.approx(np.mean(painted))
    assert dub(mesh, geometry, shown, interior=None).painted_share() == 0


def test_the_true_mouth_does_not_reach_the_painter(mesh, geometry):
    vertices, target = opened(mesh, geometry)
    shown, aperture = pictures(1), lip_aperture(vertices)
    usable = aperture <= np.quantile(aperture, 0.3)
    clip = dub(mesh, geometry, shown, interior=stirred(), usable=usable)
    other = shown[target].copy()
    pose = geometry.pose(target, geometry.template)
    inside = mesh.mask(mesh.project(pose), geometry.template, *other.shape[:2]) > 0.999
    other[inside] = 255 - other[inside]
    first, second = clip.render(target, shown[target]), clip.render(target, other)
    torch.testing.assert_close(first.rendering.interior, second.rendering.interior)
    assert first.rendering.interior_share.max() > 0.9


def test_the_shipped_network_paints_colours(mesh, geometry):
    network, size = load_mouth_interior(DEFAULT_FOLDER), (ROWS.stop - ROWS.start, COLUMNS.stop - COLUMNS.start)
    image, maps = torch.full((1, 3, *size), 0.5), torch.zeros(1, 4, *size)
    maps[..., 40:60, 30:80] = 1
    with torch.inference_mode():
        painted = network(image, maps, torch.zeros(1, 8, size[0] // 4, size[1] // 4))
    assert painted.shape == image.shape and -0.2 < painted.min() and painted.max() < 1.2


def test_painted_teeth_become_sharper_and_nothing_else_has_a_say():
    torch.manual_seed(0)
    hole, painted = torch.zeros(1, 1, 24, 32), torch.rand(1, 3, 24, 32)
    hole[..., 6:18, 8:26] = 1
    inside = hole.expand_as(painted) > 0
    result = sharpen(painted, hole)
    torch.testing.assert_close(result[~inside], painted[~inside])
    assert result[inside].std() > 1.3 * painted[inside].std()
    assert float(result[inside].mean()) == pytest.approx(float(painted[inside].mean()), abs=0.02)
    torch.testing.assert_close(sharpen(painted.where(inside, torch.tensor(7.0)), hole)[inside], result[inside])
    even = torch.full_like(painted, 0.4)
    torch.testing.assert_close(sharpen(even, hole), even)


def test_apertures_and_gaps_agree(mesh, geometry):
    vertices, _ = opened(mesh, geometry)
    assert np.corrcoef(gap_profile(vertices)[:, 4:7].mean(1), apertures_of(vertices))[0, 1] > 0.99
