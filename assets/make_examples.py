"""Make the example media: the rendered clip, the example speeches, and the animation of the README.

    python -m assets.make_examples media       rendered_head.mp4 and the speeches: nobody's face and nobody's voice
    python -m assets.make_examples animation   dub.webp: grid_speaker.mp4 beside its dub with speech_bridge.wav

The first needs `pip install anny` (a body model, Apache-2.0, on MakeHuman's CC0 shapes) and the program espeak-ng.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np

os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
np.infty = np.inf  # pyrender asks for the name that NumPy 2 dropped

import av  # noqa: E402
import pyrender  # noqa: E402
import scipy.ndimage  # noqa: E402
import scipy.sparse  # noqa: E402
import scipy.special  # noqa: E402
import trimesh  # noqa: E402

FOLDER = Path(__file__).parent
FPS, WIDTH, HEIGHT = 25, 640, 480
OWN_SENTENCE = "Good morning everybody. Before we begin, let me tell you a few words about the weather this week."
SENTENCES = {
    "speech_bridge.wav": "The old bridge by the river was painted blue last summer.",
    "speech_kitchen.wav": "My brother makes five loaves of bread every morning, while the kitchen is still warm.",
}
ACTIONS = [
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthStretchRight", "mouthSmileLeft",
    "mouthSmileRight", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthRollLower", "mouthRollUpper", "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp",
]  # fmt: skip
NECK_HEIGHT, NECK_SOFTNESS = 0.55, 0.035  # metres of the model; the head turns above the neck
TEETH_WIDTH = 0.88  # of the model's; otherwise they show beside an open mouth
TEETH_BACK = 0.004  # metres; otherwise they show between closed lips
PARTS = ["body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue"]
LIPS_AT_PX, LIPS_SIZE_PX = np.array([931.0, 529.0]), np.array([13.0, 22.0])  # in the texture of 1024 px
SKIN, LIP, HAIR = np.array([0.66, 0.40, 0.28]), np.array([0.46, 0.17, 0.15]), np.array([0.03, 0.018, 0.012])


def speak(text: str, path: Path) -> None:
    """Write a sentence spoken by espeak-ng, 22 kHz mono."""
    subprocess.run(["espeak-ng", "-v", "en-gb", "-s", "150", "-w", str(path), text], check=True)


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """Return samples in [-1, 1] and their rate."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        return samples, file.getframerate()


def mouth_curves(samples: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Turn loudness and spectrum of a speech into facial actions, one value a frame."""
    num_frames = int(np.ceil(len(samples) / rate * FPS))
    hop = rate // FPS
    padded = np.pad(samples, (hop // 2, 2 * hop))
    windows = np.stack([padded[i * hop : i * hop + 2 * hop] for i in range(num_frames)]) * np.hanning(2 * hop)
    power = np.abs(np.fft.rfft(windows)) ** 2
    frequency = np.fft.rfftfreq(2 * hop, 1 / rate)
    bands = [power[:, (frequency >= a) & (frequency < b)].sum(1) for a, b in ((200, 900), (900, 2800), (2800, 8000))]
    low, middle, high = (np.sqrt(band) / 10 for band in bands)
    loudness = np.clip(low / np.percentile(low, 95), 0, 1)
    bright = middle / (low + middle + 1e-3)
    hiss = np.clip(high / (np.percentile(high, 95) + 1e-6), 0, 1) * (1 - loudness)
    smooth = lambda curve: scipy.ndimage.gaussian_filter1d(curve, 0.7)  # noqa: E731
    jaw, wide = smooth(0.55 * loudness**0.8), smooth(np.clip(2.2 * bright - 0.35, 0, 1) * loudness)
    round_ = smooth(np.clip(0.55 - 2.0 * bright, 0, 0.5) * loudness)
    bare = smooth(0.35 * hiss + 0.25 * loudness)
    return {
        "jawOpen": jaw, "mouthFunnel": round_, "mouthPucker": 0.8 * round_, "mouthStretchLeft": 0.6 * wide,
        "mouthStretchRight": 0.6 * wide, "mouthUpperUpLeft": bare, "mouthUpperUpRight": bare,
        "mouthLowerDownLeft": bare, "mouthLowerDownRight": bare,
    }  # fmt: skip


class Head:
    """The body model's head as coloured parts, moved by facial actions and a turn of the neck."""

    def __init__(self) -> None:
        import anny
        import torch

        model = anny.Anny(local_changes="default", facial_actions="all", topology="anny-full").to(torch.float32)
        pose = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
        phenotype = {name: 0.5 for name in model.phenotype_labels} | {"gender": 0.62, "age": 0.62, "weight": 0.45}

        def vertices(actions: dict[str, float]) -> np.ndarray:
            moved = model(
                pose_parameters=pose, phenotype_kwargs=phenotype, local_changes_kwargs={}, facial_actions=actions
            )
            return moved["vertices"][0].detach().double().numpy()

        self.rest = vertices({})
        self.actions = {name: vertices({name: 1.0}) - self.rest for name in ACTIONS}
        quads = read_groups(anny)
        self.left_eye = np.mean(
            [self.rest[quads["helper-l-eye"]].min((0, 1)), self.rest[quads["helper-l-eye"]].max((0, 1))], 0
        )
        self.texture_px = np.zeros((len(self.rest), 2))
        texture = model.texture_coordinates.numpy() * [1024, -1024] + [0, 1024]
        self.texture_px[model.faces.numpy()] = texture[model.face_texture_coordinate_indices.numpy()]
        teeth = np.unique(np.concatenate([quads["helper-upper-teeth"], quads["helper-lower-teeth"]]))
        self.rest[teeth, 1] += TEETH_BACK
        self.rest[teeth, 0] *= TEETH_WIDTH
        self.parts = {name: Part(name, quads[name], self) for name in PARTS}

    def frame(self, amounts: dict[str, float], turn: np.ndarray) -> list[trimesh.Trimesh]:
        """Return the coloured parts for amounts of the actions and a turn [3] in radians."""
        moved = self.rest + sum(amount * self.actions[name] for name, amount in amounts.items())
        pivot = np.array([0, -0.02, NECK_HEIGHT])
        share = 1 / (1 + np.exp(-(self.rest[:, 2:] - NECK_HEIGHT) / (NECK_SOFTNESS / 3)))
        rotation = trimesh.transformations.euler_matrix(*turn)[:3, :3]
        moved = moved + share * ((moved - pivot) @ rotation.T + pivot - moved)
        return [part.mesh(moved) for part in self.parts.values()]


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
        colours = paint_eye(points)
    elif "teeth" in name:
        angle = np.arctan2(points[:, 0], -points[:, 1] - 0.07)
        colours = np.array([0.62, 0.57, 0.48]) * (0.88 + 0.12 * np.abs(np.cos(11 * angle)))[:, None]
    elif "tongue" in name:
        colours = np.tile([0.22, 0.07, 0.07], (len(points), 1))
    else:
        colours = paint_body(points, weights @ head.texture_px[used], head.left_eye)
    return np.concatenate([np.clip(colours, 0, 1) * 255, np.full((len(points), 1), 255)], 1).astype(np.uint8)


def paint_eye(points: np.ndarray) -> np.ndarray:
    """White, iris and pupil by the distance from the eye's axis."""
    centre = (points.max(0) + points.min(0)) / 2
    radius = np.hypot(*(points - centre)[:, [0, 2]].T) / (np.ptp(points[:, 0]) / 2)
    colours = np.tile([0.82, 0.80, 0.78], (len(points), 1))
    front = points[:, 1] < centre[1]
    colours[front & (radius < 0.46)] = [0.20, 0.12, 0.06]
    colours[front & (radius < 0.20)] = [0.01, 0.01, 0.01]
    return colours


def paint_body(points: np.ndarray, texture_px: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Skin, cheeks, lips, dark inner mouth, brows, short hair and a shirt; eye [3] is the left one's centre."""
    side, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2] - eye[2]
    noise = np.sin(310 * points[:, 0] + 3) * np.sin(270 * z) * np.sin(190 * y + 1)
    front = y < eye[1] + 0.02
    colours = SKIN * (1 + 0.04 * noise)[:, None]
    cheek = np.exp(-(((side - 0.040) / 0.018) ** 2) - ((z + 0.036) / 0.02) ** 2) * front
    colours = colours * (1 - cheek[:, None] * np.array([0.02, 0.15, 0.15]))
    slit = np.hypot(*((texture_px - LIPS_AT_PX) / LIPS_SIZE_PX).T)
    colours = blend(colours, LIP, scipy.special.expit((1 - slit) / 0.06))
    inside = (texture_px[:, 0] > 770) & (texture_px[:, 1] > 878)  # the mouth's cavity lies apart in the texture
    colours = blend(colours, np.array([0.16, 0.05, 0.05]), inside.astype(float))
    arch = 0.0185 - 9.0 * (side - eye[0] - 0.004) ** 2
    brow = np.exp(-(((z - arch) / 0.0036) ** 4)) * (np.abs(side - eye[0] - 0.001) < 0.020) * front
    colours = blend(colours, HAIR, 0.8 * brow)
    hairline = 0.066 - 0.75 * np.clip(y - eye[1], 0, 0.08) - 6.0 * side**2
    hair = np.maximum(1 / (1 + np.exp(-(z - hairline) / 0.002)), (y > 0.005) & (z > -0.05) & (side < 0.072))
    hair = hair * ((side < 0.073) | (z > 0.02))
    colours = blend(colours, HAIR * (1 + 0.4 * noise)[:, None], hair)
    return blend(colours, np.array([0.03, 0.06, 0.12]), 1 / (1 + np.exp((z + 0.165 + 0.35 * (y + 0.05)) / 0.002)))


def blend(colours: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix colours [V, 3] with others by a share [V]."""
    return colours * (1 - share[:, None]) + other * share[:, None]


def render(head: Head, curves: dict[str, np.ndarray], path: Path, speech: Path) -> None:
    """Render the head speaking, with its speech as the sound."""
    renderer = pyrender.OffscreenRenderer(2 * WIDTH, 2 * HEIGHT)
    backdrop = make_backdrop()
    blink = np.zeros(len(curves["jawOpen"]))
    blink[[30, 31, 88, 89]] = 1
    blink = scipy.ndimage.gaussian_filter1d(blink, 0.8)
    pictures = []
    for index in range(len(blink)):
        time = index / FPS
        amounts = {name: float(curve[index]) for name, curve in curves.items()}
        amounts |= {"eyeBlinkLeft": float(blink[index]), "eyeBlinkRight": float(blink[index])}
        turn = np.array([0.04 * np.sin(1.7 * time), 0.02 * np.sin(1.1 * time + 1), 0.10 * np.sin(0.9 * time)])
        picture = shoot(renderer, head.frame(amounts, turn))
        solid = picture[..., 3:] / 255
        picture = picture[..., :3] * solid + backdrop * (1 - solid)
        pictures.append(picture.reshape(HEIGHT, 2, WIDTH, 2, 3).mean((1, 3)).round().astype(np.uint8))
    renderer.delete()
    encode(pictures, path, speech)


def shoot(renderer: pyrender.OffscreenRenderer, meshes: list[trimesh.Trimesh]) -> np.ndarray:
    """Light and photograph the parts; returns uint8 [2H, 2W, 4]."""
    scene = pyrender.Scene(ambient_light=[0.26, 0.26, 0.28], bg_color=[0, 0, 0, 0])
    for mesh, rough in zip(meshes, (0.62, 0.15, 0.15, 0.3, 0.3, 0.5), strict=True):
        material = pyrender.MetallicRoughnessMaterial(metallicFactor=0.0, roughnessFactor=rough, doubleSided=True)
        primitive = pyrender.Primitive(
            mesh.vertices, mesh.vertex_normals, color_0=mesh.visual.vertex_colors / 255, indices=mesh.faces,
            material=material,
        )  # fmt: skip
        scene.add(pyrender.Mesh([primitive]))
    for place, power in (((-0.7, -1.0, 1.4), 2.1), ((0.9, -0.9, 0.8), 0.8), ((0.3, 0.9, 1.3), 1.6)):
        scene.add(pyrender.DirectionalLight(intensity=power), pose=look_from(np.array(place)))
    scene.add(pyrender.PerspectiveCamera(yfov=np.radians(24)), pose=look_from(np.array([0.03, -1.05, 0.66])))
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


def make_backdrop() -> np.ndarray:
    """Paint a soft wall behind the head, [2H, 2W, 3] 0 to 255."""
    y, x = np.mgrid[0 : 2 * HEIGHT, 0 : 2 * WIDTH] / (2 * HEIGHT)
    glow = np.exp(-((x - 0.4) ** 2 + (y - 0.3) ** 2))[..., None]
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=x.shape), 3)[..., None]
    return np.array([96, 110, 112]) + glow * np.array([60, 58, 50]) + 20 * noise


def encode(pictures: list[np.ndarray], path: Path, speech: Path) -> None:
    """Write H.264 with AAC."""
    samples, rate = read_wave(speech)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "20", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


def make_media() -> None:
    """Make the rendered clip and the speeches, beside this script."""
    for name, sentence in SENTENCES.items():
        speak(sentence, FOLDER / name)
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "own.wav"
        speak(OWN_SENTENCE, speech)
        render(Head(), mouth_curves(*read_wave(speech)), FOLDER / "rendered_head.mp4", speech)


def make_animation() -> None:
    """Dub the GRID clip with the shipped weights, and write both side by side as dub.webp."""
    from personatalk import load_pipeline
    from personatalk.inspection.comparison import write_comparison

    clip, speech = FOLDER / "grid_speaker.mp4", FOLDER / "speech_bridge.wav"
    with tempfile.TemporaryDirectory() as folder:
        dubbed = load_pipeline().dub(clip, speech, Path(folder) / "dubbed.mp4").video
        write_comparison(clip, dubbed, FOLDER / "dub.webp", names=("source", "dubbed"), fps=FPS)


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["media", "animation"])
    {"media": make_media, "animation": make_animation}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
