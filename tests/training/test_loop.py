"""The loop learns, resumes exactly, averages its weights and refuses misspelt losses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from personatalk.errors import CheckpointError
from personatalk.training.config import TrainingConfig
from personatalk.training.loop import (
    BEST_NAME,
    STATE_NAME,
    TrainState,
    on_cpu,
    rate_factor,
    schedule_from,
    to_device,
    train,
)
from personatalk.training.losses import weighted_sum

CONFIG = TrainingConfig(
    num_steps=40, learning_rate=0.1, warmup_steps=4, weight_decay=0.0, ema_decay=0.9, loss_weights={"square": 1.0}
)


def new_state() -> TrainState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 1))
    critic = nn.Linear(1, 1)
    return TrainState(model=model, optimizer=torch.optim.AdamW(model.parameters()), extras={"critic": critic})


def batch_at(step):
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(step))
    return x, x.sum(1, keepdim=True)


def losses_of(model, batch):
    return {"square": (model(batch[0]) - batch[1]).square().mean()}


def test_resuming_changes_nothing(tmp_path):
    whole, first, second = new_state(), new_state(), new_state()
    train(whole, CONFIG, losses_of=losses_of, batch_at=batch_at, until=4)
    with torch.no_grad():
        first.extras["critic"].weight.fill_(7)
    train(first, CONFIG, losses_of=losses_of, batch_at=batch_at, until=2, folder=tmp_path)
    second.load(tmp_path / STATE_NAME)
    train(second, CONFIG, losses_of=losses_of, batch_at=batch_at, until=4)
    for ours, theirs in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(whole.ema.parameters(), second.ema.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert second.extras["critic"].weight.item() == 7


def test_a_state_of_another_run_is_refused(tmp_path):
    state = new_state()
    state.save(tmp_path / "state.pt")
    other = nn.Linear(3, 2)
    critic = state.extras
    for wrong, message in (
        (TrainState(model=state.model, optimizer=state.optimizer), "critic"),
        (TrainState(model=other, optimizer=torch.optim.AdamW(other.parameters()), extras=critic), "weight"),
    ):
        with pytest.raises(CheckpointError, match=message):
            wrong.load(tmp_path / "state.pt")


def test_training_learns_and_the_average_follows():
    state = new_state()
    before = losses_of(state.ema, batch_at(99))["square"].item()
    train(state, CONFIG, losses_of=losses_of, batch_at=batch_at)
    assert losses_of(state.ema, batch_at(99))["square"].item() < 0.2 * before
    assert not torch.equal(state.ema[0].weight, state.model[0].weight)


def test_learning_rate_rises_then_falls_to_zero():
    rates = [rate_factor(step, CONFIG) for step in range(41)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0]) and max(rates) == 1
    assert rates[22] == pytest.approx(0.5) and rates[40] == pytest.approx(0.0)


@pytest.mark.parametrize("begun", [0, 3, 10])
def test_the_schedule_follows_from_the_step_alone(begun):
    """Whenever a run is taken up, and whatever rate its optimizer had."""
    state = new_state()
    state.step = begun
    schedule = schedule_from(state, CONFIG)
    for step in range(begun, 40):
        assert state.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * rate_factor(step, CONFIG))
        state.optimizer.step()
        schedule.step()


def test_averaged_weights_by_hand():
    """After the first step, w <- w + (1 - decay) (model - w), with a decay of at most (1 + n) / (10 + n)."""
    state, seen = new_state(), []

    def remember(model):
        seen.append(state.model[0].weight.detach().clone())
        return {}

    config = replace(CONFIG, num_steps=6, validate_every=1, ema_decay=0.3)
    train(state, config, losses_of=losses_of, batch_at=batch_at, validate=remember)
    expected = seen[0]
    for step, weight in enumerate(seen[1:], 2):
        expected = torch.lerp(expected, weight, 1 - min(0.3, (1 + step) / (10 + step)))
    torch.testing.assert_close(state.ema[0].weight, expected)


def test_buffers_are_copied_into_the_average():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    state = TrainState(model=model, optimizer=torch.optim.AdamW(model.parameters()))
    train(state, CONFIG, losses_of=losses_of, batch_at=batch_at, until=5)
    assert torch.equal(state.ema[1].running_mean, model[1].running_mean)
    assert not torch.equal(state.ema[0].weight, model[0].weight)


@dataclass(frozen=True)
class Nested:
    """A batch with a batch in it."""

    values: torch.Tensor
    inner: dict
    name: str = "batch"


def test_every_tensor_of_a_batch_is_moved():
    batch = Nested(torch.zeros(2), {"list": [torch.zeros(1), None], "tuple": (torch.zeros(3), 7)})
    moved = to_device(batch, "meta")
    tensors = moved.values, moved.inner["list"][0], moved.inner["tuple"][0]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 3
    assert (moved.name, moved.inner["list"][1], moved.inner["tuple"][1]) == ("batch", None, 7)


def test_batches_come_to_the_model_where_it_is():
    model = nn.Linear(3, 1).to("meta")
    state = TrainState(model=model, optimizer=torch.optim.SGD(model.parameters()))
    assert state.device.type == "meta" and next(state.ema.parameters()).device.type == "meta"

    def refuse(model, batch):
        raise StopIteration(*{tensor.device.type for tensor in batch})

    with pytest.raises(StopIteration, match="meta"):
        train(state, CONFIG, losses_of=refuse, batch_at=batch_at)


def test_a_model_on_the_cpu_is_not_copied():
    model = nn.Linear(3, 1)
    assert on_cpu(model) is model


@pytest.mark.gpu
def test_a_run_goes_on_from_the_gpu_to_the_cpu(tmp_path):
    state = new_state()
    model = state.model.to("cuda")
    on_gpu = TrainState(model=model, optimizer=torch.optim.AdamW(model.parameters()), extras=state.extras)
    train(on_gpu, CONFIG, losses_of=losses_of, batch_at=batch_at, until=3, folder=tmp_path)
    assert on_gpu.device.type == "cuda" and on_cpu(on_gpu.ema) is not on_gpu.ema
    again = new_state()
    again.load(tmp_path / STATE_NAME)
    train(again, CONFIG, losses_of=losses_of, batch_at=batch_at, until=6)
    assert again.step == 6 and again.device.type == "cpu"


def test_best_weights_are_those_of_the_lowest_figure(tmp_path):
    state, figures, seen = new_state(), iter([3.0, 1.0, 2.0]), []

    def validate(model):
        seen.append(model[0].weight.clone())
        return {"error": next(figures)}

    config = TrainingConfig(num_steps=3, warmup_steps=1, validate_every=1, loss_weights={"square": 1.0})
    train(state, config, losses_of=losses_of, batch_at=batch_at, validate=validate, watch="error", folder=tmp_path)
    best = torch.load(tmp_path / BEST_NAME, weights_only=True)
    assert torch.equal(best["0.weight"], seen[1])
    assert state.best == 1.0
    assert list(tmp_path.glob("events.*")), "curves are written"


def test_a_figure_that_is_no_number_is_not_the_best(tmp_path):
    state, figures = new_state(), iter([float("nan"), 2.0, float("nan")])
    config = replace(CONFIG, num_steps=3, validate_every=1)
    validate = lambda model: {"error": next(figures)}  # noqa: E731
    train(state, config, losses_of=losses_of, batch_at=batch_at, validate=validate, watch="error", folder=tmp_path)
    assert state.best == 2.0


def test_broken_loss_is_named():
    with pytest.raises(FloatingPointError, match="square"):
        train(new_state(), CONFIG, losses_of=lambda m, b: {"square": m(b[0]).sum() * float("nan")}, batch_at=batch_at)


def test_misspelt_weight_is_refused():
    with pytest.raises(ValueError, match="vertx"):
        weighted_sum({"vertex": torch.tensor(1.0)}, {"vertx": 1.0})


def test_weighted_sum_by_hand():
    total = weighted_sum({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"a": 0.5, "b": 10.0})
    assert total.item() == 31.0
