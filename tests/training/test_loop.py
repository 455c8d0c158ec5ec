"""The loop learns, resumes exactly, averages its weights and refuses misspelt losses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from personatalk.training.config import TrainingConfig
from personatalk.training.geometry_construction.losses import weighted_sum
from personatalk.training.loop import BEST_NAME, STATE_NAME, TrainState, learning_rate, train

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


def test_other_extras_are_refused(tmp_path):
    state = new_state()
    state.save(tmp_path / "state.pt")
    state.extras = {}
    with pytest.raises(ValueError, match="critic"):
        state.load(tmp_path / "state.pt")


def test_training_learns_and_the_average_follows():
    state = new_state()
    before = losses_of(state.ema, batch_at(99))["square"].item()
    train(state, CONFIG, losses_of=losses_of, batch_at=batch_at)
    assert losses_of(state.ema, batch_at(99))["square"].item() < 0.2 * before
    assert not torch.equal(state.ema[0].weight, state.model[0].weight)


def test_learning_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, CONFIG) for step in range(41)]
    assert rates[3] == max(rates) == pytest.approx(0.1)
    assert rates[40] == pytest.approx(0.0)


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


def test_broken_loss_is_named():
    with pytest.raises(FloatingPointError, match="square"):
        train(new_state(), CONFIG, losses_of=lambda m, b: {"square": m(b[0]).sum() * float("nan")}, batch_at=batch_at)


def test_misspelt_weight_is_refused():
    with pytest.raises(ValueError, match="vertx"):
        weighted_sum({"vertex": torch.tensor(1.0)}, {"vertx": 1.0})


def test_weighted_sum_by_hand():
    total = weighted_sum({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"a": 0.5, "b": 10.0})
    assert total.item() == 31.0
