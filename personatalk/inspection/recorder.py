"""Records a run on disk, in bounded memory."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import torch.nn.functional as F

from personatalk.face_rendering.clip_renderer import RenderedFrame
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_SCALE, WINDOW_WIDTH, scale_affine, warp_image
from personatalk.geometry.mesh import MAP_STRIDE
from personatalk.geometry.rasterizer import rasterize
from personatalk.inspection.portrait import (
    PORTRAIT_GAIN,
    PORTRAIT_HEIGHT,
    PORTRAIT_WIDTH,
    WINDOW_BOX,
    fade_outside,
    portrait_from_image,
)
from personatalk.media.picture import Pixels
from personatalk.metrics.image import seam_gradient_ratio
from personatalk.observer import Scene
from personatalk.persons.embedding import cut_face_chip

FORMAT = 1
MAX_FRAMES = 200  # evenly spaced; a recording then stays under 50 MB for a clip of any length
MAX_JUDGED = 8  # frames for which identity and seam are measured
JPEG_QUALITY = 90
REFERENCE_SCALE = 2  # px of a reference's picture for one of the window


class Recorder:
    """Records one run into a folder: give it to `DubbingPipeline.dub(record=...)`, then `Inspection.load(folder)`.

    Geometry, style, references and the speech are kept whole; pictures and attention of at most `max_frames` frames.

    Args:
        folder: made if need be; an earlier recording in it is overwritten.
        max_frames: most frames whose pictures and attention are kept, evenly spaced over the clip.
    """

    def __init__(self, folder: Path, max_frames: int = MAX_FRAMES) -> None:
        self.folder, self.max_frames = Path(folder), max_frames
        (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
        for stale in ("recording.json", "prior.npy"):
            (self.folder / stale).unlink(missing_ok=True)

    def begin(self, scene: Scene) -> None:
        """Keep the scene."""
        self._scene = scene
        count = len(scene.order)
        self._kept = evenly(count, self.max_frames)
        self._judged = set(self._kept[evenly(len(self._kept), MAX_JUDGED)].tolist())
        self._portraits = portrait_from_image(scene.posed)
        self._fineness = min(1.0, float(np.median(scene.posed.scale)) / (PORTRAIT_GAIN * WINDOW_SCALE))
        self._attention: dict[str, np.memmap] = {}
        self._frames = {"lip_frames": {}, "face_frames": {}}
        self._chips, self._seams = [], []
        scene.mesh.face_model.save(self.folder / "face_model.safetensors")
        bank = scene.bank
        for name, geometry in (("source", scene.source), ("posed", scene.posed), ("reference", bank.geometry)):
            geometry.save(self.folder / f"{name}.npz")
        np.savez(
            self.folder / "scene.npz",
            order=scene.order,
            kept=self._kept,
            lip_bank=bank.candidates.lip_frames,
            face_bank=bank.candidates.face_frames,
            waveform=scene.waveform.astype(np.float16),
            **{f"style_{field.name}": getattr(scene.style, field.name).numpy() for field in fields(scene.style)},
        )
        for index, entry in bank.entries.items():
            affine = scale_affine(entry.crop.window_from_crop, REFERENCE_SCALE)
            picture = warp_image(
                entry.crop.image, affine, REFERENCE_SCALE * WINDOW_WIDTH, REFERENCE_SCALE * WINDOW_HEIGHT
            )
            self._write(f"reference_{index:06d}", picture)

    def frame(self, position: int, image: Pixels, rendered: RenderedFrame) -> None:
        """Keep a frame, if it is one of the evenly spaced ones."""
        row = int(np.searchsorted(self._kept, position))
        if row == len(self._kept) or self._kept[row] != position:
            return
        affine = self._portraits[position]
        self._write(f"source_{position:06d}", self._cut(image, affine, (0, 0, PORTRAIT_WIDTH, PORTRAIT_HEIGHT)))
        self._write(f"dubbed_{position:06d}", self._cut(rendered.pixels, affine, WINDOW_BOX))
        rendering = rendered.rendering
        if rendering is None:
            return
        self._frames["lip_frames"][row] = rendered.lip_frames
        self._frames["face_frames"][row] = rendered.face_frames
        self._append("gate", row, F.avg_pool2d(rendering.gate.float(), MAP_STRIDE)[0, 0].half().cpu().numpy())
        if rendering.prior is not None:
            self._append("prior", row, rendering.prior[0].half().cpu().numpy())
        for kind, sample in (("lip", rendering.lip), ("face", rendering.face)):
            self._append(f"{kind}_weights", row, sample.weights[0].half().cpu().numpy())
            self._append(f"{kind}_offsets", row, sample.offsets[0].half().cpu().numpy())
        if position in self._judged:
            self._judge(position, np.asarray(image), rendered.image)

    def finish(self, report: dict) -> None:
        """Complete the recording; without this it cannot be loaded."""
        for array in self._attention.values():
            array.flush()
        np.savez(
            self.folder / "frames.npz",
            chips=np.array(self._chips),
            seams=np.array(self._seams),
            lip_frames=self._rows(self._frames["lip_frames"]),
            face_frames=self._rows(self._frames["face_frames"]),
        )
        scene = self._scene
        facts = {"format": FORMAT, "video": str(scene.video), "reference_video": str(scene.reference_video)}
        (self.folder / "recording.json").write_text(json.dumps(facts | {"report": report}, indent=2) + "\n")
        del self._scene

    def _cut(self, image: Pixels, portrait_from_image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """Cut a box of the portrait out of a frame, at most at the frame's own resolution."""
        left, top, right, bottom = box
        width, height = round((right - left) * self._fineness), round((bottom - top) * self._fineness)
        affine = portrait_from_image - np.array(((0, 0, left), (0, 0, top)), np.float32)
        gain = np.array(((width / (right - left),), (height / (bottom - top),)), np.float32)
        picture = warp_image(image, affine * gain, width, height)
        return fade_outside(picture, affine * gain, image.shape[1], image.shape[0])

    def _write(self, name: str, picture: np.ndarray) -> None:
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        (self.folder / "pictures" / f"{name}.jpg").write_bytes(encoded.tobytes())

    def _append(self, name: str, row: int, values: np.ndarray) -> None:
        if name not in self._attention:
            shape = (len(self._kept), *values.shape)
            path = self.folder / f"{name}.npy"
            self._attention[name] = np.lib.format.open_memmap(path, "w+", dtype=np.float16, shape=shape)
            reserve_space(path)
        self._attention[name][row] = values

    def _rows(self, frames: dict[int, np.ndarray]) -> np.ndarray:
        """[N, K] frame numbers for each kept frame, -1 where none was rendered."""
        count = max((len(numbers) for numbers in frames.values()), default=0)
        rows = np.full((len(self._kept), count), -1, np.int64)
        for row, numbers in frames.items():
            rows[row] = numbers
        return rows

    def _judge(self, position: int, image: np.ndarray, dubbed: np.ndarray) -> None:
        """Cut the faces for the figure of identity, and measure the seam, in the frame's own pixels."""
        mesh, posed, source = self._scene.mesh, self._scene.posed, self._scene.source
        vertices = mesh.face_model.vertices(posed.template, posed.expression[position])
        own_vertices = mesh.face_model.vertices(source.template, source.expression[self._scene.order[position]])
        projected = mesh.project(posed.pose(position, vertices))
        self._chips.append([cut_face_chip(picture, projected) for picture in (image, dubbed)])
        left, top = np.maximum(np.floor(projected.min(0)[:2]).astype(int), 0)
        right, bottom = np.ceil(projected.max(0)[:2]).astype(int)
        crop_from_image = np.array(((1, 0, -left), (0, 1, -top)), np.float32)
        output, truth = (picture[top:bottom, left:right] for picture in (dubbed, image))
        in_crop = projected - np.array((left, top, 0), np.float32)
        index, _ = rasterize(in_crop, mesh.triangles, *output.shape[:2])
        mask = mesh.region(posed.pose(position, vertices, crop_from_image), index, own_vertices) > 0
        self._seams.append(seam_gradient_ratio(output, truth, mask))


def reserve_space(path: Path) -> None:
    """Reserve the space of a sparse file: on a full disk, writing to its memory map would kill the process.

    Raises:
        OSError: there is too little space.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def evenly(count: int, most: int) -> np.ndarray:
    """At most `most` evenly spaced positions in 0 .. count - 1, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
