from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from personatalk.geometry.face_model import NUM_VERTICES, OUTER_LIPS
from personatalk.inspection.geometry import (
    DRIVEN_RGB,
    coefficient_table,
    curves_picture,
    geometry_picture,
    pose_table,
    save_mesh,
    skin_triangles,
)
from personatalk.inspection.glb import GLTF_FROM_HEAD, eye_triangles, geometry_glb, texture_coordinates
from personatalk.inspection.overlay import OpenGlShader, geometry_overlay
from personatalk.inspection.portrait import portrait_from_image
from personatalk.inspection.recording import Inspection
from personatalk.media import read_frames

KINDS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
DTYPES = {5126: np.float32, 5125: np.uint32}


class Glb:
    """Reads a GLB by the letter of its specification."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length, json_length, json_kind = struct.unpack_from("<4sIII4s", data)
        assert (magic, version, length, json_kind) == (b"glTF", 2, len(data), b"JSON")
        self.document = json.loads(data[20 : 20 + json_length])
        size, kind = struct.unpack_from("<I4s", data, 20 + json_length)
        assert kind == b"BIN\0" and size % 4 == 0 and json_length % 4 == 0
        self.data = data[28 + json_length :]
        assert len(self.data) == size == self.document["buffers"][0]["byteLength"]

    def array(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        part = self.data[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        values = np.frombuffer(part, DTYPES[accessor["componentType"]]).reshape(-1, KINDS[accessor["type"]])
        assert len(values) == accessor["count"]
        np.testing.assert_array_equal(values.min(0), np.array(accessor["min"], values.dtype))
        return values

    def posed(self, node: int, frame: int) -> np.ndarray:
        """Vertices of a node at a key frame, before its translation."""
        mesh = self.document["meshes"][self.document["nodes"][node]["mesh"]]
        primitive = mesh["primitives"][0]
        targets = np.stack([self.array(target["POSITION"]) for target in primitive["targets"]])
        animation = self.document["animations"][0]
        outputs = {
            channel["target"]["path"]: self.array(animation["samplers"][channel["sampler"]]["output"])
            for channel in animation["channels"]
            if channel["target"]["node"] == node
        }
        weights = outputs["weights"].reshape(-1, len(targets))[frame]
        vertices = self.array(primitive["attributes"]["POSITION"]) + np.einsum("k,kvc->vc", weights, targets)
        return Rotation.from_quat(outputs["rotation"][frame]).apply(vertices)


def test_a_viewer_that_plays_the_glb_sees_the_driven_face_turn_as_in_the_video(inspection, tmp_path):
    glb = Glb(geometry_glb(inspection, tmp_path / "face.glb"))
    for node, vertices in enumerate((inspection.source_vertices, inspection.driven_vertices)):
        for frame in (0, 41):
            turned = vertices[frame] @ inspection.posed.rotation[frame].T
            np.testing.assert_allclose(glb.posed(node, frame), turned * GLTF_FROM_HEAD, atol=2e-3)


def test_animation_lasts_as_long_as_the_clip_and_turns_the_short_way(inspection, tmp_path):
    glb = Glb(geometry_glb(inspection, tmp_path / "face.glb"))
    animation = glb.document["animations"][0]
    np.testing.assert_allclose(glb.array(animation["samplers"][0]["input"])[:, 0], inspection.times, atol=1e-5)
    turns = glb.array(next(s["output"] for s, c in zip(animation["samplers"], animation["channels"], strict=True)
                           if c["target"]["path"] == "rotation"))  # fmt: skip
    assert ((turns[1:] * turns[:-1]).sum(1) > 0.9).all()


def test_another_reader_understands_the_glb_and_its_texture(inspection, tmp_path):
    path = geometry_glb(inspection, tmp_path / "face.glb", textured=True, which="template")
    scene = trimesh.load(path)
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) == len(skin_triangles(inspection)) + len(eye_triangles())
    np.testing.assert_allclose(mesh.bounds, trimesh.Trimesh(inspection.posed.template * GLTF_FROM_HEAD,
                               skin_triangles(inspection), process=False).bounds, atol=1e-5)  # fmt: skip
    assert mesh.visual.material.baseColorTexture.size == (416, 480)
    inside = texture_coordinates(inspection)
    assert 0.2 < inside[1, 0] < 0.8 and inside[152, 1] > inside[1, 1] > inside[10, 1]  # chin below nose below brow
    assert "animations" not in Glb(path).document


def test_the_front_of_the_face_looks_to_the_viewer(inspection):
    points, triangles = inspection.posed.template * GLTF_FROM_HEAD, skin_triangles(inspection)
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).mean() > 0.97


def test_painted_eyes_are_closed_and_look_to_the_viewer(inspection):
    points, triangles = inspection.posed.template * GLTF_FROM_HEAD, eye_triangles()
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()

    def rim(corners: np.ndarray) -> set[frozenset[int]]:
        edges = [frozenset((t[i], t[i - 1])) for t in corners.tolist() for i in range(3)]
        return {edge for edge in edges if edges.count(edge) == 1}

    assert rim(triangles) <= rim(skin_triangles(inspection))  # they fit the holes, edge by edge


def test_ply_holds_the_driven_face_of_the_frame(inspection, tmp_path):
    mesh = trimesh.load(save_mesh(inspection, 17, tmp_path / "face.ply"), process=False)
    np.testing.assert_allclose(mesh.vertices, inspection.driven_vertices[17] * (1, -1, -1), atol=1e-5)


def test_npz_holds_every_frame(inspection, tmp_path):
    with np.load(save_mesh(inspection, 0, tmp_path / "all.npz")) as arrays:
        np.testing.assert_array_equal(arrays["driven_vertices"], inspection.driven_vertices)
        np.testing.assert_array_equal(arrays["rotation"], inspection.posed.rotation)


def test_a_mesh_of_another_kind_is_refused(inspection, tmp_path):
    with pytest.raises(ValueError, match="face.obj.*ply or .npz"):
        save_mesh(inspection, 0, tmp_path / "face.obj")


@pytest.mark.parametrize(("name", "axis", "sign"), [("yaw_deg", "y", -1), ("pitch_deg", "x", 1), ("roll_deg", "z", 1)])
def test_pose_curves_have_the_signs_that_they_say(inspection, name, axis, sign):
    original = inspection.posed.rotation
    turned = np.repeat(Rotation.from_euler(axis, sign * 20, degrees=True).as_matrix()[None], len(original), 0)
    try:
        object.__setattr__(inspection.posed, "rotation", turned)
        table = pose_table(inspection)
        nose = (
            inspection.posed.project(inspection.posed.template)[0, 1] - inspection.posed.project(np.zeros((1, 3)))[0, 0]
        )
        level = inspection.posed.scale[0] * inspection.posed.template[1]
    finally:
        object.__setattr__(inspection.posed, "rotation", original)
    np.testing.assert_allclose(table[name], 20, atol=1e-4)
    moved = (nose - level)[0 if name != "pitch_deg" else 2]
    # to the right; nodding down takes what lies below the eyes away from the camera; clockwise takes it to the left
    assert moved > 0 if name != "roll_deg" else moved < 0


def test_coefficients_of_source_and_driven_stand_beside_each_other(inspection):
    table = coefficient_table(inspection)
    np.testing.assert_array_equal(table["driven_3"], inspection.posed.expression[:, 3])
    np.testing.assert_array_equal(table["source_3"], inspection.source.expression[:, 3])


def test_the_picture_of_the_geometry_shows_the_driven_lips_where_they_are(inspection):
    t = int(inspection.kept[4])
    picture = geometry_picture(inspection, t).astype(int)
    affine = portrait_from_image(inspection.posed)[t]
    projected = inspection.mesh.project(inspection.posed.pose(t, inspection.driven_vertices[t], affine))
    column, row = projected[list(OUTER_LIPS), :2].astype(int).T
    driven = picture[picture.shape[0] // 2 + 3 :, :416]  # the third of four
    assert (np.abs(driven[row, column] - DRIVEN_RGB).max(-1) < 40).mean() > 0.8


def test_the_line_of_the_curves_moves_with_the_frame(inspection):
    first, second = curves_picture(inspection, 3), curves_picture(inspection, 50)
    changed = np.flatnonzero((first != second).any((0, 2)))
    assert 0 < len(changed) < 20


@pytest.fixture(scope="module")
def clip_of_the_run(inspection: Inspection) -> Path:
    """A grey video of the run's length and size."""
    from fractions import Fraction

    import av

    path = inspection.folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 300, 300, "yuv420p"
        for _ in range(inspection.num_frames):
            picture = np.full((300, 300, 3), 40, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_overlay_lies_on_the_face_and_nowhere_else(inspection, clip_of_the_run, tmp_path):
    path = geometry_overlay(inspection, clip_of_the_run, tmp_path / "overlay.mp4", has_opengl=False)
    frames = [frame.image for frame in read_frames(path)]
    assert len(frames) == inspection.num_frames
    projected = inspection.mesh.project(inspection.posed.pose(30, inspection.driven_vertices[30]))
    nose, (left, top) = projected[1].astype(int), projected[:NUM_VERTICES, :2].min(0).astype(int)
    assert frames[30][nose[1], nose[0]].mean() > 90
    assert frames[30][: top - 8].mean() < 50 and frames[30][:, : left - 8].mean() < 50


def test_opengl_draws_the_face_where_the_own_rasterizer_does(inspection):
    from personatalk.inspection.drawing import shade

    try:
        draw = OpenGlShader()
        projected = inspection.mesh.project(inspection.posed.pose(9, inspection.driven_vertices[9]))
        projected = projected[:NUM_VERTICES]
        picture, alpha = draw(projected, skin_triangles(inspection), 300, 280)
    except Exception as error:
        pytest.skip(f"no OpenGL here: {error}")
    own, own_alpha = shade(projected, skin_triangles(inspection), 300, 280)
    assert (alpha == own_alpha).mean() > 0.985 and own_alpha.mean() > 0.02
    both = (alpha > 0) & (own_alpha > 0)
    assert np.corrcoef(picture[both].mean(-1), own[both].mean(-1))[0, 1] > 0.6
    assert 80 < picture[both].mean() < 235
