"""Where an evaluation finds its clips, caches and weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from personatalk.geometry.face_model import FaceModel
from personatalk.training.corpus import Clip, read_manifest

FACE_MODEL_FILE = "face_model.safetensors"


@dataclass(frozen=True, kw_only=True)
class EvaluationInputs:
    """Where an evaluation finds what it needs.

    Attributes:
        data: folder of the clips, or one with a folder `clips` in it.
        manifest: .tsv of the clips, see `training.corpus.read_manifest`.
        corpus: folder that `preprocess` filled.
        checkpoints: folder of the weights.
        output: folder for pictures and videos; None keeps none.
        split: which clips are judged.
        limit: at most so many clips, spread over the persons; 0 takes all.
        syncnet: SyncNet's own weights, which do not ship.
        sounds: folder of recordings in which nobody speaks; None where there are none.
        renderers: name to weights of stage 2 that are judged beside those that ship, see `load_renderer`.
        device: of stage 2 and of the networks that judge pictures; all else is on the CPU.
    """

    data: Path
    manifest: Path
    corpus: Path
    checkpoints: Path
    output: Path | None = None
    split: str = "val"
    limit: int = 0
    syncnet: Path | None = None
    sounds: Path | None = None
    renderers: dict[str, Path] = field(default_factory=dict)
    device: torch.device = torch.device("cpu")

    def load_face_model(self) -> FaceModel:
        """Load the face model that the corpus was fitted with."""
        return FaceModel.load(self.checkpoints / FACE_MODEL_FILE)

    def read_clips(self, split: str | None = None) -> list[Clip]:
        """Read the manifest's clips of the split that is judged, or of another."""
        return read_manifest(self.manifest, split or self.split)

    def clip_path(self, clip: Clip) -> Path:
        """Where a clip's video is."""
        inside = self.data / "clips" / clip.file
        return inside if inside.is_file() else self.data / clip.file
