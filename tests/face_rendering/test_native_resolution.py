"""A close-up in 1080p: the person's own pixels come out as sharp as they went in, and nothing else is touched."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import choose_candidates
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel, HeadVertices
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.media import Frame

HEIGHT, WIDTH = 1080, 1920
SCALE = 320.0  # px per inter-ocular distance: from brow to chin the face measures 600 px
NUM_FRAMES = 48
TARGET = 30


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


def move(mesh: FaceMesh, corner: tuple[float, float], step: tuple[float, float]) -> FaceGeometry:
    """A face at rest that moves on by a step each frame."""
    mean = mesh.face_model.mean
    steps = np.arange(NUM_FRAMES)[:, None] % 7 * np.array(step)
    return FaceGeometry(
        template=mean,
        expression=np.zeros((NUM_FRAMES, mesh.face_model.num_expression), np.float32),
        rotation=np.tile(np.eye(3, dtype=np.float32), (NUM_FRAMES, 1, 1)),
        translation=(np.array(corner) + steps).astype(np.float32),
        scale=np.full(NUM_FRAMES, SCALE, np.float32),
        valid=np.ones(NUM_FRAMES, bool),
        times=np.arange(NUM_FRAMES) / 25,
    )


def skin() -> np.ndarray:
    """[H, W, 3] pores and hairs: noise in which the third pixel knows nothing of the first."""
    noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    return np.clip(128 + 90 * cv2.GaussianBlur(noise, (0, 0), 1.2), 0, 255).astype(np.uint8)


def picture(texture: np.ndarray, geometry: FaceGeometry, index: int) -> np.ndarray:
    """The texture, carried along by the face."""
    shift = geometry.translation[index] - geometry.translation[0]
    affine = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(texture, affine, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def render(mesh: FaceMesh, geometry: FaceGeometry, stirred: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render the target frame: result, source, and the mask of the full frame."""
    torch.manual_seed(0)
    config = RendererConfig(
        dim=8, widths=(8, 8, 8), num_lip_references=3, num_face_references=2, has_texture_prior=False
    )
    model = DualAttentionRenderer(config).eval()
    if stirred:
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.1)
    texture, vertices = skin(), HeadVertices(mesh.face_model, geometry.template, geometry.expression)
    demanded = lip_descriptors(vertices, geometry.template, geometry.rotation)
    references = ReferenceBank(mesh, geometry, choose_candidates(geometry, mesh, demanded))
    frames = (
        Frame(index=i, time=i / 25, pixels=picture(texture, geometry, i), pts=i, time_base=Fraction(1, 25))
        for i in sorted(references.candidates.frames)
    )
    references.gather(frames, model)
    source = picture(texture, geometry, TARGET)
    rendered = ClipRenderer(model, mesh, geometry, vertices, references).render(TARGET, source)
    assert rendered.is_dubbed
    projected = mesh.project(geometry.pose(TARGET, geometry.template))
    return rendered.image, source, mesh.mask(projected, geometry.template, HEIGHT, WIDTH)


def sharpness(image: np.ndarray, inside: np.ndarray) -> float:
    return float(cv2.Laplacian(image.astype(np.float32).mean(-1), cv2.CV_32F)[inside].var())


@pytest.mark.parametrize(("step", "least"), [((3.0, -2.0), 0.99), ((2.5, 1.5), 0.9)])
def test_own_pixels_come_out_as_sharp_as_they_went_in(mesh, step, least):
    """Moved by whole pixels they are the same; between pixels linear interpolation would leave three quarters."""
    geometry = move(mesh, (900, 350), step)
    result, source, mask = render(mesh, geometry)
    inside = mask > 0.999
    assert inside.sum() > 80_000
    error = np.square(result.astype(np.float64) - source)[inside].mean()
    assert least <= sharpness(result, inside) / sharpness(source, inside) <= 1.02
    if least > 0.9:
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 45


@pytest.mark.parametrize("corner", [(900, 350), (120, 350), (1720, 660)])
def test_outside_the_mask_the_frame_is_the_decoded_source(mesh, corner):
    """Also where the face leaves the picture."""
    result, source, mask = render(mesh, move(mesh, corner, (3.0, -2.0)), stirred=True)
    changed = (result != source).any(-1)
    assert changed.sum() > 10_000
    assert not (changed & (mask == 0)).any()
