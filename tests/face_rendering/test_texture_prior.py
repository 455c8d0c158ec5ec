"""The texture prior: kriging by an independent way, what it can tell, and what it must not know."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.face_rendering.reference_selection import MIN_GAP_S, spread_frames
from personatalk.face_rendering.texture_prior import (
    MIN_TEXTURES,
    TexturePrior,
    gp_weights,
    mix_textures,
    texture_frame,
)
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, window_from_image
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry.rasterizer import interpolate, rasterize

TARGET = 40
MIN_GAP = round(25 * MIN_GAP_S)  # frames at 25 Hz
AROUND = 120


class Scene:
    """A face of known geometry; a frame's window has one level inside the mask and one around it."""

    def __init__(self) -> None:
        self.mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
        self.geometry = fit_track(known_face(self.mesh.face_model, noise_iod=0, seed=4).track, self.mesh.face_model)
        self.affines = window_from_image(self.geometry)
        self.vertices = self.mesh.face_model.vertices(self.geometry.template, self.geometry.expression)
        self.count = len(self.geometry)

    def project(self, vertices, frame):
        return self.mesh.project(self.geometry.pose(frame, vertices, self.affines[frame]))

    def mask(self, frame):
        projected = self.project(self.geometry.template, frame)
        return self.mesh.mask(projected, self.geometry.template, WINDOW_HEIGHT, WINDOW_WIDTH) > 0

    def windows(self, inside, around):
        """[T, 160, 192, 3] uint8 of two levels for each frame."""
        levels = np.broadcast_to(inside, self.count), np.broadcast_to(around, self.count)
        images = [np.where(self.mask(t), levels[0][t], levels[1][t]) for t in range(self.count)]
        return np.repeat(np.clip(images, 0, 255).round().astype(np.uint8)[..., None], 3, -1)

    def prior(self, windows, frames=None):
        frames = range(self.count) if frames is None else frames
        return TexturePrior(
            self.mesh, self.geometry,
            [texture_frame(t, windows[t], self.project(self.vertices[t], t)) for t in frames],
        )  # fmt: skip

    def predict(self, prior, windows, frame=TARGET, vertices=None):
        vertices = self.vertices[frame] if vertices is None else vertices
        pose = self.geometry.pose(frame, vertices, self.affines[frame])
        here = slice(frame, frame + 1)
        (mouth,) = lip_descriptors(vertices[None], self.geometry.template, self.geometry.rotation[here])
        image = windows[frame].transpose(2, 0, 1).astype(np.float32) / 255 * ~self.mask(frame)
        return prior.predict(pose, self.mesh.project(pose), image, mouth, float(self.geometry.times[frame]))

    def level(self, prediction, frame=TARGET, lips=True):
        """Mean level deep inside the mask, of the lips or of the skin."""
        projected = self.project(self.vertices[frame], frame)
        raster = rasterize(projected / 2, self.mesh.triangles, WINDOW_HEIGHT // 2, WINDOW_WIDTH // 2)
        share = interpolate(*raster, self.mesh.triangles, self.mesh.lip_region[:, None])[0]
        deep = cv2.erode(self.mask(frame)[::2, ::2].astype(np.uint8), np.ones((9, 9))) > 0
        region = deep & ((share > 0.99) if lips else (share == 0))
        assert region.sum() > 50 and (prediction[3, region] > 0.99).all()
        return float(prediction[:3, region].mean() * 255)


@pytest.fixture(scope="module")
def scene():
    return Scene()


def test_weights_solve_the_system_of_ordinary_kriging():
    random = np.random.default_rng(0)
    points, target = random.normal(size=(20, 2)), random.normal(size=2)
    covariance = np.exp(-np.square(points[:, None] - points).sum(-1)) + 0.1 * np.eye(20)
    towards = np.exp(-np.square(points - target).sum(-1))
    allowed = random.random(20) > 0.3
    weights = gp_weights(np.linalg.inv(covariance), towards, allowed)
    rows = np.flatnonzero(allowed)
    system = np.ones((len(rows) + 1, len(rows) + 1))  # with the Lagrange multiplier of the weights' sum
    system[:-1, :-1], system[-1, -1] = covariance[np.ix_(rows, rows)], 0
    expected = np.linalg.solve(system, np.append(towards[rows], 1))[:-1]
    np.testing.assert_allclose(weights[rows], expected, atol=1e-9)
    assert not weights[~allowed].any()
    assert weights.sum() == pytest.approx(1)


def test_places_are_mixed_by_the_weights_of_what_they_are():
    random = np.random.default_rng(3)
    textures = random.integers(0, 255, (7, 4, 3)).astype(np.uint8)
    weights, share = random.normal(size=(2, 7)).astype(np.float32), np.float32((0, 0.25, 0.5, 1))
    lips, skin = np.einsum("kn,npc->kpc", weights, textures.astype(np.float32))
    mixed = mix_textures(textures.reshape(7, -1), weights, share)
    np.testing.assert_allclose(mixed, (1 - share)[:, None] * skin + share[:, None] * lips, rtol=1e-4, atol=1e-2)


def test_what_never_changes_is_predicted(scene):
    windows = scene.windows(90, AROUND)
    prediction = scene.predict(scene.prior(windows), windows)
    assert scene.level(prediction) == pytest.approx(90, abs=0.5)
    assert prediction.shape == (5, WINDOW_HEIGHT // 2, WINDOW_WIDTH // 2)
    assert (prediction >= 0).all() and (prediction <= 1).all()


def test_light_is_told_by_what_is_seen_around_the_mask(scene):
    change = np.random.default_rng(1).uniform(-25, 25, scene.count)
    windows = scene.windows(100 + change, AROUND + change)
    prior = scene.prior(windows)
    for lips, most in ((True, 4), (False, 1)):
        levels = [scene.level(scene.predict(prior, windows, t), t, lips) for t in range(30, 45)]
        assert np.abs(np.array(levels) - 100 - change[30:45]).mean() < most  # the mean of the clip errs by 12


def test_what_follows_the_expression_is_followed_beyond_what_was_seen(scene):
    expression = scene.geometry.expression
    main = np.linalg.svd(expression - expression.mean(0), full_matrices=False)[2][0]
    amount = (expression - expression.mean(0)) @ main
    amount = amount / amount.std()
    windows = scene.windows(100 + 15 * amount, AROUND)
    prior = scene.prior(windows)
    errors = [scene.level(scene.predict(prior, windows, t), t) - (100 + 15 * amount[t]) for t in range(30, 45)]
    assert np.abs(errors).mean() < 6  # the mean of the clip errs by 12
    highest = int(amount.argmax())
    beyond = scene.mesh.face_model.vertices(
        scene.geometry.template, (expression[highest] + main * amount[highest] * 0.3)[None]
    )[0]
    level = scene.level(scene.predict(prior, windows, highest, beyond), highest)
    assert level > 100 + 15 * amount.max() - 6 > scene.level(scene.predict(prior, windows)) + 5


def test_the_hidden_mouth_and_the_frames_beside_change_nothing(scene):
    random = np.random.default_rng(2)
    windows = random.integers(0, 255, (scene.count, 20, 24, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    before = scene.predict(scene.prior(windows), windows)
    beside = np.arange(TARGET - MIN_GAP + 1, TARGET + MIN_GAP)
    changed = windows.copy()
    changed[beside] = 255 - changed[beside]
    changed[TARGET] = np.where(scene.mask(TARGET)[..., None], 255 - windows[TARGET], windows[TARGET])
    np.testing.assert_allclose(scene.predict(scene.prior(changed), changed), before, atol=1e-4)
    far = np.setdiff1d(np.arange(scene.count), beside)
    changed[far] = 255 - changed[far]
    assert np.abs(scene.predict(scene.prior(changed), changed) - before)[:3].max() > 0.1


def test_something_before_the_cheek_is_not_taken_for_much_light(scene):
    change = np.random.default_rng(1).uniform(-10, 10, scene.count)
    windows = scene.windows(100 + change, AROUND + change)
    prior = scene.prior(windows)
    usual = scene.level(scene.predict(prior, windows))
    windows[TARGET, :, :40] = 255
    assert abs(scene.level(scene.predict(prior, windows)) - usual) < 25  # all of it white would be 125 more


def test_an_unusual_mouth_is_less_certain(scene):
    windows = scene.windows(100, AROUND)
    prior = scene.prior(windows)
    usual = scene.predict(prior, windows)[4].max()
    expression = scene.geometry.expression
    odd = scene.mesh.face_model.vertices(scene.geometry.template, expression[TARGET][None] + 3 * expression.std(0))[0]
    assert 0 < usual < scene.predict(prior, windows, vertices=odd)[4].max() < 1


def test_from_too_few_frames_nothing_is_predicted(scene):
    windows = scene.windows(90, AROUND)
    few = [*range(TARGET - 5, TARGET + 5), *range(MIN_TEXTURES - 1)]
    assert not scene.predict(scene.prior(windows, few), windows).any()
    assert scene.predict(scene.prior(windows, [*few, 70]), windows).any()


def test_frames_to_learn_from_are_spread_over_the_clip():
    shown = np.delete(np.arange(1000), slice(100, 200))
    chosen = spread_frames(shown, 300)
    assert len(chosen) == 300 and set(chosen) <= set(shown.tolist())
    assert np.diff(chosen).max() <= 104
    assert spread_frames(shown[:50], 200).tolist() == shown[:50].tolist()
