"""The training loop of all networks: schedule, averaged weights, exact resume, curves; on any device."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from personatalk.errors import CheckpointError
from personatalk.training.config import TrainingConfig
from personatalk.training.losses import Losses, weighted_sum

logger = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
STATE_NAME = "state.pt"
BEST_NAME = "best.pt"
EMA_WARMUP_STEPS = 10  # the decay of step n is at most (1 + n) / (10 + n), so that short runs forget their start


class Stateful(Protocol):
    """Anything with a state that resuming needs: a discriminator, its optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take a state over."""


@dataclass(kw_only=True)
class TrainState(Generic[M]):
    """Everything that resuming needs. Data order, random numbers and learning rate follow from the step.

    A state may be saved on one device and loaded on another.

    Attributes:
        model: the network being trained, on the device of the run.
        optimizer: of the model's parameters.
        averaged: exponential moving average of the model's weights.
        step: steps done.
        best: lowest value so far of the watched validation figure.
        extras: other things with a state, by name.
    """

    model: M
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel = field(init=False)
    step: int = 0
    best: float = math.inf
    extras: dict[str, Stateful] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.averaged = AveragedModel(self.model)
        self.averaged.requires_grad_(False).eval()

    @property
    def ema(self) -> M:
        """The model with averaged weights, which is the one to validate and to ship."""
        return cast(M, self.averaged.module)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def save(self, path: Path) -> None:
        """Write the state so that a crash while writing leaves the old file whole."""
        unfinished = path.with_suffix(".unfinished")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "averaged": self.averaged.state_dict(),
                "step": self.step,
                "best": self.best,
                "extras": {name: extra.state_dict() for name, extra in self.extras.items()},
            },
            unfinished,
        )
        unfinished.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a saved state, on the device that the model is on.

        Raises:
            CheckpointError: the saved state is of another model, or has other extras.
        """
        saved = torch.load(path, map_location="cpu", weights_only=True)
        try:
            if difference := sorted(saved["extras"].keys() ^ self.extras.keys()):
                raise ValueError(f"different extras {difference}")
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.averaged.load_state_dict(saved["averaged"])
            for name, extra in self.extras.items():
                extra.load_state_dict(saved["extras"][name])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} is of another run ({error}); give another folder, or delete it") from error
        self.step, self.best = saved["step"], saved["best"]

    def update_ema(self, decay: float) -> None:
        """Move the averaged weights towards the model's; buffers are copied."""
        self.averaged.multi_avg_fn = get_ema_multi_avg_fn(min(decay, (1 + self.step) / (EMA_WARMUP_STEPS + self.step)))
        self.averaged.update_parameters(self.model)


def rate_factor(step: int, config: TrainingConfig) -> float:
    """Share of the learning rate at a step: a linear rise over the warm-up, then half a cosine down to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def schedule_from(state: TrainState, config: TrainingConfig) -> LambdaLR:
    """Schedule the optimizer's learning rate from the state's step on; it follows from step and configuration."""
    for group in state.optimizer.param_groups:
        group["initial_lr"] = config.learning_rate
    return LambdaLR(state.optimizer, partial(rate_factor, config=config), last_epoch=state.step - 1)


def to_device(value: T, device: torch.device | str) -> T:
    """Move all tensors of a batch: a tensor, or a dataclass, dict, list or tuple of such; others stay as they are."""
    return cast(T, _moved(value, device))


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        moved = {f.name: _moved(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **moved)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if type(value) in (list, tuple):
        items = [_moved(item, device) for item in cast("list[Any]", value)]
        return items if type(value) is list else tuple(items)
    return value


def on_cpu(model: M) -> M:
    """Return a model on the CPU: itself, or a copy of one that is elsewhere."""
    return model if next(model.parameters()).device.type == "cpu" else copy.deepcopy(model).cpu()


def train(
    state: TrainState[M],
    config: TrainingConfig,
    *,
    losses_of: Callable[[M, Any], Losses],
    batch_at: Callable[[int], Any],
    validate: Callable[[M], dict[str, float]] | None = None,
    watch: str | None = None,
    folder: Path | None = None,
    until: int | None = None,
) -> None:
    """Train from state.step to the end, or to step `until`, on the device of the state's model.

    With a folder, curves go there for TensorBoard, `state.pt` is written every save_every steps and at
    the end, and `best.pt` holds the averaged weights with the lowest watched figure.

    Args:
        losses_of: named losses without weights, each []. Called as losses_of(model, batch), the batch on the device.
        batch_at: the batch of a step; the same step gives the same batch.
        validate: figures of the averaged model, by name; called every validate_every steps and at the end.
        watch: name of the validation figure that decides on the best weights, lower is better.
        folder: where the run lives. It must exist.
    """
    last = config.num_steps if until is None else until
    writer = SummaryWriter(folder, purge_step=state.step) if folder else None
    schedule = schedule_from(state, config)
    try:
        while state.step < last:
            batch = to_device(batch_at(state.step), state.device)
            losses = take_step(state, config, losses_of=losses_of, batch=batch)
            schedule.step()
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
    state: TrainState[M], config: TrainingConfig, *, losses_of: Callable[[M, Any], Losses], batch: Any
) -> Losses:
    """Do one step of the optimizer and of the averaged weights, at the optimizer's present learning rate.

    The random numbers of a step are seeded by the step, so that a resumed run repeats them.

    Raises:
        FloatingPointError: the loss is not finite; the message names the terms.
    """
    torch.manual_seed(config.seed * 1_000_003 + state.step)
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
    if watch is None or not figures[watch] < state.best:  # what is no number is never the best
        return
    state.best = figures[watch]
    if folder:
        torch.save(state.ema.state_dict(), folder / BEST_NAME)


def _log(writer: SummaryWriter | None, step: int, group: str, figures: dict[str, float]) -> None:
    logger.info("step %d %s: %s", step, group, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    if writer:
        for name, value in figures.items():
            writer.add_scalar(f"{group}/{name}", value, step)
