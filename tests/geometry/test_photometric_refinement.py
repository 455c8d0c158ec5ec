"""Photometric refinement: what was moved away from the picture comes nearer; and what is said without PyTorch3D."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from painted_face import grey_windows, painted_scene, scatter

from personatalk.errors import AdapterError
from personatalk.geometry.estimation import refine_face
from personatalk.geometry.face_model import LIPS
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.photometric_refinement import (
    PASSES,
    Corrections,
    light_basis,
    middle_frames,
    refine_photometrically,
    sample,
    solve_light,
)
from personatalk.options import DubbingOptions
from personatalk.pipeline import DubbingPipeline

SKIN = [*LIPS, 4, 6, 50, 280, 152]


@pytest.fixture(scope="module")
def scene():
    return painted_scene()


@pytest.fixture(scope="module")
def truth(scene):
    mesh, track, _ = scene
    return fit_track(track, mesh.face_model)


def moved(geometry, **steps):
    return replace(geometry, **{name: getattr(geometry, name) + step for name, step in steps.items()})


def misses(geometry, truth, mesh):
    """[T, N] px of the image, by which skin misses where it was painted."""
    found, known = (
        g.project(mesh.face_model.vertices(g.template, g.expression))[:, SKIN, :2] for g in (geometry, truth)
    )
    return np.linalg.norm(found - known, axis=-1)


@pytest.mark.slow
@pytest.mark.pytorch3d
@pytest.mark.parametrize("wrong", ["expression", "translation", "scale", "landmarks"])
def test_what_was_moved_away_comes_nearer_to_the_picture(scene, truth, wrong):
    mesh, track, images = scene
    random = np.random.default_rng(3)
    if wrong == "landmarks":
        start = fit_track(scatter(track, mesh, 1.2), mesh.face_model)
    else:
        size = {"expression": 0.5, "translation": 1.0, "scale": 0.6}[wrong]
        start = moved(truth, **{wrong: random.normal(0, size, getattr(truth, wrong).shape).astype(np.float32)})
    refined = refine_photometrically(start, grey_windows(start, images), mesh)
    # what all frames share shows in no comparison of frames: take each vertex' mean error away
    before, after = (np.diff(misses(g, truth, mesh), axis=0) for g in (start, refined))
    assert np.abs(after).mean() < 0.75 * np.abs(before).mean()
    assert misses(refined, truth, mesh).mean() < misses(start, truth, mesh).mean()


@pytest.mark.slow
@pytest.mark.pytorch3d
def test_a_fit_that_agrees_with_the_picture_stays(scene, truth):
    mesh, _, images = scene
    refined = refine_photometrically(truth, grey_windows(truth, images), mesh)
    assert misses(refined, truth, mesh).mean() < 0.3
    opening, after = (lip_aperture(mesh.face_model.vertices(g.template, g.expression)) for g in (truth, refined))
    assert np.polyfit(opening, after, 1)[0] == pytest.approx(1, abs=0.05)
    eyes = refined.template[[33, 263]]
    assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.pytorch3d
def test_light_that_changes_moves_little(scene, truth):
    mesh, _, images = scene
    column = np.linspace(-1, 1, images[0].shape[1])[None, :, None]
    lit = [
        np.clip(image * (1 + 0.3 * np.sin(frame) * column), 0, 255).astype(np.uint8)
        for frame, image in enumerate(images)
    ]
    refined = refine_photometrically(truth, grey_windows(truth, lit), mesh)
    assert misses(refined, truth, mesh).mean() < 0.4


@pytest.mark.slow
@pytest.mark.pytorch3d
def test_frames_beyond_the_windows_keep_their_pose(scene, truth):
    mesh, track, images = scene
    start = fit_track(scatter(track, mesh, 1.2), mesh.face_model)
    ticks = []
    refined = refine_photometrically(start, grey_windows(start, images[:8]), mesh, tick=lambda: ticks.append(1))
    assert np.array_equal(refined.rotation[8:], start.rotation[8:])
    assert not np.array_equal(refined.rotation[:8], start.rotation[:8])
    assert len(ticks) == 8 * PASSES


def test_no_correction_is_the_fit_itself(scene, truth):
    mesh, _, images = scene
    windows, frames = grey_windows(truth, images), np.arange(len(images))
    corrections = Corrections(truth, frames, windows.window_from_image, mesh)
    same = corrections.corrected(mesh)
    for name in ("template", "expression", "rotation", "translation", "scale"):
        np.testing.assert_allclose(getattr(same, name), getattr(truth, name), atol=1e-4, rtol=1e-5)
    head = mesh.face_model.vertices(truth.template, truth.expression)
    expected = np.stack([truth.pose(t, head[t], windows.window_from_image[t]).project(head[t]) for t in frames])
    with torch.no_grad():
        np.testing.assert_allclose(corrections.project(slice(None)).numpy(), expected, atol=2e-3)


def test_corrections_are_in_the_geometry_that_comes_out(scene, truth):
    mesh, _, images = scene
    windows, frames = grey_windows(truth, images), np.arange(len(images))
    corrections = Corrections(truth, frames, windows.window_from_image, mesh)
    generator = torch.Generator().manual_seed(0)
    for name, size in {"identity": 0.5, "turn": 0.05, "shift": 0.05, "growth": 0.05}.items():
        values = getattr(corrections, name)
        values.data = size * torch.randn(values.shape, generator=generator)
    found = corrections.corrected(mesh)
    head = mesh.face_model.vertices(found.template, found.expression)
    projected = np.stack([found.pose(t, head[t], windows.window_from_image[t]).project(head[t]) for t in frames])
    with torch.no_grad():
        np.testing.assert_allclose(projected, corrections.project(slice(None)).numpy(), atol=0.02)


def test_light_is_recovered():
    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.randn(4000, 3, generator=generator), dim=-1)
    texture, light = torch.rand(4000, generator=generator) + 0.2, torch.randn(9, generator=generator) * 0.2
    light[0] += 1
    basis = light_basis(normal) * texture[:, None]
    value = basis @ light
    found = solve_light(basis, value, torch.full((4000,), 1 / 4000))
    unlit = (value - basis[:, 0]).square().mean().sqrt()
    assert (basis @ found - value).square().mean().sqrt() < 0.05 * unlit


def test_samples_are_bilinear_with_their_gradients():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 5, 6, generator=generator, dtype=torch.float64)
    places = (torch.rand(20, 2, generator=generator, dtype=torch.float64) * 3 + 1.1).requires_grad_()
    frame = torch.arange(20) % 2
    grid = (places / torch.tensor([6, 5]) * 2 - 1).view(20, 1, 1, 2)
    expected = torch.nn.functional.grid_sample(images[frame][:, None], grid, align_corners=False).flatten()
    torch.testing.assert_close(sample(images, frame, places), expected)
    assert torch.autograd.gradcheck(lambda x: sample(images, frame, x), places)


def test_frames_are_smoothed_within_their_shot_only(truth):
    frames = np.arange(10)
    cut = replace(truth, shot=(np.arange(len(truth)) >= 5).astype(int))
    assert middle_frames(cut, frames).tolist() == [1, 2, 3, 6, 7, 8]
    assert not len(middle_frames(cut, np.arange(0, 30, 10)))


def test_no_refinement_leaves_the_fit_as_it_is(scene, truth):
    mesh, track, images = scene
    assert refine_face(track, truth, grey_windows(truth, images), mesh, refine="none") is truth


def test_without_pytorch3d_a_dub_ends_before_the_work(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytorch3d" else found(name))
    pipeline = object.__new__(DubbingPipeline)  # nothing of it is needed
    options = DubbingOptions(refine="photometric")
    with pytest.raises(AdapterError, match=r"photometric refinement needs PyTorch3D.*pip install.*INSTALL\.md"):
        pipeline.dub(tmp_path / "clip.mp4", tmp_path / "speech.wav", tmp_path / "out.mp4", options)
