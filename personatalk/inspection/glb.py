"""Geometry as an animated GLB: the face model's expressions are morph targets, the coefficients their weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from personatalk.geometry.face_model import NUM_VERTICES
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.inspection.drawing import SKIN, vertex_normals
from personatalk.inspection.geometry import skin_triangles
from personatalk.inspection.portrait import PORTRAIT_HEIGHT, PORTRAIT_WIDTH, portrait_from_image
from personatalk.inspection.recording import Inspection

GLTF_FROM_HEAD = np.array((1, -1, -1), np.float32)  # head space: y down, z away; glTF: y up, z to the viewer
FLOAT, UNSIGNED_INT = 5126, 5125
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
ARRAY, ELEMENTS = 34962, 34963
EYES = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)  # upper and lower lid, from the picture's left to its right; the mesh itself has holes there
BESIDE = 0.85  # IOD from the middle to each of two faces
COLOURS = {"source": (0.35, 0.55, 0.75, 1.0), "driven": (0.85, 0.55, 0.35, 1.0), "template": (0.75, 0.75, 0.75, 1.0)}
JPEG_QUALITY = 92
UNSEEN_FACING, SEEN_FACING = 0.2, 0.45  # cosine of the angle to the camera: below, nothing is painted; above, all


def geometry_glb(
    inspection: Inspection, path: Path, *, textured: bool = False, which: str = "both", has_pose: bool = True
) -> Path:
    """Write the faces as an animated GLB that three-dimensional viewers play.

    Args:
        inspection: a recorded run.
        path: .glb to write.
        textured: paint the faces, eyes included, with the frame of the source that looks most into the camera.
        which: "source", "driven", "both" beside each other (source at the left), or "template", which stands still.
        has_pose: let the heads turn as in the video.
    """
    glb = _Glb()
    shown = ("source", "driven") if which == "both" else (which,)
    shared = _add_shape(glb, inspection)
    if textured:
        _add_texture(glb, inspection)
        shared["TEXCOORD_0"] = glb.add(texture_coordinates(inspection), ARRAY)
    triangles = skin_triangles(inspection)
    triangles = np.concatenate([triangles, eye_triangles()]) if textured else triangles
    indices = glb.add(triangles.astype(np.uint32).reshape(-1, 1), ELEMENTS)
    targets = [{"POSITION": glb.add(move * GLTF_FROM_HEAD, ARRAY)} for move in inspection.face_model.expression_basis]
    for number, name in enumerate(shown):
        material = {"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.8}}
        paint = {"baseColorTexture": {"index": 0}} if textured else {"baseColorFactor": COLOURS[name]}
        material["pbrMetallicRoughness"] |= paint
        glb.document["materials"].append(material | {"name": name})
        primitive = {"attributes": shared, "indices": indices, "material": number, "targets": targets}
        names = [f"expression {k}" for k in range(len(targets))]
        glb.document["meshes"].append(
            {
                "name": name,
                "primitives": [primitive],
                "weights": [0.0] * len(targets),
                "extras": {"targetNames": names},
            }
        )
        x = 0.0 if len(shown) == 1 else BESIDE * (2 * number - 1)
        glb.document["nodes"].append({"mesh": number, "name": name, "translation": [x, 0.0, 0.0]})
    if which != "template":
        _add_animation(glb, inspection, shown, has_pose=has_pose)
    return glb.write(Path(path))


def most_frontal(inspection: Inspection) -> int:
    """The kept frame with the most frontal head and little expression."""
    facing = inspection.posed.rotation[inspection.kept, 2, 2].astype(np.float64)
    opening = np.abs(inspection.source_vertices[inspection.kept] - inspection.posed.template).mean((1, 2))
    return int(inspection.kept[np.argmax(facing - 2 * opening - 2 * ~inspection.posed.valid[inspection.kept])])


def texture_coordinates(inspection: Inspection) -> np.ndarray:
    """[V, 2] where each vertex lies in the portrait that paints the faces, in [0, 1]."""
    t = most_frontal(inspection)
    posed = inspection.posed
    affine = portrait_from_image(posed)[t]
    projected = inspection.mesh.project(posed.pose(t, inspection.source_vertices[t], affine))[:NUM_VERTICES, :2]
    return np.clip(projected / (PORTRAIT_WIDTH, PORTRAIT_HEIGHT), 0, 1).astype(np.float32)


def painting(inspection: Inspection) -> np.ndarray:
    """[480, 416, 3] uint8: the portrait that paints the faces, without what it does not show.

    Where the face turns away from the camera, a few pixels would be stretched over much of it, and beside the face lies
    what is behind it: there the picture fades to the face's own mean colour.
    """
    t, posed = most_frontal(inspection), inspection.posed
    portrait = inspection.portrait(t, "source").astype(np.float32)
    projected = inspection.mesh.project(posed.pose(t, inspection.source_vertices[t], portrait_from_image(posed)[t]))
    projected = np.ascontiguousarray(projected[:NUM_VERTICES], np.float32)
    triangles = np.ascontiguousarray(inspection.mesh.triangles[: len(inspection.face_model.triangles)])
    triangles = np.concatenate([triangles, eye_triangles().astype(triangles.dtype)])
    index, barycentric = rasterize(projected, triangles, PORTRAIT_HEIGHT, PORTRAIT_WIDTH)
    normals = interpolate(index, barycentric, triangles, vertex_normals(projected, triangles))
    facing = np.abs(normals[2]) / np.maximum(np.linalg.norm(normals, axis=0), 1e-6) * (index >= 0)
    shown = np.clip((facing - UNSEEN_FACING) / (SEEN_FACING - UNSEEN_FACING), 0, 1)[..., None]
    mean = portrait[facing > SEEN_FACING].mean(0) if (facing > SEEN_FACING).any() else SKIN
    return (mean + shown * (portrait - mean)).round().astype(np.uint8)


def eye_triangles() -> np.ndarray:
    """[28, 3] triangles that close the eyes, from upper to lower lid."""
    triangles = []
    for upper, lower in EYES:
        for i in range(len(upper) - 1):
            triangles += [(upper[i], lower[i], lower[i + 1]), (upper[i], lower[i + 1], upper[i + 1])]
    return np.array([corners for corners in triangles if len(set(corners)) == 3], np.int32)


def _add_shape(glb: _Glb, inspection: Inspection) -> dict[str, int]:
    template = (inspection.posed.template * GLTF_FROM_HEAD).astype(np.float32)
    a, b, c = (template[skin_triangles(inspection)[:, corner]] for corner in range(3))
    normals = np.zeros_like(template)
    for corner in range(3):
        np.add.at(normals, skin_triangles(inspection)[:, corner], np.cross(b - a, c - a))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(lengths > 0, normals / np.maximum(lengths, 1e-12), (0, 0, 1)).astype(np.float32)
    return {"POSITION": glb.add(template, ARRAY), "NORMAL": glb.add(normals, ARRAY)}


def _add_texture(glb: _Glb, inspection: Inspection) -> None:
    picture = cv2.cvtColor(painting(inspection), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    view = glb.add_bytes(encoded.tobytes())
    glb.document["images"] = [{"bufferView": view, "mimeType": "image/jpeg"}]
    glb.document["samplers"] = [{"wrapS": 33071, "wrapT": 33071}]
    glb.document["textures"] = [{"source": 0, "sampler": 0}]


def _add_animation(glb: _Glb, inspection: Inspection, shown: tuple[str, ...], *, has_pose: bool) -> None:
    times = glb.add(inspection.times.astype(np.float32)[:, None])
    posed = inspection.posed
    flip = np.diag(GLTF_FROM_HEAD)
    turns = Rotation.from_matrix(flip @ posed.rotation @ flip).as_quat()
    turns[1:] *= np.cumprod(np.sign((turns[1:] * turns[:-1]).sum(1) + 1e-12))[:, None]  # the shorter way
    rotation = glb.add(turns.astype(np.float32)) if has_pose else None
    samplers, channels = [], []
    for node, name in enumerate(shown):
        weights = posed.expression if name == "driven" else inspection.source.expression[inspection.order]
        paths = {"weights": glb.add(weights.astype(np.float32).reshape(-1, 1))}
        if rotation is not None:
            paths["rotation"] = rotation
        for path, output in paths.items():
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
            samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})
    glb.document["animations"] = [{"name": "speech", "samplers": samplers, "channels": channels}]


class _Glb:
    """A GLB under construction: one JSON document and one block of bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.document: dict = {
            "asset": {"version": "2.0", "generator": "PersonaTalk"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
            "meshes": [],
            "materials": [],
            "accessors": [],
            "bufferViews": [],
        }

    def add_bytes(self, data: bytes, target: int | None = None) -> int:
        """Append bytes; returns the number of their view."""
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.document["bufferViews"].append(view | ({"target": target} if target else {}))
        self.data += data
        return len(self.document["bufferViews"]) - 1

    def add(self, values: np.ndarray, target: int | None = None) -> int:
        """Append an array [N, 1..4] of float32 or uint32; returns the number of its accessor."""
        values = np.ascontiguousarray(values, np.uint32 if values.dtype == np.uint32 else np.float32)
        accessor = {
            "bufferView": self.add_bytes(values.tobytes(), target),
            "count": len(values),
            "componentType": UNSIGNED_INT if values.dtype == np.uint32 else FLOAT,
            "type": KINDS[values.shape[1]],
            "min": values.min(0).tolist(),
            "max": values.max(0).tolist(),
        }
        self.document["accessors"].append(accessor)
        return len(self.document["accessors"]) - 1

    def write(self, path: Path) -> Path:
        """Write the file."""
        self.document["scenes"][0]["nodes"] = list(range(len(self.document["nodes"])))
        self.data += b"\0" * (-len(self.data) % 4)
        self.document["buffers"] = [{"byteLength": len(self.data)}]
        text = json.dumps(self.document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(self.data))
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(self.data), b"BIN\0")
        path.write_bytes(header + chunks + bytes(self.data))
        return path
