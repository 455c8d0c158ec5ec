"""The tracker on the package face-alignment: its own code where it is installed, stand-ins for its trained networks."""

from __future__ import annotations

import sys
import urllib.error

import numpy as np
import pytest
from conftest import write_clip

from benchmarks.face_alignment import frame_of, numbered_images, perfect_network
from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import AdapterError, OptionError
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.geometry.face_alignment_tracker import FaceAlignmentTracker, load_network
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.sparse_landmarks import ibug_points
from personatalk.geometry.tracking import track_face
from personatalk.options import DubbingOptions
from personatalk.persons.search import follow_face

SIDE_PX = 300
NUM_FRAMES = 25
WEIGHTS = ("s3fd-619a316812.pth", "3DFAN4-7835d9f11d.pth.tar", "depth-2a464da4ea.pth.tar")


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


@pytest.fixture(scope="module")
def known(face_model) -> np.ndarray:
    """[T, V, 3] px of a face that moves and speaks."""
    return known_face(face_model, noise_iod=0, seed=0).track.landmarks[:NUM_FRAMES, :468].astype(np.float64)


class KnownFaces:
    """Stands in for both networks: an image's first pixel says which frame it is, and every face of it is known.

    Args:
        faces: one or more [T, V, 3] px; none is seen in frames that are `hidden`.
    """

    def __init__(self, *faces: np.ndarray, hidden: tuple[int, ...] = ()) -> None:
        self.faces, self.hidden, self.face_detector = faces, hidden, self
        self.num_detections = 0

    def detect_from_image(self, image):
        self.num_detections += 1
        frame = frame_of(image) % NUM_FRAMES
        boxes = [(*face[frame, :, :2].min(0), *face[frame, :, :2].max(0), 0.9) for face in self.faces]
        return [] if frame in self.hidden else [np.array(box) for box in boxes]

    def get_landmarks_from_image(self, image, detected_faces):
        frame = frame_of(image) % NUM_FRAMES
        if frame in self.hidden:
            return [np.random.default_rng(0).uniform(0, SIDE_PX, (68, 3)) for _ in detected_faces]
        middles = [(box[:2] + box[2:4]) / 2 for box in detected_faces]
        nearest = [
            min(self.faces, key=lambda face: np.linalg.norm(face[frame, :, :2].mean(0) - middle)) for middle in middles
        ]
        return [np.concatenate([np.floor(p[:, :2]), -p[:, 2:]], 1) for p in (ibug_points(n[frame]) for n in nearest)]


def images(count: int = NUM_FRAMES) -> list[np.ndarray]:
    return list(numbered_images(count, 2 * SIDE_PX, SIDE_PX))


def test_mesh_follows_the_points(face_model, known):
    with FaceAlignmentTracker(face_model, network=KnownFaces(known)) as tracker:
        track = track_face(((t / 25, image) for t, image in enumerate(images())), tracker, width=600, height=300)
    assert track.landmarks.shape == (NUM_FRAMES, 478, 3) and track.detected.all()
    miss = np.linalg.norm((track.landmarks[:, :468] - known)[..., :2], axis=-1)
    assert miss.mean() < 1.0, "whole pixels are within half a pixel of the truth, and so is the mesh on average"
    assert np.corrcoef(lip_aperture(track.landmarks[:, :468]), lip_aperture(known))[0, 1] > 0.98


def test_irises_lie_between_the_lids(face_model, known):
    landmarks = FaceAlignmentTracker(face_model, network=KnownFaces(known)).track(images()[0])
    for iris, upper, lower, corners in ((468, 159, 145, (33, 133)), (473, 386, 374, (362, 263))):
        assert landmarks[upper, 1] < landmarks[iris, 1] < landmarks[lower, 1]
        assert landmarks[corners[0], 0] < landmarks[iris + 3, 0] < landmarks[iris + 1, 0] < landmarks[corners[1], 0]


def test_largest_face_is_followed_or_the_one_at_the_point(face_model, known):
    beside = 0.5 * known + (330, 60, 0)
    for point, expected in ((None, known), ((400, 140), beside)):
        tracker = FaceAlignmentTracker(face_model, point, network=KnownFaces(beside, known))
        for frame, image in enumerate(images()):
            landmarks = tracker.track(image)
            assert np.abs(landmarks[:468, :2].mean(0) - expected[frame, :, :2].mean(0)).max() < 2


def test_detector_is_asked_now_and_then(face_model, known):
    network = KnownFaces(known)
    tracker = FaceAlignmentTracker(face_model, network=network)
    assert all(tracker.track(image) is not None for image in images())
    assert network.num_detections == 3


def test_face_is_lost_and_found_again(face_model, known):
    tracker = FaceAlignmentTracker(face_model, network=KnownFaces(known, hidden=(3, 4)))
    found = [tracker.track(image) is not None for image in images(7)]
    assert found == [True, True, True, False, False, True, True]


def test_tracker_is_chosen_by_name(monkeypatch, face_model, known, tmp_path):
    monkeypatch.setattr("personatalk.persons.search.load_network", lambda: KnownFaces(known))
    clip = write_clip(tmp_path / "clip.mp4", 3)
    track, pts = follow_face(clip, face_model, tracker="face-alignment")
    assert track.detected.all() and len(track) == len(pts) == 3
    with pytest.raises(OptionError, match="mediapipe.*face-alignment"):
        DubbingOptions(tracker="dlib")


def test_missing_package_is_named(monkeypatch, face_model):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(AdapterError, match=r'pip install "face-alignment>=1.5,<2"'):
        FaceAlignmentTracker(face_model)


def test_missing_weights_are_named_with_their_folder(monkeypatch, tmp_path):
    pytest.importorskip("face_alignment", reason="the package face-alignment is not installed")

    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(AdapterError, match="no network") as caught:
        load_network()
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)
    assert all(name in str(caught.value) for name in WEIGHTS)


@pytest.mark.slow
def test_the_package_s_own_decoding_keeps_the_lips(face_model, known):
    """The package cuts its crop, decodes heat maps and places the points; only its trained network is replaced."""
    pytest.importorskip("face_alignment", reason="the package face-alignment is not installed")
    tracker = FaceAlignmentTracker(face_model, network=perfect_network(known))
    found = np.stack([tracker.track(image) for image in numbered_images(NUM_FRAMES, 2 * SIDE_PX, SIDE_PX)])
    assert np.linalg.norm((found[:, :468] - known)[..., :2], axis=-1).mean() < 2.0
    assert np.corrcoef(lip_aperture(found[:, :468]), lip_aperture(known))[0, 1] > 0.9
