"""The 3D morphable model: identity and expression coefficients to vertices, and the regions of the face.

Head space: x to the image's right, y down, z away from the camera, origin between the outer
eye corners, unit = the distance between them (inter-ocular distance, IOD).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from personatalk.errors import CheckpointError

NUM_VERTICES = 468  # MediaPipe Face Mesh without the irises
EYE_CORNERS = (33, 263)  # outer corners: the person's right eye, left eye
OUTER_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
INNER_LIPS = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
LIPS = tuple(sorted({*OUTER_LIPS, *INNER_LIPS, 76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 408, 304, 303, 302,
                     11, 72, 73, 74, 184, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 407, 272, 271, 268,
                     12, 38, 41, 42, 183}))  # fmt: skip
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LIP_PAIRS = ((82, 87), (13, 14), (312, 317))  # upper and lower inner lip, middle of the mouth
MOUTH_CORNERS = (61, 291)
LIDS_AND_BROWS = (
    7, 163, 144, 145, 153, 154, 155, 173, 157, 158, 159, 160, 161, 246, 382, 381, 380, 374, 373, 390, 249, 466, 388,
    387, 386, 385, 384, 398, 46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296,
    336, 22, 23, 24, 25, 26, 27, 28, 29, 30, 56, 110, 112, 190, 247, 252, 253, 254, 255, 256, 257, 258, 259, 260, 286,
    339, 341, 414, 467,
)  # fmt: skip
BLOCK_FRAMES = 256  # of which all vertices are held at once
BORDER_SCALES = (1.22, 1.5)  # outer rings over the face oval, about the middle of the face
BORDER_STRETCH = np.array([(scale, scale, 1) for scale in BORDER_SCALES])[:, None]
OVAL, FACE_CORNERS = np.array(FACE_OVAL), np.array((*EYE_CORNERS, *MOUTH_CORNERS))


@dataclass(frozen=True, kw_only=True)
class FaceModel:
    """A linear model of the face in head space.

    The expression basis has two parts with supports of their own: what speech moves (lips,
    jaw, cheeks) comes first, the upper face follows. Stage 1 drives the first part only.

    Attributes:
        mean: [V, 3] IOD, the average face at rest.
        shape_basis: [Ks, V, 3] IOD per standard deviation.
        expression_basis: [Ke, V, 3] IOD per standard deviation; speech first.
        triangles: [F, 3] vertex indices of the skin and the closed mouth.
        num_speech: how many of the expression coefficients belong to speech.

    Ours: the paper does not name its 3DMM. This one has MediaPipe's topology and is learnt from
        the training corpus, so that nobody has to register for it.
    """

    mean: np.ndarray
    shape_basis: np.ndarray
    expression_basis: np.ndarray
    triangles: np.ndarray
    num_speech: int

    @property
    def num_expression(self) -> int:
        """Ke, speech and upper face together."""
        return len(self.expression_basis)

    @property
    def speech_basis(self) -> np.ndarray:
        """[num_speech, V, 3] the part of the expression basis that speech moves."""
        return self.expression_basis[: self.num_speech]

    @cached_property
    def speech_weight(self) -> np.ndarray:
        """[V] how far speech moves a vertex: 0 at the eyes, 1 from the upper lip down."""
        return speech_weight(self.mean)

    def vertices(self, template: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Move a template by expression coefficients.

        Args:
            template: [V, 3] IOD.
            expression: [..., K], K = Ke or num_speech.

        Returns:
            [..., V, 3] IOD, head space.
        """
        basis = self.expression_basis[: expression.shape[-1]]
        moved = expression @ basis.reshape(len(basis), -1)
        return template + moved.reshape(*expression.shape[:-1], *template.shape)

    def save(self, path: Path) -> None:
        """Write the model, in half precision where that is exact enough (1e-4 IOD)."""
        save_file(
            {
                "mean": self.mean.astype(np.float32),
                "shape_basis": self.shape_basis.astype(np.float16),
                "expression_basis": self.expression_basis.astype(np.float16),
                "triangles": self.triangles.astype(np.int32),
                "num_speech": np.array([self.num_speech], np.int32),
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> FaceModel:
        """Read a model.

        Raises:
            CheckpointError: the file is missing or holds something else.
        """
        if not path.is_file():
            raise CheckpointError(f"missing face model: {path}; run `personatalk train face-model` or restore the file")
        tensors = load_file(path)
        if missing := {field.name for field in fields(cls)} - tensors.keys():
            raise CheckpointError(f"{path} is no face model: it lacks {sorted(missing)}")
        return cls(
            mean=tensors["mean"],
            shape_basis=tensors["shape_basis"].astype(np.float32),
            expression_basis=tensors["expression_basis"].astype(np.float32),
            triangles=tensors["triangles"],
            num_speech=int(tensors["num_speech"][0]),
        )


class HeadVertices:
    """The vertices of a clip's frames, computed when they are asked for: only coefficients are held.

    Reads as [T, V, 3] IOD: `vertices[3]`, `vertices[10:20]`, `vertices[[1, 5]]`.

    Args:
        face_model: gives the basis.
        template: [V, 3] IOD.
        expression: [T, K] coefficients.
    """

    def __init__(self, face_model: FaceModel, template: np.ndarray, expression: np.ndarray) -> None:
        self._face_model, self._template, self._expression = face_model, template, expression

    def __len__(self) -> int:
        return len(self._expression)

    def __getitem__(self, frames: int | slice | np.ndarray) -> np.ndarray:
        return self._face_model.vertices(self._template, self._expression[frames])

    def part(self, frames: slice) -> HeadVertices:
        """The vertices of some of the frames, still to be computed."""
        return HeadVertices(self._face_model, self._template, self._expression[frames])


def in_blocks(count: int) -> list[slice]:
    """Slices of so many frames as are worked on at once; at least one, which may be empty."""
    return [slice(start, min(start + BLOCK_FRAMES, count)) for start in range(0, max(count, 1), BLOCK_FRAMES)]


def smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise from 0 at low to 1 at high, with no slope at either end."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def speech_weight(mean: np.ndarray) -> np.ndarray:
    """[V] weight by height in the face: eyes 0, upper lip and below 1."""
    return smoothstep(mean[:, 1], 0.25, 0.7).astype(np.float32)


def stability_weight(mean: np.ndarray) -> np.ndarray:
    """[V] how much a vertex says of the pose of the head: bone counts, lids, brows and jaw hardly."""
    weight = 0.02 + (1 - smoothstep(mean[:, 1], 0.2, 0.75))
    weight[list(LIDS_AND_BROWS)] *= 0.15
    return (weight / weight.sum()).astype(np.float32)


def add_border(vertices: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Append the rings that carry the skin around the face: jaw line, upper neck.

    They hang on the template, not on the moving jaw: when the chin drops, the skin between chin and ring
    is what stretches, as it does on a person.

    Args:
        vertices: [..., V, 3] IOD, head space.
        template: [V, 3] IOD.

    Returns:
        [..., V + 2 * 36, 3]
    """
    centre = template[FACE_CORNERS].mean(0)
    rings = (centre + (template[OVAL] - centre) * BORDER_STRETCH).reshape(-1, 3)
    rings = np.broadcast_to(rings, (*vertices.shape[:-2], *rings.shape))
    return np.concatenate([vertices, rings], -2).astype(np.float32)


def border_triangles() -> np.ndarray:
    """[144, 3] triangles between the face oval and the rings that `add_border` appends."""
    count = len(FACE_OVAL)
    loops = [np.array(FACE_OVAL), NUM_VERTICES + np.arange(count), NUM_VERTICES + count + np.arange(count)]
    strips = []
    for inner, outer in zip(loops[:-1], loops[1:], strict=True):
        after_inner, after_outer = np.roll(inner, -1), np.roll(outer, -1)
        strips += [np.stack([inner, outer, after_outer], 1), np.stack([inner, after_outer, after_inner], 1)]
    return np.concatenate(strips).astype(np.int32)


def mouth_triangles() -> np.ndarray:
    """[18, 3] triangles that close the inner mouth, from upper to lower inner lip."""
    lower = INNER_LIPS[:11]
    upper = (INNER_LIPS[0], *reversed(INNER_LIPS[10:]))
    triangles = []
    for i in range(10):
        triangles += [(upper[i], lower[i], lower[i + 1]), (upper[i], lower[i + 1], upper[i + 1])]
    return np.array([t for t in triangles if len(set(t)) == 3], np.int32)
