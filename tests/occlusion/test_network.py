"""The occluder network as it ships: what stays before a face or passes fast is found, and nothing in a bare face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError
from personatalk.evaluation.geometry.occluders import PASSING, STAYING, Occluder, make_sprite
from personatalk.evaluation.geometry.occlusion import occluder_figures
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.tracking import MediaPipeTracker, track_face
from personatalk.media import read_frames
from personatalk.occlusion.appearance import HEIGHT, WIDTH, ColourWindows, FrameAppearance
from personatalk.occlusion.network import OccluderConfig, OccluderNetwork, load_occluder_network
from personatalk.occlusion.segmentation import believe, find_occlusion

CLIP = Path(__file__).parents[2] / "assets" / "grid_speaker.mp4"


@pytest.fixture(scope="module")
def network():
    return load_occluder_network(DEFAULT_FOLDER)


@pytest.fixture(scope="module")
def scene():
    """The example's mesh, geometry and pictures."""
    mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
    images = [frame.image for frame in read_frames(CLIP)]
    with MediaPipeTracker() as tracker:
        height, width = images[0].shape[:2]
        frames = ((number / 25, image) for number, image in enumerate(images))
        track = track_face(frames, tracker, width=width, height=height)
    return mesh, fit_track(track, mesh.face_model), images


def search(scene, kind, network):
    """Draw a thing over the example and look for it: figures, and the occlusion."""
    mesh, geometry, images = scene
    lips = np.tile(geometry.template[[13, 14]].mean(0), (len(geometry), 1, 1))
    mouth, scale = np.median(geometry.project(lips)[:, 0, :2], 0), float(np.median(geometry.scale))
    sprite = make_sprite(kind, np.array((190.0, 140.0, 120.0)), 1)
    thing = Occluder(kind=kind, sprite=sprite, mouth=mouth, scale=scale, num_frames=len(geometry))
    windows = ColourWindows(geometry)
    for frame, image in enumerate(images):
        drawn = image.copy()
        thing.draw_at(frame, drawn)
        windows.append(drawn)
    occlusion = find_occlusion(geometry, windows, mesh, network=network)
    return occluder_figures(geometry, occlusion, mesh, thing), occlusion


def test_nothing_is_found_in_the_clip_as_it_is(scene, network):
    mesh, geometry, images = scene
    windows = ColourWindows(geometry)
    for image in images:
        windows.append(image)
    assert not find_occlusion(geometry, windows, mesh, network=network).masks


def test_what_stays_from_the_first_frame_to_the_last_is_found(scene, network):
    figures, occlusion = search(scene, STAYING, network)
    assert figures["iou"] > 0.7 and figures["missed_frames"] < 0.05, figures
    assert occlusion.is_occluded.mean() > 0.95
    without, _ = search(scene, STAYING, None)
    assert without["iou"] < 0.5, "the clip alone does not tell it from the face"


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_fast_is_found(scene, network, kind):
    figures, _ = search(scene, kind, network)
    assert figures["missed_frames"] < 0.3 and figures["covered"] > 0.5, figures
    assert figures["false_share_%"] < 0.5


@pytest.fixture
def look():
    """A face of 55 x 50 px with lips of 30 x 10, all of it in the mask."""
    blank, face = np.zeros((2, HEIGHT, WIDTH), bool)
    face[20:70, 20:75] = True
    lips = blank.copy()
    lips[30:40, 30:60] = True
    others = dict.fromkeys(("lab", "common", "spread", "outlier_distance", "others"), blank)
    return FrameAppearance(**others, skin=face & ~lips, lips=lips, mask=face.astype(np.float32))


def probability(**places):
    """[H, W] of .1, and elsewhere what is given: probability=(rows, columns)."""
    image = np.full((HEIGHT, WIDTH), 0.1)
    for value, place in places.items():
        image[place] = float(f"0.{value[1:]}")
    return image


def test_lips_alone_are_never_believed_to_be_a_thing(look):
    lips = np.s_[30:40, 30:60]
    assert not believe(probability(p99=lips), look).any()
    assert believe(probability(p99=lips, p95=np.s_[40:60, 35:55]), look).sum() == 300 + 400


def test_what_is_small_or_unsure_is_not_believed(look):
    assert not believe(probability(p99=np.s_[20:25, 20:23]), look).any()
    chin = np.s_[50:70, 30:60]
    assert not believe(probability(p8=chin), look).any()
    assert believe(probability(p8=chin, p95=np.s_[52:60, 32:40]), look).sum() == 600


def test_shapes_and_missing_weights(tmp_path):
    network = OccluderNetwork(OccluderConfig(widths=(8, 8, 8)))
    assert network(torch.rand(2, 3, HEIGHT, WIDTH), torch.rand(2, 8, 40, 48)).shape == (2, 1, HEIGHT, WIDTH)
    with pytest.raises(CheckpointError, match="occluder.json"):
        load_occluder_network(tmp_path)
