"""The sync networks' training on real clips, and what they are for: each clip's offset, and whether it in_sync."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.speech.config import SyncConfig
from personatalk.speech.sync_network import (
    LIP_RATE,
    NUM_SHIFTS,
    STEPS_PER_FRAME,
    Synchrony,
    SyncNetwork,
    measure_lip_synchrony,
    shift_log_odds,
)
from personatalk.training.config import SyncTrainingConfig
from personatalk.training.corpus import MeasuredClip
from personatalk.training.loop import TrainState, train
from personatalk.training.sync.dataset import SyncBatch, SyncClip, SyncDataset

logger = logging.getLogger(__name__)

PRIOR_ROUNDS, PRIOR_FLOOR = 8, 1e-3
IN_SYNC_PRIOR = 0.8  # share of clips with sound whose sound is the face's, before anything is measured
SHIFT_FRAMES = (np.arange(NUM_SHIFTS) - (NUM_SHIFTS - 1) // 2) / STEPS_PER_FRAME


class SyncLosses:
    """Contrast: the right shift against the other shifts, and the right sound against other persons' sounds.

    Args:
        label_spread: frames; the right shift is known only so well.
    """

    def __init__(self, label_spread: float) -> None:
        target = np.exp(-0.5 * np.square(SHIFT_FRAMES / label_spread))
        self.target = torch.from_numpy(target / target.sum()).float()

    def __call__(self, network: nn.Module, batch: SyncBatch) -> dict[str, Tensor]:
        """Return named losses, each []."""
        embedded = network.embed(batch.lips, batch.valid, batch.audio, batch.has_audio)
        evidence = shift_log_odds(embedded)
        usable = torch.isfinite(evidence)
        believed = self.target * usable
        logs = evidence.masked_fill(~usable, -1e4).log_softmax(1)
        told = believed.sum(1)
        shift = -(believed * logs * usable).sum(1) / told.clamp(min=1e-6)
        middle = slice((NUM_SHIFTS - 1) // 2, -(NUM_SHIFTS - 1) // 2, STEPS_PER_FRAME)
        sound = embedded.audio[:, middle] * embedded.has_audio[:, middle, None]
        matches = torch.einsum("ite,jte->ij", embedded.lips, sound)
        own = torch.arange(len(matches))
        return {
            "shift": shift[told > 0].mean(),
            "other": 0.5 * (F.cross_entropy(matches, own) + F.cross_entropy(matches.T, own)),
        }


def train_sync(
    clips: list[SyncClip], config: SyncTrainingConfig, network_config: SyncConfig, *, folder: Path | None = None,
    held_out: list[SyncClip] = (),
) -> SyncNetwork:  # fmt: skip
    """Train a sync network; returns the averaged one after the last step.

    Args:
        clips: to learn from; those whose manifest fit is lower than config.min_fit are left out.
        held_out: clips of other persons, on which it is judged as it learns.
    """
    torch.manual_seed(config.seed)
    network = SyncNetwork(network_config)
    clips = [clip for clip in clips if clip.clip.fit is not None and clip.clip.fit >= config.min_fit]
    dataset = SyncDataset(clips, config, is_mel=network_config.audio == "mel")
    set_statistics(network, clips)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    state = TrainState(model=network, optimizer=optimizer)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    train(
        state, config, losses_of=SyncLosses(config.label_spread), batch_at=dataset.batch_at, folder=folder,
        validate=(lambda averaged: found_offsets(averaged, held_out)) if held_out else None,
    )  # fmt: skip
    return state.ema.eval()


@torch.no_grad()
def set_statistics(network: SyncNetwork, clips: list[SyncClip]) -> None:
    """Fill the network's buffers: how sounds and mouths are distributed in the training clips."""
    sample = torch.cat([clip.sounds[0].values[::7].float() for clip in clips])
    network.audio_mean.copy_(sample.mean(0))
    network.audio_deviation.copy_(sample.std(0) + 1e-3)
    lips = np.concatenate([clip.lips[clip.valid] for clip in clips])
    network.lip_deviation.copy_(torch.from_numpy(lips.std(0)) + 1e-4)


def found_offsets(network: SyncNetwork, clips: list[SyncClip]) -> dict[str, float]:
    """How often the offset is found within a frame of the manifest's: `within_1` of clips of 4 s, of 2 s, of all."""
    rows = []
    for clip in clips:
        found = measure_lip_synchrony(network.eval(), clip.sounds[0], clip.lips, clip.valid, clip.times)
        if found is not None and clip.clip.fit is not None and clip.clip.fit >= 0.3:
            error = (found.offset_s - clip.clip.offset_s) * LIP_RATE
            rows.append((len(clip.times) / LIP_RATE, abs(error) <= 1.001, abs(error)))
    table = np.array(rows, float)
    figures = {"clips": float(len(table))}
    for least in (4, 2, 0):
        chosen = table[table[:, 0] >= least]
        if len(chosen):
            figures |= {
                f"within_1_{least}s": float(chosen[:, 1].mean()),
                f"median_{least}s": float(np.median(chosen[:, 2])),
            }
    return figures


def measure_clips(clips: list[SyncClip], network_of: Callable[[SyncClip], SyncNetwork]) -> list[MeasuredClip]:
    """Measure every clip's offset, and whether its sound is the face's.

    How offsets are distributed is learnt from all clips together. What sounds that do not belong look like is learnt
    by giving each clip another person's.

    Args:
        network_of: the network for a clip: one that has not learnt from its person.
    """
    own, swapped, kept = [], [], []
    for clip, other in zip(clips, mismatched_negatives(clips), strict=True):
        network = network_of(clip)
        found, false = (
            measure_lip_synchrony(network, c.sounds[0], clip.lips, clip.valid, clip.times) for c in (clip, other)
        )
        if found is not None and false is not None:
            own.append(found)
            swapped.append(false)
            kept.append(clip)
    likelihood = np.stack([softmax(found.log_odds) for found in own])
    prior = learn_prior(likelihood)
    lengths = np.array([len(clip.times) for clip in kept])
    in_sync = learn_to_tell(traits(own, lengths, prior), traits(swapped, lengths, prior))
    rows = []
    for clip, share, probability in zip(kept, likelihood, in_sync, strict=True):
        posterior = share * prior
        near = np.abs(np.arange(NUM_SHIFTS) - posterior.argmax()) <= STEPS_PER_FRAME
        shift = float((posterior * SHIFT_FRAMES)[near].sum() / posterior[near].sum())
        offset_s = round(-2 * shift) / 2 / LIP_RATE + 0.0
        rows.append(MeasuredClip(name=clip.clip.name, offset_s=offset_s, in_sync=float(probability)))
    return rows


def mismatched_negatives(clips: list[SyncClip]) -> list[SyncClip]:
    """For each clip the next one of another person that is as long, or nearly; itself where there is none."""
    found = []
    for index, clip in enumerate(clips):
        others = clips[index + 1 :] + clips[:index]
        fits = (o for o in others if o.clip.person != clip.clip.person and len(o.times) >= 0.9 * len(clip.times))
        found.append(next(fits, clip))
    return found


def traits(found: list[Synchrony], lengths: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """What tells sounds that belong from others: [N, 3] where the evidence lies, how sharp it is, and for how long."""
    place = [np.log(NUM_SHIFTS * (softmax(one.log_odds) * prior).sum()) for one in found]
    sharpness = np.array([one.confidence for one in found]) / np.sqrt(lengths)
    return np.stack([np.array(place), sharpness, sharpness * np.log(lengths)], 1)


def learn_to_tell(own: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """Logistic regression from traits [N, 3]: the probability [N] that a clip's own sound belongs to it."""
    values = torch.from_numpy(np.concatenate([own, swapped])).float()
    mean, deviation = values.mean(0), values.std(0)
    values = torch.cat([(values - mean) / deviation, torch.ones(len(values), 1)], 1)
    is_own = torch.cat([torch.ones(len(own)), torch.zeros(len(swapped))])
    weight = torch.zeros(values.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(values @ weight, is_own) + 1e-3 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    odds = (values[: len(own)] @ weight.detach()).exp() * IN_SYNC_PRIOR / (1 - IN_SYNC_PRIOR)
    return (odds / (1 + odds)).numpy()


def learn_prior(likelihood: np.ndarray) -> np.ndarray:
    """Learn how offsets are distributed: [NUM_SHIFTS] from evidence [N, NUM_SHIFTS], by expectation maximisation."""
    prior = np.full(NUM_SHIFTS, 1 / NUM_SHIFTS)
    for _ in range(PRIOR_ROUNDS):
        posterior = likelihood * prior
        posterior /= posterior.sum(1, keepdims=True)
        prior = np.convolve(posterior.mean(0), (0.25, 0.5, 0.25), "same") + PRIOR_FLOOR
        prior /= prior.sum()
    return prior


def softmax(evidence: np.ndarray) -> np.ndarray:
    """Evidence to shares that add up to one."""
    shares = np.exp(evidence - evidence.max())
    return shares / shares.sum()
