"""The example's face, and things drawn in front of it."""

from __future__ import annotations

import numpy as np
from media_samples import ASSETS

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.occluders import Occluder, make_sprite
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.tracking import MediaPipeTracker, track_face
from personatalk.media import read_frames
from personatalk.occlusion.appearance import ColourWindows

CLIP = ASSETS / "grid_speaker.mp4"
SKIN = np.array((150.0, 110.0, 90.0))  # of hands
Scene = tuple[FaceMesh, FaceGeometry, list[np.ndarray]]


def example_scene() -> Scene:
    """The example's mesh, geometry and pictures."""
    mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
    images = [frame.image for frame in read_frames(CLIP)]
    with MediaPipeTracker() as tracker:
        height, width = images[0].shape[:2]
        frames = ((number / 25, image) for number, image in enumerate(images))
        track = track_face(frames, tracker, width=width, height=height)
    return mesh, fit_track(track, mesh.face_model), images


def drawn_over(scene: Scene, kind: str) -> tuple[Occluder, list[np.ndarray]]:
    """A thing before the mouth of a scene, and the pictures with it."""
    _, geometry, images = scene
    lips = np.tile(geometry.template[[13, 14]].mean(0), (len(geometry), 1, 1))
    mouth, scale = np.median(geometry.project(lips)[:, 0, :2], 0), float(np.median(geometry.scale))
    sprite = make_sprite(kind, SKIN, 1)
    thing = Occluder(kind=kind, sprite=sprite, mouth=mouth, scale=scale, num_frames=len(geometry))
    drawn = [image.copy() for image in images]
    for frame, image in enumerate(drawn):
        thing.draw_at(frame, image)
    return thing, drawn


def windows_of(geometry: FaceGeometry, images: list[np.ndarray]) -> ColourWindows:
    """The windows of some pictures."""
    windows = ColourWindows(geometry)
    for image in images:
        windows.append(image)
    return windows
