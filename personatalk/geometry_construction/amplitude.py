"""Amplitude of articulation: each speech coefficient moves as far as this person moves it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from personatalk.geometry_construction.lip_closure import ClosureHead
from personatalk.geometry_construction.style import Style

PRIOR_S = 2.0  # seconds of driving speech whose own deviation counts as much as the prior that nothing is amiss
MAX_GAIN = 2.0  # and one over it


@dataclass(frozen=True, kw_only=True)
class Amplitude:
    """How far predicted coefficients have to move to have the deviations of a style.

    A network trained by squared error moves the less, the less it can tell: the mouth's width by .77 of what people do,
    its protrusion by .73, so that everyone articulates alike. Each coefficient's gain is the style's deviation over
    the predicted one.

    Attributes:
        mean: [K] of the coefficients that are predicted for the driving speech.
        gain: [K] on what they deviate from it.

    Ours: the paper matches the style by training alone. Matched, dubs with other people's speech are far more often
        taken for the right person's (docs/ablations.md).
    """

    mean: Tensor
    gain: Tensor

    @classmethod
    def measure(cls, expression: Tensor, weight: Tensor, seconds: float, style: Style) -> Amplitude:
        """Compare what is predicted for a whole recording with a style.

        Args:
            expression: [T, K] at even steps of time.
            weight: [T] in [0, 1], how much somebody speaks.
            seconds: of speech.
            style: of the speaker, unbatched.
        """
        total = weight.sum().clamp(min=1e-6)
        mean = (weight[:, None] * expression).sum(0) / total
        deviation = ((weight[:, None] * (expression - mean).square()).sum(0) / total).sqrt()
        gain = ((style.deviation + 1e-6) / (deviation + 1e-6)).clamp(1 / MAX_GAIN, MAX_GAIN)
        return cls(mean=mean, gain=gain ** (seconds / (seconds + PRIOR_S)))

    def match(self, expression: Tensor, style: Style, closure: ClosureHead) -> Tensor:
        """Give predicted coefficients [T, K] the gains, and leave the gaps between the lips as predicted: [T, K]."""
        matched = self.mean + self.gain * (expression - self.mean)
        gaps_missed = closure.gaps(expression, style) - closure.gaps(matched, style)
        return matched + gaps_missed.flatten(1) @ closure.closing
