"""A rendered head that speaks: the body model anny, coloured, lit and photographed.

Needs `pip install anny pyrender` (anny is a body model, Apache-2.0, on MakeHuman's CC0 shapes).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
np.infty = np.inf  # pyrender asks for the name that NumPy 2 dropped

import pyrender  # noqa: E402
import scipy.ndimage  # noqa: E402
import scipy.sparse  # noqa: E402
import scipy.special  # noqa: E402
import trimesh  # noqa: E402

FPS = 25
ACTIONS = [
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthStretchRight", "mouthSmileLeft",
    "mouthSmileRight", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthRollLower", "mouthRollUpper", "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp",
]  # fmt: skip
EYE = np.array([-0.118, 0.704])  # metres, y and z; every head is moved so that its eyes lie there
NECK_HEIGHT, NECK_SOFTNESS = 0.55, 0.035  # metres of the model; the head turns above the neck
TEETH_WIDTH = 0.88  # of the model's; otherwise they show beside an open mouth
TEETH_BACK = 0.004  # metres; otherwise they show between closed lips
PARTS = {  # name: roughness
    "body": 0.62, "helper-l-eye": 0.15, "helper-r-eye": 0.15, "helper-upper-teeth": 0.3, "helper-lower-teeth": 0.3,
    "helper-tongue": 0.5,
}  # fmt: skip
LIPS_AT_PX, LIPS_SIZE_PX = np.array([931.0, 529.0]), np.array([13.0, 22.0])  # in the texture of 1024 px
LENS, RIM = np.array([0.024, 0.018]), 0.0016  # metres: half the width and height of a lens, thickness of its rim
LENS_FORWARD, TEMPLE_LENGTH = 0.026, 0.10  # metres: in front of the eye's centre; of an arm of the glasses
Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What a head looks like; colours are linear, 0 to 1.

    Attributes:
        shape: phenotypes of the body model, 0 to 1.
        hairline: metres from the eyes up to the hair.
        teeth_down: metres by which the upper teeth are lowered, so that they show in an open mouth.
        teeth_reach: metres from the middle beyond which there are none, as they would show through the cheeks.
        has_glasses: whether it wears any.
    """

    shape: dict[str, float] = field(default_factory=lambda: {"gender": 0.62, "age": 0.62, "weight": 0.45})
    skin: Colour = (0.66, 0.40, 0.28)
    lip: Colour = (0.46, 0.17, 0.15)
    hair: Colour = (0.03, 0.018, 0.012)
    iris: Colour = (0.20, 0.12, 0.06)
    shirt: Colour = (0.03, 0.06, 0.12)
    hairline: float = 0.066
    teeth_down: float = 0.0
    teeth_reach: float = 1.0
    has_glasses: bool = False


@dataclass(frozen=True, kw_only=True)
class Shot:
    """How it is filmed.

    Attributes:
        width: px.
        height: px.
        field: degrees that the camera sees from top to bottom.
        yaw: radians by which the head is turned away from the camera.
        wall: colour of the wall behind it, 0 to 255.
    """

    width: int = 640
    height: int = 480
    field: float = 24.0
    yaw: float = 0.0
    wall: Colour = (96, 110, 112)


class Head:
    """The body model's head as coloured parts, moved by facial actions and a turn of the neck."""

    def __init__(self, looks: Looks) -> None:
        import anny
        import torch

        model = anny.Anny(local_changes="default", facial_actions="all", topology="anny-full").to(torch.float32)
        pose = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
        phenotype = {name: 0.5 for name in model.phenotype_labels} | looks.shape

        def vertices(actions: dict[str, float]) -> np.ndarray:
            moved = model(
                pose_parameters=pose, phenotype_kwargs=phenotype, local_changes_kwargs={}, facial_actions=actions
            )
            return moved["vertices"][0].detach().double().numpy()

        self.rest = vertices({})
        self.actions = {name: vertices({name: 1.0}) - self.rest for name in ACTIONS}
        quads = read_groups(anny)
        eye = self.rest[quads["helper-l-eye"]]
        self.rest[:, 1:] += EYE - (eye.min((0, 1)) + eye.max((0, 1)))[1:] / 2
        self.looks, self.left_eye = looks, np.array([(eye[..., 0].min() + eye[..., 0].max()) / 2, *EYE])
        self.texture_px = np.zeros((len(self.rest), 2))
        texture = model.texture_coordinates.numpy() * [1024, -1024] + [0, 1024]
        self.texture_px[model.faces.numpy()] = texture[model.face_texture_coordinate_indices.numpy()]
        teeth = np.unique(np.concatenate([quads["helper-upper-teeth"], quads["helper-lower-teeth"]]))
        self.rest[teeth, 1] += TEETH_BACK
        self.rest[teeth, 0] *= TEETH_WIDTH
        self.rest[np.unique(quads["helper-upper-teeth"]), 2] -= looks.teeth_down
        for name in ("helper-upper-teeth", "helper-lower-teeth"):
            quads[name] = quads[name][(np.abs(self.rest[quads[name]][..., 0]) < looks.teeth_reach).all(1)]
        self.parts = {name: Part(name, quads[name], self) for name in PARTS}

    def frame(self, amounts: dict[str, float], turn: np.ndarray) -> list[tuple[trimesh.Trimesh, float]]:
        """Return the coloured parts and their roughness for amounts of the actions and a turn [3] in radians."""
        moved = self.rest + sum(amount * self.actions[name] for name, amount in amounts.items())
        pivot = np.array([0, -0.02, NECK_HEIGHT])
        share = 1 / (1 + np.exp(-(self.rest[:, 2:] - NECK_HEIGHT) / (NECK_SOFTNESS / 3)))
        rotation = trimesh.transformations.euler_matrix(*turn)[:3, :3]
        moved = moved + share * ((moved - pivot) @ rotation.T + pivot - moved)
        meshes = [(part.mesh(moved), PARTS[name]) for name, part in self.parts.items()]
        if self.looks.has_glasses:
            glasses = make_glasses(self.left_eye)
            glasses.vertices = (glasses.vertices - pivot) @ rotation.T + pivot
            meshes.append((glasses, 0.3))
        return meshes


class Part:
    """A part of the head, subdivided so that colour can be painted on its vertices."""

    def __init__(self, name: str, quads: np.ndarray, head: Head) -> None:
        quads = quads[(head.rest[quads][..., 2] > 0.36).all(1)]
        used, faces = np.unique(quads, return_inverse=True)
        faces = faces.reshape(quads.shape)
        triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
        self.used, weights = used, np.eye(len(used))
        for _ in range(1 if name == "body" else 3):
            weights, triangles = trimesh.remesh.subdivide(weights, triangles)
        self.weights, self.triangles = scipy.sparse.csr_matrix(weights), triangles
        self.colours = paint(name, self.weights @ head.rest[used], self.weights, used, head)

    def mesh(self, vertices: np.ndarray) -> trimesh.Trimesh:
        """Return the part for the head's vertices [V, 3]."""
        return trimesh.Trimesh(
            self.weights @ vertices[self.used], self.triangles, vertex_colors=self.colours, process=False
        )


def make_glasses(eye: np.ndarray) -> trimesh.Trimesh:
    """Rims, a bridge and two arms for a head whose left eye's centre is [3]."""
    front = eye - [0, LENS_FORWARD, 0.002]
    angle = np.linspace(0, 2 * np.pi, 49)
    ring = LENS * np.sign(np.stack([np.cos(angle), np.sin(angle)], 1))
    ring *= np.abs(np.stack([np.cos(angle), np.sin(angle)], 1)) ** 0.6  # between an ellipse and a rectangle
    left = front + np.stack([ring[:, 0], np.zeros(49), ring[:, 1]], 1)
    inner, outer = front - [LENS[0], 0, -0.004], front + [LENS[0], 0, 0.008]
    arm = np.stack([outer, outer + [0.007, 0.012, 0], outer + [0.013, TEMPLE_LENGTH, 0]])
    bridge = np.stack([inner, inner * [0, 1, 1] + [0, -0.002, 0.003], inner * [-1, 1, 1]])
    wires = [left, left * [-1, 1, 1], arm, arm * [-1, 1, 1], bridge]
    tubes = [
        trimesh.creation.cylinder(RIM, segment=segment, sections=10)
        for wire in wires
        for segment in zip(wire, wire[1:], strict=False)
    ]
    glasses = trimesh.util.concatenate(tubes)
    glasses.visual.vertex_colors = np.tile(np.array([12, 10, 10, 255], np.uint8), (len(glasses.vertices), 1))
    return glasses


def read_groups(anny: object) -> dict[str, np.ndarray]:
    """Read the quads of each named group of the base mesh."""
    groups: dict[str, list[list[int]]] = {}
    name = ""
    with (Path(anny.__file__).parent / "data/mpfb2/3dobjs/base.obj").open() as file:
        for line in file:
            kind, *fields = line.split() or [""]
            if kind == "g":
                name = fields[0]
            elif kind == "f":
                groups.setdefault(name, []).append([int(field.split("/")[0]) - 1 for field in fields])
    return {name: np.array(quads) for name, quads in groups.items()}


def paint(name: str, points: np.ndarray, weights: np.ndarray, used: np.ndarray, head: Head) -> np.ndarray:
    """Choose a colour [V, 4] uint8 for each vertex [V, 3] of a part at rest."""
    if "eye" in name:
        colours = paint_eye(points, head.looks)
    elif "teeth" in name:
        angle = np.arctan2(points[:, 0], -points[:, 1] - 0.07)
        colours = np.array([0.62, 0.57, 0.48]) * (0.88 + 0.12 * np.abs(np.cos(11 * angle)))[:, None]
    elif "tongue" in name:
        colours = np.tile([0.22, 0.07, 0.07], (len(points), 1))
    else:
        colours = paint_body(points, weights @ head.texture_px[used], head.left_eye, head.looks)
    return np.concatenate([np.clip(colours, 0, 1) * 255, np.full((len(points), 1), 255)], 1).astype(np.uint8)


def paint_eye(points: np.ndarray, looks: Looks) -> np.ndarray:
    """White, iris and pupil by the distance from the eye's axis."""
    centre = (points.max(0) + points.min(0)) / 2
    radius = np.hypot(*(points - centre)[:, [0, 2]].T) / (np.ptp(points[:, 0]) / 2)
    colours = np.tile([0.82, 0.80, 0.78], (len(points), 1))
    front = points[:, 1] < centre[1]
    colours[front & (radius < 0.46)] = looks.iris
    colours[front & (radius < 0.20)] = [0.01, 0.01, 0.01]
    return colours


def paint_body(points: np.ndarray, texture_px: np.ndarray, eye: np.ndarray, looks: Looks) -> np.ndarray:
    """Skin, cheeks, lips, dark inner mouth, brows, short hair and a shirt; eye [3] is the left one's centre."""
    side, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2] - eye[2]
    noise = np.sin(310 * points[:, 0] + 3) * np.sin(270 * z) * np.sin(190 * y + 1)
    front = y < eye[1] + 0.02
    colours = np.array(looks.skin) * (1 + 0.04 * noise)[:, None]
    cheek = np.exp(-(((side - 0.040) / 0.018) ** 2) - ((z + 0.036) / 0.02) ** 2) * front
    colours = colours * (1 - cheek[:, None] * np.array([0.02, 0.15, 0.15]))
    slit = np.hypot(*((texture_px - LIPS_AT_PX) / LIPS_SIZE_PX).T)
    colours = blend(colours, np.array(looks.lip), scipy.special.expit((1 - slit) / 0.06))
    inside = (texture_px[:, 0] > 770) & (texture_px[:, 1] > 878)  # the mouth's cavity lies apart in the texture
    colours = blend(colours, np.array([0.16, 0.05, 0.05]), inside.astype(float))
    arch = 0.0185 - 9.0 * (side - eye[0] - 0.004) ** 2
    brow = np.exp(-(((z - arch) / 0.0036) ** 4)) * (np.abs(side - eye[0] - 0.001) < 0.020) * front
    hair_colour = np.array(looks.hair)
    colours = blend(colours, hair_colour, 0.8 * brow)
    hairline = looks.hairline - 0.75 * np.clip(y - eye[1], 0, 0.08) - 6.0 * side**2
    hair = np.maximum(1 / (1 + np.exp(-(z - hairline) / 0.002)), (y > 0.005) & (z > -0.05) & (side < 0.072))
    hair = hair * ((side < 0.073) | (z > 0.02))
    colours = blend(colours, hair_colour * (1 + 0.4 * noise)[:, None], hair)
    return blend(colours, np.array(looks.shirt), 1 / (1 + np.exp((z + 0.165 + 0.35 * (y + 0.05)) / 0.002)))


def blend(colours: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix colours [V, 3] with others by a share [V]."""
    return colours * (1 - share[:, None]) + other * share[:, None]


def film(head: Head, curves: dict[str, np.ndarray], shot: Shot) -> Iterator[np.ndarray]:
    """Photograph the head in each frame as its actions follow some curves; yields uint8 [H, W, 3]."""
    renderer = pyrender.OffscreenRenderer(2 * shot.width, 2 * shot.height)
    backdrop = make_backdrop(shot)
    blink = np.zeros(len(curves["jawOpen"]))
    blink[[index for index in (30, 31, 88, 89) if index < len(blink)]] = 1
    blink = scipy.ndimage.gaussian_filter1d(blink, 0.8)
    for index in range(len(blink)):
        time = index / FPS
        amounts = {name: float(curve[index]) for name, curve in curves.items()}
        amounts |= {"eyeBlinkLeft": float(blink[index]), "eyeBlinkRight": float(blink[index])}
        nod, tilt, swing = 0.04 * np.sin(1.7 * time), 0.02 * np.sin(1.1 * time + 1), 0.10 * np.sin(0.9 * time)
        picture = shoot(renderer, head.frame(amounts, np.array([nod, tilt, swing + shot.yaw])), shot.field)
        solid = picture[..., 3:] / 255
        picture = picture[..., :3] * solid + backdrop * (1 - solid)
        yield picture.reshape(shot.height, 2, shot.width, 2, 3).mean((1, 3)).round().astype(np.uint8)
    renderer.delete()


def shoot(
    renderer: pyrender.OffscreenRenderer, meshes: list[tuple[trimesh.Trimesh, float]], field: float
) -> np.ndarray:
    """Light parts with their roughness, and photograph a field of some degrees; returns uint8 [2H, 2W, 4]."""
    scene = pyrender.Scene(ambient_light=[0.26, 0.26, 0.28], bg_color=[0, 0, 0, 0])
    for mesh, rough in meshes:
        material = pyrender.MetallicRoughnessMaterial(metallicFactor=0.0, roughnessFactor=rough, doubleSided=True)
        primitive = pyrender.Primitive(
            mesh.vertices, mesh.vertex_normals, color_0=mesh.visual.vertex_colors / 255, indices=mesh.faces,
            material=material,
        )  # fmt: skip
        scene.add(pyrender.Mesh([primitive]))
    for place, power in (((-0.7, -1.0, 1.4), 2.1), ((0.9, -0.9, 0.8), 0.8), ((0.3, 0.9, 1.3), 1.6)):
        scene.add(pyrender.DirectionalLight(intensity=power), pose=look_from(np.array(place)))
    scene.add(pyrender.PerspectiveCamera(yfov=np.radians(field)), pose=look_from(np.array([0.03, -1.05, 0.66])))
    return renderer.render(scene, flags=pyrender.RenderFlags.RGBA)[0]


def look_from(place: np.ndarray) -> np.ndarray:
    """Pose [4, 4] of something at a place that looks at the head, z up."""
    backward = place - np.array([0, -0.03, 0.622])
    backward = backward / np.linalg.norm(backward)
    right = np.cross([0, 0, 1], backward)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(backward, right), backward, place], 1)
    return pose


def make_backdrop(shot: Shot) -> np.ndarray:
    """Paint a soft wall behind the head, [2H, 2W, 3] 0 to 255."""
    y, x = np.mgrid[0 : 2 * shot.height, 0 : 2 * shot.width] / (2 * shot.height)
    glow = np.exp(-((x - 0.4) ** 2 + (y - 0.3) ** 2))[..., None]
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=x.shape), 3)[..., None]
    return np.array(shot.wall) + glow * np.array([60, 58, 50]) + 20 * noise
