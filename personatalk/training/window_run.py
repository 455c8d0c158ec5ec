"""What runs of networks that learn from windows share: stage 2, its mouth interior, the occluder network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from personatalk.checkpoints import load_into
from personatalk.errors import PersonaTalkError
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.training.config import TrainingConfig
from personatalk.training.corpus import Clip
from personatalk.training.face_rendering.dataset import Prefetcher
from personatalk.training.face_rendering.discriminator import AdversarialLoss
from personatalk.training.loop import STATE_NAME, TrainState, on_cpu, train
from personatalk.training.losses import Losses

Model = TypeVar("Model", bound=nn.Module)


class Samples(Protocol):
    """Training samples of some persons."""

    persons: list[str]

    def batch_at(self, step: int, size: int, seed: int = 0) -> Any:
        """Build the batch of a step."""
        ...


@dataclass(frozen=True, kw_only=True)
class WindowRun:
    """A run of a network that learns from windows.

    Attributes:
        corpus: folder that `preprocess` filled.
        clips: of the manifest; splits decide.
        folder: of the run; an existing state is continued.
        checkpoints: where face model and perceptual networks lie.
        start_from: weights to begin with, where the folder holds no state.
        device: where it is trained and validated; batches are built on the CPU.
    """

    corpus: Path
    clips: list[Clip]
    folder: Path
    checkpoints: Path
    start_from: Path | None = None
    device: torch.device | str = "cpu"

    def mesh(self) -> FaceMesh:
        """Load the face mesh."""
        return FaceMesh(FaceModel.load(self.checkpoints / "face_model.safetensors"))

    def split(self, name: str) -> list[Clip]:
        """The clips of a split."""
        return [clip for clip in self.clips if clip.split == name]

    def open(self, model: Model, config: TrainingConfig) -> tuple[TrainState[Model], AdversarialLoss | None]:
        """Bring a model to the device, with its optimizer, and a discriminator if one is asked for; load a saved state.

        Raises:
            CheckpointError: the folder's state is of another run, or the weights to begin with are another model's.
        """
        if self.start_from:
            load_into(model, self.start_from)
        model = model.to(self.device).to(memory_format=torch.channels_last)
        adversary = AdversarialLoss(device=self.device) if "adversarial" in config.loss_weights else None
        state = TrainState(
            model=model,
            optimizer=torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay),
            extras={"adversary": adversary} if adversary else {},
        )
        if (self.folder / STATE_NAME).exists():
            state.load(self.folder / STATE_NAME)
        return state, adversary

    def require_persons(self, *, training: Samples, held_out: Samples) -> None:
        """Refuse a corpus that has nobody to train on, or nobody to validate on.

        Raises:
            PersonaTalkError: nobody is in a split.
        """
        for split, samples in (("train", training), ("val", held_out)):
            if not samples.persons:
                raise PersonaTalkError(
                    f"{self.corpus} holds no windows of clips of the split {split}; run preprocess first"
                )

    def learn(
        self,
        state: TrainState[Model],
        config: TrainingConfig,
        samples: Samples,
        *,
        losses_of: Callable[[Model, Any], Losses],
        validate: Callable[[Model], dict[str, float]],
    ) -> Model:
        """Train to the last step; `validate` gives a `loss`, whose lowest tells the best step.

        Returns:
            the averaged model after the last step, on the CPU.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        train(
            state,
            config,
            losses_of=losses_of,
            batch_at=Prefetcher(lambda step: samples.batch_at(step, config.batch_size, config.seed)),
            validate=validate,
            watch="loss",
            folder=self.folder,
        )
        return on_cpu(state.ema)


def validation_batches(held_out: Samples, count: int, size: int) -> list[Any]:
    """Build the batches that every validation of a run looks at."""
    return [held_out.batch_at(step, size, seed=1) for step in range(count)]
