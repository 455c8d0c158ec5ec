"""68 points of a known face give its vertices back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.sparse_landmarks import IBUG_VERTICES, SparseFitter, ibug_points

SCALE_PX = 80.0
MIRRORED = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38,
            37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), 64, 63, 62, 61, 60, 67, 66, 65]  # fmt: skip


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


@pytest.fixture(scope="module")
def fitter(face_model) -> SparseFitter:
    return SparseFitter(face_model)


def random_face(face_model: FaceModel, rng: np.random.Generator, yaw_deg: float) -> np.ndarray:
    """[V, 3] px of somebody, turned and placed."""
    head = face_model.mean + np.tensordot(rng.normal(size=len(face_model.shape_basis)), face_model.shape_basis, 1) * 0.7
    head = face_model.vertices(head, 0.7 * rng.normal(size=face_model.num_expression))
    angles = [yaw_deg, rng.uniform(-15, 15), rng.uniform(-25, 25)]
    rotation = Rotation.from_euler("yxz", angles, degrees=True).as_matrix()
    return SCALE_PX * head @ rotation.T + (300, 200, 0)


def test_points_are_named_from_one_side_to_the_other(face_model):
    points = ibug_points(face_model.mean)
    assert len(IBUG_VERTICES) == 68
    assert np.abs(points[MIRRORED] - points * (-1, 1, 1)).max() < 0.02
    assert len({vertex for pair in IBUG_VERTICES for vertex in pair}) == sum(map(len, IBUG_VERTICES))


def test_points_go_round_as_the_markup_says(face_model):
    x, y, _ = ibug_points(face_model.mean).T
    to_the_left = (range(17), range(17, 27), range(31, 36), range(36, 40), range(42, 46), range(48, 55), range(60, 65))
    to_the_right = ((39, 40, 41, 36), (45, 46, 47, 42), (*range(54, 60), 48), (64, 65, 66, 67, 60))
    for run in to_the_left:
        assert (np.diff(x[list(run)]) > 0).all()
    for run in to_the_right:
        assert (np.diff(x[list(run)]) < 0).all()
    assert (np.diff(y[:9]) > 0).all() and (np.diff(y[27:31]) > 0).all()
    for upper, lower in ((38, 40), (43, 47), (51, 62), (61, 67), (62, 66), (63, 65), (66, 57), (57, 8)):
        assert y[upper] < y[lower]


@pytest.mark.parametrize("yaw_deg", [0, -30, 60])
@pytest.mark.parametrize("depth", [None, 1, -1], ids=["2D", "3D", "3D, larger is nearer"])
def test_known_faces_come_back(fitter, face_model, yaw_deg, depth):
    rng = np.random.default_rng(1)
    known = np.stack([random_face(face_model, rng, yaw_deg) for _ in range(12)])
    points = ibug_points(known)
    points = points[..., :2] if depth is None else points * (1, 1, depth) + (0, 0, 55)
    found = np.stack([fitter.fit(frame) for frame in points])
    miss = found - known
    assert np.linalg.norm(miss[..., :2], axis=-1).mean() < 0.01 * SCALE_PX
    assert (
        miss[..., 2].std(1).mean() < (0.05 if depth is None else 0.02) * SCALE_PX
    )  # how far away a face is, is unknown
    true, seen = lip_aperture(known) / SCALE_PX, lip_aperture(found) / SCALE_PX
    assert np.corrcoef(true, seen)[0, 1] > 0.97
    assert np.abs(true - seen).mean() < 0.01
    assert found[:, 1, 2].mean() < found[:, 127, 2].mean(), "the tip of the nose is nearer than the temple"


def test_noise_is_not_explained_as_expression(fitter, face_model):
    rng = np.random.default_rng(2)
    known = np.stack([random_face(face_model, rng, 0) for _ in range(12)])
    points = ibug_points(known)[..., :2]
    noisy = points + rng.normal(scale=0.015 * SCALE_PX, size=points.shape)
    found = np.stack([fitter.fit(frame) for frame in noisy])
    miss = np.linalg.norm(ibug_points(found)[..., :2] - points, axis=-1).mean()
    assert miss < np.linalg.norm(noisy - points, axis=-1).mean()


def test_points_of_no_face_are_refused(fitter, face_model):
    rng = np.random.default_rng(3)
    face = ibug_points(SCALE_PX * face_model.mean)[:, :2]
    assert fitter.fit(face) is not None
    assert fitter.fit(rng.permutation(face)) is None
    for _ in range(10):
        assert fitter.fit(rng.uniform(0, 200, (68, 2))) is None
        assert fitter.fit(rng.normal(scale=30, size=(68, 2))) is None
