"""The training loop of both stages: schedule, averaged weights, exact resume, curves."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from personatalk.training.config import TrainingConfig
from personatalk.training.geometry_construction.losses import weighted_sum

logger = logging.getLogger(__name__)

Losses = dict[str, Tensor]
STATE_NAME = "state.pt"
BEST_NAME = "best.pt"
EMA_WARMUP_STEPS = 10  # the average forgets the random start: decay of step n is at most (1 + n) / (10 + n)


class Stateful(Protocol):
    """Anything with a state that resuming needs: a discriminator, its optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take a state over."""


@dataclass(kw_only=True)
class TrainState:
    """Everything that resuming needs. The data order and the random numbers follow from the step.

    Attributes:
        model: the network being trained.
        optimizer: of the model's parameters.
        ema: averaged weights of the model; the ones to validate and to ship.
        step: steps done.
        best: lowest value seen of the watched validation figure.
        extras: other things with a state, by name.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module | None = None
    step: int = 0
    best: float = math.inf
    extras: dict[str, Stateful] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ema is None:
            self.ema = copy.deepcopy(self.model)
        self.ema.requires_grad_(False).eval()

    def save(self, path: Path) -> None:
        """Write the state so that a crash while writing leaves the old file whole."""
        unfinished = path.with_suffix(".unfinished")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.state_dict(),
                "step": self.step,
                "best": self.best,
                "extras": {name: extra.state_dict() for name, extra in self.extras.items()},
            },
            unfinished,
        )
        unfinished.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: the saved state has other extras than this one.
        """
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if difference := sorted(saved["extras"].keys() ^ self.extras.keys()):
            raise ValueError(f"{path} and this run name different extras: {difference}")
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.ema.load_state_dict(saved["ema"])
        self.step, self.best = saved["step"], saved["best"]
        for name, extra in self.extras.items():
            extra.load_state_dict(saved["extras"][name])

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Move the averaged weights towards the model's; buffers are copied."""
        decay = min(decay, (1 + self.step) / (EMA_WARMUP_STEPS + self.step))
        for averaged, current in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            averaged.lerp_(current, 1 - decay)
        for averaged, current in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            averaged.copy_(current)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Rise linearly over the warm-up, then fall to zero along a half cosine."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train(
    state: TrainState,
    config: TrainingConfig,
    *,
    losses_of: Callable[[nn.Module, Any], Losses],
    batch_at: Callable[[int], Any],
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    watch: str | None = None,
    folder: Path | None = None,
    until: int | None = None,
) -> None:
    """Train from state.step to the end, or to step `until`.

    With a folder, curves go there for TensorBoard, `state.pt` is written every save_every steps and at
    the end, and `best.pt` holds the averaged weights with the lowest watched figure.

    Args:
        losses_of: named losses without weights, each []. Called as losses_of(model, batch).
        batch_at: the batch of a step; the same step gives the same batch.
        validate: figures of the averaged model, by name; called every validate_every steps and at the end.
        watch: name of the validation figure that decides on the best weights, lower is better.
        folder: where the run lives. It must exist.
    """
    last = config.num_steps if until is None else until
    writer = SummaryWriter(folder, purge_step=state.step) if folder else None
    try:
        while state.step < last:
            losses = take_step(state, config, losses_of=losses_of, batch=batch_at(state.step))
            if state.step % config.log_every == 0:
                _log(writer, state.step, "train", {name: loss.item() for name, loss in losses.items()})
            if validate and (state.step % config.validate_every == 0 or state.step == last):
                figures = validate(state.ema)
                _log(writer, state.step, "validation", figures)
                _keep_best(state, figures, watch, folder)
            if folder and (state.step % config.save_every == 0 or state.step == last):
                state.save(folder / STATE_NAME)
    finally:
        if writer:
            writer.close()


def take_step(
    state: TrainState, config: TrainingConfig, *, losses_of: Callable[[nn.Module, Any], Losses], batch: Any
) -> Losses:
    """Do one step of the optimizer and of the averaged weights.

    The random numbers of a step are seeded by the step, so that a resumed run repeats them.

    Raises:
        FloatingPointError: the loss is not finite; the message names the terms.
    """
    torch.manual_seed(config.seed * 1_000_003 + state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.step, config)
    state.model.train()
    losses = losses_of(state.model, batch)
    total = weighted_sum(losses, config.loss_weights)
    if not torch.isfinite(total):
        broken = [name for name, loss in losses.items() if not torch.isfinite(loss)]
        raise FloatingPointError(f"step {state.step}: loss is not finite in {broken}")
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), config.max_grad_norm)
    state.optimizer.step()
    state.step += 1
    state.update_ema(config.ema_decay)
    return {name: loss.detach() for name, loss in losses.items()}


def _keep_best(state: TrainState, figures: dict[str, float], watch: str | None, folder: Path | None) -> None:
    if watch is None or figures[watch] >= state.best:
        return
    state.best = figures[watch]
    if folder:
        torch.save(state.ema.state_dict(), folder / BEST_NAME)


def _log(writer: SummaryWriter | None, step: int, group: str, figures: dict[str, float]) -> None:
    logger.info("step %d %s: %s", step, group, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    if writer:
        for name, value in figures.items():
            writer.add_scalar(f"{group}/{name}", value, step)
