"""The occluder network as it ships: what stays before a face or passes fast is found, and nothing in a bare face."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from occluded_scene import drawn_over, example_scene, windows_of

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError
from personatalk.evaluation.geometry.occluders import PASSING, STAYING
from personatalk.evaluation.geometry.occlusion import occluder_figures
from personatalk.occlusion.appearance import HEIGHT, WIDTH, FrameAppearance
from personatalk.occlusion.network import OccluderConfig, OccluderNetwork, load_occluder_network
from personatalk.occlusion.segmentation import believe, find_occlusion


@pytest.fixture(scope="module")
def network():
    return load_occluder_network(DEFAULT_FOLDER)


@pytest.fixture(scope="module")
def scene():
    """The example's mesh, geometry and pictures."""
    return example_scene()


def search(scene, kind, network):
    """Draw a thing over the example and look for it: figures, and the occlusion."""
    mesh, geometry, _ = scene
    thing, images = drawn_over(scene, kind)
    occlusion = find_occlusion(geometry, windows_of(geometry, images), mesh, network=network)
    return occluder_figures(geometry, occlusion, mesh, thing), occlusion


def test_nothing_is_found_in_the_clip_as_it_is(scene, network):
    mesh, geometry, images = scene
    assert not find_occlusion(geometry, windows_of(geometry, images), mesh, network=network).masks


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
