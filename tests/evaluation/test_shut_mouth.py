"""Shut mouths and silent sources: what is counted as teeth, how sharp, and which frame becomes the still."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from media_samples import picture, write_video
from window_clips import window_clip

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.dubbing.silent_sources import SilentSources
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.shut_mouth import (
    ALL,
    SHUT,
    inner_mouth,
    laplacian_energy,
    lpips_ratio,
    teeth_shares,
)
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture
from personatalk.training.corpus import Clip, cache_path


@pytest.fixture(scope="module")
def clip():
    return window_clip(FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")), 0)


def test_the_inner_mouth_grows_with_lip_aperture(clip):
    apertures = lip_aperture(clip.head_vertices)
    areas = [inner_mouth(points).sum() for points in clip.projected]
    assert np.corrcoef(apertures, areas)[0, 1] > 0.9


def test_teeth_are_what_is_bright_in_the_mouth():
    images = np.full((2, 160, 192, 3), 120, np.uint8)
    inner = np.zeros((2, 160, 192), bool)
    inner[:, 60:80, 80:110] = True
    images[:, 60:80, 80:110] = 30
    images[1, 60:70, 80:110] = 150
    assert teeth_shares(images, inner, ~inner) == pytest.approx([0, 0.5])


def test_blur_takes_energy():
    images = np.random.default_rng(0).integers(0, 256, (2, 160, 192, 3)).astype(np.uint8)
    region = np.zeros((2, 160, 192), bool)
    region[:, 40:100, 40:100] = True
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 1.0) for image in images])
    assert laplacian_energy(blurred, region) < 0.2 * laplacian_energy(images, region)


def test_the_ratio_is_of_the_means():
    judged = [{ALL: {"lpips_lips": a}, SHUT: {"lpips_lips": b}} for a, b in ((0.1, 0.2), (0.3, 0.4))]
    assert lpips_ratio(judged, SHUT) == pytest.approx(1.5)


def test_the_stillest_frame_becomes_the_portrait(clip, tmp_path):
    count = len(clip.geometry)
    (tmp_path / "geometry").mkdir()
    write_video(tmp_path / "a.mp4", [picture(64, 64, index) for index in range(count)])
    source = Clip(file="a.mp4", split="val", person="1")
    clip.geometry.save(cache_path(tmp_path, "geometry", source))
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    inputs = EvaluationInputs(data=tmp_path, manifest=tmp_path / "m", corpus=tmp_path, checkpoints=DEFAULT_FOLDER)
    protocol = SilentSources(inputs=inputs, pipeline=SimpleNamespace(face_model=face_model), judge=None)
    assert protocol.write_portrait(source, tmp_path / "portrait.png")
    written = cv2.cvtColor(cv2.imread(str(tmp_path / "portrait.png")), cv2.COLOR_BGR2RGB).astype(float)
    distances = [np.abs(written - picture(64, 64, index)).mean() for index in range(count)]
    aperture = np.where(clip.geometry.valid, lip_aperture(clip.head_vertices), np.inf)
    assert int(np.argmin(distances)) == int(aperture.argmin())
    missing = Clip(file="b.mp4", split="val", person="2")
    assert not protocol.write_portrait(missing, tmp_path / "none.png")
