"""The sync networks' training on real clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from personatalk.speech.config import SyncConfig
from personatalk.speech.sync_network import (
    LIP_RATE,
    NUM_SHIFTS,
    STEPS_PER_FRAME,
    SyncNetwork,
    measure_lip_synchrony,
    shift_log_odds,
)
from personatalk.training.config import SyncTrainingConfig
from personatalk.training.loop import STATE_NAME, TrainState, on_cpu, train
from personatalk.training.losses import masked_mean
from personatalk.training.sync.dataset import SyncBatch, SyncClip, SyncDataset
from personatalk.training.sync.measure import SHIFT_FRAMES

MIN_KNOWN_FIT = 0.3  # of held-out clips whose offset counts as known
MASKED_LOG_ODDS = -1e4


class SyncLosses:
    """Contrastive losses: the right shift against other shifts, and the right audio against other persons' audio.

    Args:
        label_spread: frames; standard deviation of the true offsets about those given.
    """

    def __init__(self, label_spread: float) -> None:
        target = np.exp(-0.5 * np.square(SHIFT_FRAMES / label_spread))
        self.target = torch.from_numpy(target / target.sum()).float()

    def __call__(self, network: SyncNetwork, batch: SyncBatch) -> dict[str, Tensor]:
        """Return named losses, each []."""
        embedded = network.embed(batch.lips, batch.valid, batch.audio, batch.has_audio)
        log_odds = shift_log_odds(embedded)
        possible = torch.isfinite(log_odds)
        target = self.target.to(log_odds.device) * possible
        log_shares = log_odds.masked_fill(~possible, MASKED_LOG_ODDS).log_softmax(1)
        mass = target.sum(1)  # 0 where there is too little audio for any shift near the right one
        shift = -(target * log_shares * possible).sum(1) / mass.clamp(min=1e-6)
        middle = slice((NUM_SHIFTS - 1) // 2, -(NUM_SHIFTS - 1) // 2, STEPS_PER_FRAME)
        audio = embedded.audio[:, middle] * embedded.has_audio[:, middle, None]
        matches = torch.einsum("ite,jte->ij", embedded.lips, audio)
        own = torch.arange(len(matches), device=matches.device)
        return {
            "shift": masked_mean(shift, mass > 0),
            "other": 0.5 * (F.cross_entropy(matches, own) + F.cross_entropy(matches.T, own)),
        }


def train_sync(
    clips: list[SyncClip],
    config: SyncTrainingConfig,
    network_config: SyncConfig,
    *,
    folder: Path | None = None,
    held_out: Sequence[SyncClip] = (),
    device: torch.device | str = "cpu",
) -> SyncNetwork:
    """Train, or go on training, a sync network.

    Args:
        clips: to learn from; those whose fit is lower than config.min_fit, or not known, are left out.
        folder: of the run; an existing state is continued.
        held_out: clips of other persons, on which it is validated.
        device: where the network is trained.

    Returns:
        the averaged network after the last step, on the CPU.

    Raises:
        PersonaTalkError: no clip is left.
    """
    torch.manual_seed(config.seed)
    network = SyncNetwork(network_config)
    clips = [clip for clip in clips if clip.clip.fit is not None and clip.clip.fit >= config.min_fit]
    dataset = SyncDataset(clips, config, is_mel=network_config.audio == "mel")
    set_statistics(network, clips)
    network = network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    state = TrainState(model=network, optimizer=optimizer)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE_NAME).exists():
            state.load(folder / STATE_NAME)
    train(
        state,
        config,
        losses_of=SyncLosses(config.label_spread),
        batch_at=dataset.batch_at,
        folder=folder,
        validate=(lambda averaged: found_offsets(averaged, held_out)) if held_out else None,
    )
    return on_cpu(state.ema).eval()


@torch.no_grad()
def set_statistics(network: SyncNetwork, clips: list[SyncClip]) -> None:
    """Fill the network's buffers: means and deviations of audio and lips over the training clips."""
    sample = torch.cat([clip.sounds[0].values[::7].float() for clip in clips])
    network.audio_mean.copy_(sample.mean(0))
    network.audio_deviation.copy_(sample.std(0) + 1e-3)
    lips = np.concatenate([clip.lips[clip.valid] for clip in clips])
    network.lip_deviation.copy_(torch.from_numpy(lips.std(0)) + 1e-4)


def found_offsets(network: SyncNetwork, clips: Sequence[SyncClip]) -> dict[str, float]:
    """How often the offset is found within a frame of the manifest's.

    Returns:
        number of clips; `within_1_<n>s` and `median_<n>s`, share and median error in frames over the clips of at
        least n = 4, 2 and 0 seconds.
    """
    network = on_cpu(network).eval()
    rows = []
    for clip in clips:
        found = measure_lip_synchrony(network, clip.sounds[0], clip.lips, clip.valid, clip.times)
        if found is not None and clip.clip.fit is not None and clip.clip.fit >= MIN_KNOWN_FIT:
            error = abs(found.offset_s - clip.clip.offset_s) * LIP_RATE
            rows.append((len(clip.times) / LIP_RATE, error <= 1.001, error))
    table = np.array(rows, float).reshape(-1, 3)
    figures = {"clips": float(len(table))}
    for least in (4, 2, 0):
        chosen = table[table[:, 0] >= least]
        if len(chosen):
            figures |= {
                f"within_1_{least}s": float(chosen[:, 1].mean()),
                f"median_{least}s": float(np.median(chosen[:, 2])),
            }
    return figures
