"""A recorded run, read back: geometry of every frame, pictures and attention of the kept frames."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from personatalk.errors import MediaError
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, scale_affine, warp_image, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry_construction.style import Style
from personatalk.inspection.portrait import PORTRAIT_HEIGHT, PORTRAIT_WIDTH, WINDOW_BOX, window_from_portrait
from personatalk.inspection.recorder import FORMAT
from personatalk.media import read_frames

KINDS = ("lip", "face")
SCALE = 3  # px of a picture for one of the renderer's window
PICTURE_WIDTH, PICTURE_HEIGHT = SCALE * WINDOW_WIDTH, SCALE * WINDOW_HEIGHT


@dataclass(frozen=True, kw_only=True)
class Attention:
    """What one attention layer did in one frame.

    Attributes:
        frames: [K] frame numbers of its references in the reference video.
        weights: [K, h, w], sum to 1 over K.
        offsets: [K, 2, h, w] px of the window: the learnt step beside the mesh's correspondence.
        share: [h, w] of this layer in each pixel; the other layer has the rest.
    """

    frames: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    share: np.ndarray


class Inspection:
    """A recorded run. Time is `t`, the position of a frame in the output: 0 .. num_frames - 1.

    Pictures and attention are those of the kept frame nearest to t.

    Attributes:
        source: geometry of the source video.
        posed: geometry of the output's frames, driven by the speech.
        reference: geometry of the video that gave the references.
        style: of the speaker.
        order: [T] source frame of each output frame.
        kept: [N] positions whose pictures and attention were kept.
        lip_bank: frame numbers of the clip's lip references.
        face_bank: frame numbers of the clip's face references.
        waveform: [S] at 16 kHz.
        report: of the run.
    """

    def __init__(self, folder: Path, facts: dict) -> None:
        self.folder, self.report = folder, facts["report"]
        self.video, self.reference_video = Path(facts["video"]), Path(facts["reference_video"])
        self.face_model = FaceModel.load(folder / "face_model.safetensors")
        self.mesh = FaceMesh(self.face_model)
        self.source, self.posed, self.reference = (
            FaceGeometry.load(folder / f"{name}.npz") for name in ("source", "posed", "reference")
        )
        with np.load(folder / "scene.npz") as scene:
            self.order, self.kept = scene["order"], scene["kept"]
            self.lip_bank, self.face_bank = scene["lip_bank"], scene["face_bank"]
            self.waveform = scene["waveform"].astype(np.float32)
            self.style = Style(**{f.name: torch.from_numpy(scene[f"style_{f.name}"]) for f in fields(Style)})
        with np.load(folder / "frames.npz") as frames:
            self.chips, self.seams = frames["chips"], frames["seams"]
            self.shares: dict[str, np.ndarray] = {}  # kept by attention_over_time
            self._frames = {kind: frames[f"{kind}_frames"] for kind in KINDS}

    @classmethod
    def load(cls, folder: Path) -> Inspection:
        """Read what a Recorder wrote.

        Raises:
            MediaError: no complete recording is there, or another version wrote it.
        """
        path = Path(folder) / "recording.json"
        if not path.is_file():
            raise MediaError(f"{folder} holds no complete recording; dub again with --inspect {folder}")
        facts = json.loads(path.read_text())
        if facts["format"] != FORMAT:
            raise MediaError(f"{folder} was recorded by another version ({facts['format']}); dub again with --inspect")
        return cls(Path(folder), facts)

    @property
    def num_frames(self) -> int:
        """T, frames of the output."""
        return len(self.order)

    @property
    def times(self) -> np.ndarray:
        """[T] s from the start of the output."""
        return self.posed.times - self.posed.times[0]

    @property
    def is_same_clip(self) -> bool:
        """Whether the references were taken from the source itself."""
        return self.video == self.reference_video

    @cached_property
    def driven_vertices(self) -> np.ndarray:
        """[T, V, 3] IOD, driven by the speech."""
        return self.face_model.vertices(self.posed.template, self.posed.expression)

    @cached_property
    def source_vertices(self) -> np.ndarray:
        """[T, V, 3] IOD, estimated from the source, in the order of the output."""
        return self.face_model.vertices(self.source.template, self.source.expression[self.order])

    @cached_property
    def reference_vertices(self) -> np.ndarray:
        """[T', V, 3] IOD of every frame of the reference video."""
        return self.face_model.vertices(self.reference.template, self.reference.expression)

    @cached_property
    def target_descriptors(self) -> np.ndarray:
        """[M, D] lip descriptors of the mouths to be rendered."""
        posed = self.posed
        return lip_descriptors(self.driven_vertices, posed.template, posed.rotation)[posed.valid]

    @cached_property
    def available(self) -> np.ndarray:
        """[T', D] lip descriptors of the reference video."""
        return lip_descriptors(self.reference_vertices, self.reference.template, self.reference.rotation)

    def row(self, t: int) -> int:
        """Which of the kept frames is nearest to t."""
        return int(np.abs(self.kept - t).argmin())

    def portrait(self, t: int, which: str = "dubbed") -> np.ndarray:
        """[480, 416, 3] uint8: the head at t, which = "source" or "dubbed"."""
        position = self.kept[self.row(t)]
        pictures = self.folder / "pictures"
        portrait = _read_picture(pictures / f"source_{position:06d}.jpg", PORTRAIT_WIDTH, PORTRAIT_HEIGHT).copy()
        if which == "dubbed":
            left, top, right, bottom = WINDOW_BOX
            dubbed = _read_picture(pictures / f"dubbed_{position:06d}.jpg", right - left, bottom - top)
            portrait[top:bottom, left:right] = dubbed
        return portrait

    def window(self, t: int, which: str = "dubbed") -> np.ndarray:
        """[480, 576, 3] uint8: the renderer's window at t, three times as large."""
        return warp_image(self.portrait(t, which), window_from_portrait(SCALE), PICTURE_WIDTH, PICTURE_HEIGHT)

    def reference_picture(self, frame: int) -> np.ndarray | None:
        """[480, 576, 3] uint8: the window of a frame of the reference video; None where it was not recorded."""
        path = self.folder / "pictures" / f"reference_{frame:06d}.jpg"
        if path.is_file():
            return _read_picture(path, PICTURE_WIDTH, PICTURE_HEIGHT).copy()
        if self.is_same_clip:
            for t in self.kept[self.order[self.kept] == frame]:
                return self.window(int(t), "source")
        return None

    def cut_reference(self, frame: int, image: np.ndarray) -> np.ndarray:
        """[480, 576, 3] uint8: the window of a frame of the reference video, cut out of its picture [H, W, 3]."""
        affine = scale_affine(window_from_image(self.reference)[frame], SCALE)
        return warp_image(image, affine, PICTURE_WIDTH, PICTURE_HEIGHT)

    def attention(self, t: int, kind: str) -> Attention | None:
        """What Lip-Attention ("lip") or Face-Attention ("face") did at t; None where the source was passed through."""
        row = self.row(t)
        frames = self._frames[kind]
        if not frames.shape[1] or frames[row, 0] < 0:
            return None
        gate = self._array("gate")[row].astype(np.float32)
        return Attention(
            frames=frames[row],
            weights=self._array(f"{kind}_weights")[row].astype(np.float32),
            offsets=self._array(f"{kind}_offsets")[row].astype(np.float32),
            share=gate if kind == "lip" else 1 - gate,
        )

    def prior(self, t: int) -> np.ndarray | None:
        """[5, 80, 96]: the texture prior's prediction at t, see `TexturePrior.predict`; None where there was none."""
        if not (self.folder / "prior.npy").is_file():
            return None
        prior = self._array("prior")[self.row(t)].astype(np.float32)
        return prior if prior.any() else None

    def _array(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


@lru_cache(maxsize=64)
def _decode(path: Path, changed_ns: int, width: int, height: int) -> np.ndarray:
    picture = cv2.cvtColor(np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)


def _read_picture(path: Path, width: int, height: int) -> np.ndarray:
    return _decode(path, path.stat().st_mtime_ns, width, height)


def read_chosen_frames(video: Path, wanted: set[int]) -> dict[int, np.ndarray]:
    """Read some frames of a video: frame number to [H, W, 3] uint8."""
    found = {}
    for frame in read_frames(video):
        if frame.index in wanted:
            found[frame.index] = frame.image
        if len(found) == len(wanted):
            break
    return found
