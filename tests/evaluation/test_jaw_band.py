"""The band outside of the jaw: what a dub changes there, beside what the source changes by itself."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.dubbing import jaw_band
from personatalk.evaluation.dubbing.jaw_band import NICK_PX, jaw_band_figures, nicks
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, window_from_image
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.inspection.seen_face import SeenFace
from personatalk.metrics.perceptual import LPIPS_FILES, Lpips

NUM_FRAMES = 12


@pytest.fixture(scope="module")
def mesh():
    return FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


@pytest.fixture(scope="module")
def face(mesh):
    geometry = fit_track(known_face(mesh.face_model, noise_iod=0, seed=1).track, mesh.face_model)
    return SeenFace(track=None, geometry=geometry, aperture=np.zeros(0), chips=np.zeros(0), num_frames=len(geometry))


@pytest.fixture(scope="module")
def windows():
    """Windows of a source that flickers by itself."""
    rng = np.random.default_rng(0)
    return rng.integers(100, 120, (NUM_FRAMES, WINDOW_HEIGHT, WINDOW_WIDTH, 3)).astype(np.uint8)


@pytest.fixture
def judge(mesh, face, monkeypatch):
    """(windows of the source, windows of the dub) -> figures"""
    lpips = Lpips.load(*(DEFAULT_FOLDER / name for name in LPIPS_FILES))
    monkeypatch.setattr(jaw_band, "seen_together", lambda first, second: np.arange(NUM_FRAMES))

    def figures(source, dubbed):
        shown = {"source": source, "dub": dubbed}
        monkeypatch.setattr(jaw_band, "cut_windows", lambda name, affines, frames: shown[name])
        return jaw_band_figures("source", "dub", (face, face), mesh, lpips)

    return figures


def band_of(mesh, face, frame=0):
    affine = window_from_image(face.geometry)[frame]
    shape = jaw_band.face_of(mesh, face.geometry, affine, frame)
    return jaw_band.jaw_band(jaw_band.mask_of(mesh, face.geometry, affine, frame), shape, shape)


def test_the_band_lies_outside_of_the_jaw(mesh, face):
    band = band_of(mesh, face)
    projected = mesh.project(face.geometry.pose(0, face.geometry.template, window_from_image(face.geometry)[0]))
    x, y = projected[152, :2].round().astype(int)  # the chin
    assert not band[y - 12 : y - 4, x].any() and band[y + 5, x]
    assert 200 < band.sum() < 0.3 * band.size


def test_a_copy_of_the_source_differs_by_nothing(judge, windows):
    figures = judge(windows, windows)
    assert figures == {"band_flicker": pytest.approx(1), "band_lpips": pytest.approx(0, abs=1e-6), "band_nicks": 0}


def test_what_is_smeared_steadily_shows_in_lpips_and_not_in_flicker(judge, windows):
    striped = windows.copy()
    striped[:, :, ::8] //= 2
    figures = judge(windows, striped)
    assert figures["band_lpips"] > 2
    assert figures["band_flicker"] < 1.1 and figures["band_nicks"] == 0


def test_what_comes_and_goes_in_a_frame_is_a_nick(mesh, face, judge, windows):
    x, y = band_of(mesh, face, 5).nonzero()[::-1]
    middle = len(x) // 2
    nicked = windows.copy()
    nicked[5, y[middle] - 5 : y[middle] + 6, x[middle] - 5 : x[middle] + 6] = 0
    assert judge(windows, nicked)["band_nicks"] == pytest.approx(1 / (NUM_FRAMES - 2))
    assert judge(nicked, nicked)["band_nicks"] == 0, "the source has it itself"
    assert judge(windows, nicked)["band_flicker"] > 1


def test_an_old_jaw_that_shows_below_the_new_one_is_told_from_one_that_is_gone():
    y, x = np.mgrid[:WINDOW_HEIGHT, :WINDOW_WIDTH]
    own, seen = ((x - 96) ** 2 + (y - 60) ** 2 < radius**2 for radius in (60, 44))
    mask = y > 60
    strip = jaw_band.old_jaw_strip(mask, own, seen)
    assert strip[114:126, 96].all() and not strip[:108, 96].any() and not strip[130:, 96].any()
    assert (
        not jaw_band.old_jaw_strip(mask, own, own).any() and not jaw_band.old_jaw_strip(mask & False, own, seen).any()
    )

    skin, neck = np.float32(180), np.float32(90)
    true, clean = (np.where(shape[..., None], skin, neck).astype(np.uint8).repeat(3, -1)[None] for shape in (own, seen))
    half = np.where(own[..., None], true[0] // 2 + clean[0] // 2, clean[0])[None]
    shares = [jaw_band.old_jaw(output, true, strip[None])["old_jaw"] for output in (true, half, clean)]
    assert shares[0] == pytest.approx(1)
    assert 0.3 < shares[1] < 0.7
    assert abs(shares[2]) < 0.15
    assert jaw_band.old_jaw(true, true, np.zeros_like(strip)[None]) == {}


def test_a_clip_may_be_long():
    """OpenCV filters 128 channels at most, so frames are not to be filtered as such."""
    true = np.full((140, 16, 16, 3), 100, np.uint8)
    assert not nicks(true, true, np.ones(true.shape[:3], bool)).any()


def test_small_specks_are_no_nicks():
    true = np.full((3, 40, 40, 3), 100, np.uint8)
    output = true.copy()
    output[1, 20:22, 20:22] = 0
    bands = np.ones((3, 40, 40), bool)
    assert not nicks(output, true, bands).any()
    side = int(np.ceil(NICK_PX**0.5)) + 2
    output[1, 10 : 10 + side, 10 : 10 + side] = 0
    assert nicks(output, true, bands).tolist() == [True]
