"""Where a driven face replaces the source: over both faces and close by, and with no hard edge at any turn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial.transform import Rotation

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel, add_border
from personatalk.geometry.mesh import FaceMesh, facing
from personatalk.geometry.rasterizer import rasterize

ASSETS = DEFAULT_FOLDER.parent / "assets"
SCALE, HEIGHT, WIDTH = 100.0, 330, 360
CHIN = 152


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


def place(mesh: FaceMesh, *, yaw: float = 0.0, drop: float = 0.0) -> np.ndarray:
    """[N, 3] px: the mean face, turned by yaw degrees, its chin dropped by a share of the inter-ocular distance."""
    mean = mesh.face_model.mean
    near_chin = np.exp(-np.square((mean[:, :2] - mean[CHIN, :2]) / 0.45).sum(1))
    vertices = mean + drop * near_chin[:, None] * np.array([0, 1, 0], np.float32)
    turned = add_border(vertices, mean) @ Rotation.from_euler("y", yaw, degrees=True).as_matrix().T
    return (turned * SCALE + np.array([WIDTH / 2, 60, 0])).astype(np.float32)


def masks(mesh: FaceMesh, driven: np.ndarray, own: np.ndarray, template: np.ndarray):
    """The mask before and after, and the triangle of each pixel of the driven face."""
    mask = mesh.mask(template, mesh.face_model.mean, HEIGHT, WIDTH)
    index, _ = rasterize(driven, mesh.triangles, HEIGHT, WIDTH)
    return mask, mesh.blend_mask(mask, index, template, own, scale=SCALE), index


def covers(mesh: FaceMesh, projected: np.ndarray) -> np.ndarray:
    """[H, W] bool: the face without its rings."""
    return rasterize(projected, mesh.triangles[: len(mesh.face_model.triangles)], HEIGHT, WIDTH)[0] >= 0


@pytest.mark.parametrize("driven_drop, own_drop", [(0.0, 0.0), (0.15, 0.0), (0.0, 0.15)])
def test_both_faces_are_covered_and_what_is_far_from_both_is_left(mesh, driven_drop, own_drop):
    driven, own, rest = place(mesh, drop=driven_drop), place(mesh, drop=own_drop), place(mesh)
    mask, blended, _ = masks(mesh, driven, own, rest)
    either = covers(mesh, driven) | covers(mesh, own)
    assert (blended <= mask + 1e-6).all() and blended.min() >= 0
    # in the middle of the egg only: towards its sides it fades as ever
    middle = np.abs(np.arange(WIDTH) - WIDTH / 2)[None] < 0.2 * SCALE
    deep = distance_transform_edt(mask > 0.999) > 0.06 * SCALE
    assert (deep & either & middle).sum() > 1000
    assert blended[deep & either & middle].min() > 0.99
    below = (distance_transform_edt(~either) > 0.2 * SCALE) & (mask > 0.1) & middle
    assert below.sum() > 100
    assert blended[below].max() == 0


def test_a_chin_that_hung_lower_than_the_driven_one_is_painted_over(mesh):
    """Or there would be two."""
    driven, own = place(mesh), place(mesh, drop=0.15)
    mask, blended, _ = masks(mesh, driven, own, place(mesh))
    second_chin = covers(mesh, own) & ~covers(mesh, driven) & (distance_transform_edt(mask > 0.999) > 0.06 * SCALE)
    assert second_chin.sum() > 300
    assert blended[second_chin].min() > 0.99


def test_what_hung_below_the_old_chin_is_painted_over_too(mesh):
    """A beard ends lower than the mesh does; beside the chin, and where both jaws are one, nothing changes."""
    template = mesh.face_model.mean
    dropped = np.zeros_like(template)
    dropped[:, 1] = 0.15 * np.exp(-np.square((template[:, :2] - template[CHIN, :2]) / 0.45).sum(1))
    driven, own, rest = place(mesh), place(mesh, drop=0.15), place(mesh)
    mask, index = mesh.mask(rest, template, HEIGHT, WIDTH), rasterize(driven, mesh.triangles, HEIGHT, WIDTH)[0]

    def blended(moved: np.ndarray) -> np.ndarray:
        return mesh.blend_mask(mask, index, rest, own, scale=SCALE, further=mesh.drop(moved))

    plain, wide = masks(mesh, driven, own, rest)[1], blended(dropped)
    chin = own[CHIN, :2].round().astype(int)
    below = np.s_[chin[1] + 6 : chin[1] + 10, chin[0]]
    assert (wide[below] > plain[below] + 0.1).all() and wide[below].min() > 0.5
    assert (wide >= plain - 1e-6).all()
    beside = np.abs(np.arange(WIDTH) - chin[0]) > 0.6 * SCALE
    np.testing.assert_allclose(wide[:, beside], plain[:, beside], atol=0.05)
    for moved in (0 * dropped, 0.2 * dropped, -dropped):
        np.testing.assert_array_equal(blended(moved), plain)


@pytest.mark.parametrize("yaw", [-50.0, -35.0, 0.0, 35.0, 50.0])
def test_the_mask_fades_in_pixels_however_the_face_is_turned(mesh, yaw):
    projected = place(mesh, yaw=yaw)
    mask, blended, _ = masks(mesh, projected, projected, projected)

    def steepest(values: np.ndarray) -> float:
        return max(np.abs(np.diff(values, axis=0)).max(), np.abs(np.diff(values, axis=1)).max())

    if yaw:
        assert steepest(mask) > 0.5  # without it there would be an edge
    assert steepest(blended) < 0.3
    assert blended.max() > 0.99


@pytest.mark.parametrize("yaw", [-50.0, 50.0])
def test_rings_seen_edge_on_show_nothing(mesh, yaw):
    projected = place(mesh, yaw=yaw)
    mask, blended, index = masks(mesh, projected, projected, projected)
    squeezed = (facing(projected, mesh.triangles) < 0.3)[index] & (index >= len(mesh.face_model.triangles))
    assert (squeezed & (mask > 0.5)).sum() > 20
    assert blended[squeezed].max() == 0


def test_facing_is_the_cosine_of_the_turn():
    flat = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]], np.float32)
    for degrees in (0, 30, 60, 80):
        turned = (flat @ Rotation.from_euler("y", degrees, degrees=True).as_matrix().T).astype(np.float32)
        assert facing(turned, np.array([[0, 1, 2]])) == pytest.approx(np.cos(np.radians(degrees)), abs=1e-3)


class Watcher:
    """Keeps every tenth frame of a dub, before and after."""

    def begin(self, scene):
        self.scene, self.frames = scene, {}

    def frame(self, position, image, rendered):
        if position % 10 == 5:
            self.frames[position] = image, rendered.image

    def finish(self, report):
        pass


def test_a_dub_leaves_neck_and_collar_as_they_are(pipeline, tmp_path):
    """All that lies below the driven chin and the source's own, though the mask reaches there."""
    watcher = Watcher()
    pipeline.dub(ASSETS / "grid_speaker.mp4", ASSETS / "speech_bridge.wav", tmp_path / "out.mp4", record=watcher)
    scene, left = watcher.scene, 0
    for position, (image, result) in watcher.frames.items():
        size, scale = image.shape[:2], float(scene.posed.scale[position])

        def lay(expression, position=position):
            vertices = scene.mesh.face_model.vertices(scene.posed.template, expression)
            return scene.mesh.project(scene.posed.pose(position, vertices))

        faces = [lay(scene.posed.expression[position]), lay(scene.source.expression[scene.order[position]])]
        triangles = scene.mesh.triangles[: len(scene.mesh.face_model.triangles)]
        either = np.any([rasterize(face, triangles, *size)[0] >= 0 for face in faces], axis=0)
        mask = scene.mesh.mask(lay(0 * scene.posed.expression[position]), scene.posed.template, *size)
        beyond = (mask > 0.05) & (distance_transform_edt(~either) > 0.16 * scale + 2)
        left += beyond.sum()
        assert (result != image).any(-1)[either & (mask > 0.9)].mean() > 0.5
        assert not (result != image).any(-1)[beyond].any()
    assert left > 500
