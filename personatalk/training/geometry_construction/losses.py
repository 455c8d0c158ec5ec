"""Stage 1's training losses, each a function of tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from personatalk.geometry.face_model import LIP_PAIRS, LIPS, MOUTH_CORNERS, FaceModel
from personatalk.geometry.mouth import driven_gaps, gap_aperture, length, lip_gaps
from personatalk.speech.sync_network import NUM_SHIFTS, SyncNetwork, shift_log_odds
from personatalk.training.losses import masked_mean

PERCENT = 100.0  # lengths inside the losses of stage 1 are in percent of the inter-ocular distance
LIP_LOSS_WEIGHT = 10.0  # of a lip vertex, beside 1 for any other
CLOSED_PERCENT = 2.0  # inner lips nearer than this are closed
MIN_DEVIATION_FRAMES, MIN_SYNC_FRAMES = 10, 10
MASKED_LOG_ODDS = -1e4


@dataclass(frozen=True, kw_only=True)
class SpeechMetric:
    """Measures differences of speech coefficients by the vertices that they move.

    Attributes:
        gram: [K, K], so that a difference d of coefficients costs d @ gram @ d: the weighted mean squared
            vertex distance, in squared percent of the inter-ocular distance.
        gap_basis: [K, 3, 3] percent, what each coefficient does to the three gaps between the inner lips.
        corner_basis: [K, 3] percent, what each does to the vector between the corners of the mouth.
    """

    gram: Tensor
    gap_basis: Tensor
    corner_basis: Tensor

    @classmethod
    def of(cls, face_model: FaceModel) -> SpeechMetric:
        """Prepare for a face model: lips weigh ten times what other vertices weigh."""
        weight = np.ones(face_model.mean.shape[0])
        weight[list(LIPS)] = LIP_LOSS_WEIGHT
        basis = face_model.speech_basis.astype(np.float64) * PERCENT
        gram = np.einsum("kvc,v,lvc->kl", basis, weight / weight.sum(), basis)
        upper, lower = np.array(LIP_PAIRS).T
        right, left = MOUTH_CORNERS
        return cls(
            gram=torch.from_numpy(gram).float(),
            gap_basis=torch.from_numpy(basis[:, upper] - basis[:, lower]).float(),
            corner_basis=torch.from_numpy(basis[:, right] - basis[:, left]).float(),
        )

    def to(self, device: torch.device | str) -> SpeechMetric:
        """Move to a device."""
        return SpeechMetric(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def squared(self, difference: Tensor) -> Tensor:
        """Weighted mean squared vertex distance [...] of a difference of coefficients [..., K]."""
        return ((difference @ self.gram) * difference).sum(-1)

    def lip_aperture(self, expression: Tensor, template: Tensor) -> Tensor:
        """Lip aperture in percent of the inter-ocular distance.

        Args:
            expression: [B, T, K]
            template: [B, V, 3] IOD.

        Returns:
            [B, T]
        """
        return gap_aperture(driven_gaps(expression, PERCENT * lip_gaps(template), self.gap_basis))

    def lip_features(self, expression: Tensor, template: Tensor, valid: Tensor) -> Tensor:
        """Compute what `sync_network.lip_features` computes, with gradients.

        Args:
            expression: [B, T, K]
            template: [B, V, 3] IOD.
            valid: [B, T] bool.

        Returns:
            [B, T, K + 2] about the mean over the valid frames.
        """
        right, left = MOUTH_CORNERS
        corners = PERCENT * (template[:, right] - template[:, left])[:, None] + expression @ self.corner_basis
        aperture = self.lip_aperture(expression, template)
        lips = torch.cat([expression, torch.stack([aperture, length(corners)], -1) / PERCENT], -1)
        weight = (valid / valid.sum(1, keepdim=True).clamp(min=1))[..., None]
        return lips - (lips * weight).sum(1, keepdim=True)


def sync_loss(network: SyncNetwork, lips: Tensor, valid: Tensor, audio: Tensor, has_audio: Tensor) -> Tensor:
    """Cross-entropy over the shifts of lips and audio, of which no shift, or half a frame, is right.

    Args:
        network: frozen; takes the features of stage 1.
        lips: [B, T, L] of `SpeechMetric.lip_features`.
        valid: [B, T] bool.
        audio: [B, 2 * T + NUM_SHIFTS - 1, C], see `SyncNetwork.embed`.
        has_audio: [B, 2 * T + NUM_SHIFTS - 1] bool.

    Returns:
        [] mean over the excerpts with enough valid frames and audio.
    """
    log_odds = shift_log_odds(network.embed(lips, valid, audio, has_audio))
    possible = torch.isfinite(log_odds)
    log_shares = log_odds.masked_fill(~possible, MASKED_LOG_ODDS).log_softmax(1)
    middle = (NUM_SHIFTS - 1) // 2
    right = log_shares[:, middle - 1 : middle + 2].logsumexp(1)  # half a frame either way is not penalised
    return masked_mean(-right, possible[:, middle] & (valid.sum(1) > 2 * network.margin + MIN_SYNC_FRAMES))


def geometry_losses(
    predicted: Tensor, target: Tensor, valid: Tensor, template: Tensor, metric: SpeechMetric
) -> dict[str, Tensor]:
    """Compare predicted and true speech coefficients.

    Lengths are in percent of the inter-ocular distance. `vertex` is the squared distance of the vertices, lips
    first; `velocity` the same of their steps from frame to frame; `aperture` the squared error of the lip aperture;
    `closure` the squared aperture in excess where the true lips are closed; `deviation` the squared error of the
    standard deviation, over an excerpt, of the lip aperture and of the coefficients. Squared error alone shrinks the
    motion of the mouth; the last term counters it.

    Args:
        predicted: [B, T, K]
        target: [B, T, K]
        valid: [B, T] bool, the frames that count.
        template: [B, V, 3] IOD.

    Returns:
        named losses, each [].
    """
    both = valid[:, 1:] & valid[:, :-1]
    aperture, true_aperture = metric.lip_aperture(predicted, template), metric.lip_aperture(target, template)
    error = aperture - true_aperture
    return {
        "vertex": masked_mean(metric.squared(predicted - target), valid),
        "velocity": masked_mean(metric.squared(predicted.diff(dim=1) - target.diff(dim=1)), both),
        "aperture": masked_mean(error.square(), valid),
        "closure": masked_mean(error.clamp(min=0).square(), valid & (true_aperture < CLOSED_PERCENT)),
        "deviation": deviation_loss(aperture[..., None], true_aperture[..., None], valid)
        + deviation_loss(predicted * metric.gram.diagonal().sqrt(), target * metric.gram.diagonal().sqrt(), valid),
    }


def deviation_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Squared difference of standard deviations over time.

    Args:
        predicted: [B, T, C]
        target: [B, T, C]
        valid: [B, T] bool.

    Returns:
        [] summed over C, mean over the excerpts with at least 10 valid frames.

    Ours: the paper names no term against motion that is too small, which squared error alone gives.
    """
    count = valid.sum(1)
    weight = (valid / count.clamp(min=1)[:, None])[..., None]

    def deviation(values: Tensor) -> Tensor:
        centred = values - (values * weight).sum(1, keepdim=True)
        return ((centred.square() * weight).sum(1) + 1e-4).sqrt()

    squared = (deviation(predicted) - deviation(target)).square().sum(-1)
    return masked_mean(squared, count >= MIN_DEVIATION_FRAMES)
