"""Lips that shut: when they should, read off stage 1's last layer, and how, by the least motion of the face."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from personatalk.geometry.face_model import LIP_PAIRS
from personatalk.geometry.mouth import LOWER_LIP, UPPER_LIP, driven_gaps, gap_aperture
from personatalk.geometry_construction.style import STYLE_VERTICES, Style

NEIGHBOURS = (0, 1, -1, 2, -2)  # frames of the grid whose opening is looked at
NUM_PERSON = 5  # of what is known of the person: openings at rest and on average, and how far the lips move
LEFT_OPEN = 0.1  # share of the gap that is left when lips are shut
LOG_FLOOR_IOD = 0.003
LIP_ROWS = tuple([STYLE_VERTICES.index(vertex) for vertex in side] for side in (UPPER_LIP, LOWER_LIP))


class ClosureHead(nn.Module):
    """Tell from what stage 1 knows whether the lips are shut, and shut them.

    Squared error makes lips that are probably shut stand a little open, which people notice before anything else. Where
    the probability is above `low`, the gap is narrowed, from `high` on all the way.

    Args:
        dim: width of stage 1's last layer.
        expression_dim: K.

    Ours: the paper does not speak of it.
    """

    mean: Tensor
    deviation: Tensor
    bounds: Tensor
    gap_basis: Tensor
    closing: Tensor

    def __init__(self, dim: int, expression_dim: int) -> None:
        super().__init__()
        num_inputs = dim + len(NEIGHBOURS) + 1 + NUM_PERSON
        self.linear = nn.Linear(num_inputs, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, -20.0)  # a fresh one shuts nothing
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("deviation", torch.ones(num_inputs))
        self.register_buffer("bounds", torch.tensor([0.05, 0.15]))
        self.register_buffer("gap_basis", torch.zeros(expression_dim, len(LIP_PAIRS), 3))
        self.register_buffer("closing", torch.zeros(len(LIP_PAIRS) * 3, expression_dim))

    @torch.no_grad()
    def set_face(self, gap_basis: Tensor, gram: Tensor) -> None:
        """Learn how coefficients move the gaps, and the coefficients that move a gap at least cost.

        Args:
            gap_basis: [K, 3, 3] IOD, what each coefficient does to the gaps between the inner lips.
            gram: [K, K], d @ gram @ d is the cost of a change d.
        """
        basis, gram = gap_basis.double().flatten(1), gram.double()
        gram = gram / gram.trace() * len(gram) + 1e-4 * torch.eye(len(gram), dtype=torch.float64)
        cheap = torch.linalg.solve(gram, basis)  # [K, 9]
        normal = basis.T @ cheap
        normal = normal + 1e-9 * normal.trace() * torch.eye(len(normal), dtype=torch.float64)
        self.gap_basis.copy_(gap_basis)
        self.closing.copy_(torch.linalg.solve(normal, cheap.T))

    def gaps(self, expression: Tensor, style: Style) -> Tensor:
        """Vectors [..., T, 3, 3] IOD from lower to upper inner lip for coefficients [..., T, K]."""
        upper, lower = LIP_ROWS
        return driven_gaps(expression, style.template[..., upper, :] - style.template[..., lower, :], self.gap_basis)

    def aperture(self, expression: Tensor, style: Style) -> Tensor:
        """Openness [..., T] IOD."""
        return gap_aperture(self.gaps(expression, style))

    def inputs(self, hidden: Tensor, expression: Tensor, style: Style) -> Tensor:
        """What the decision is made from, [..., T, num_inputs]; the arguments are those of `forward`."""
        opening = self.aperture(expression, style)
        logs = (opening + LOG_FLOOR_IOD).log()
        around = torch.stack([logs.roll(shift, -1) for shift in NEIGHBOURS] + [opening], -1)
        known = torch.stack([style.rest, style.mean], -2)
        _, lower = LIP_ROWS
        person = torch.cat([self.aperture(known, style), style.vertex_deviation[..., lower, 1]], -1)
        person = person[..., None, :].expand(*opening.shape, NUM_PERSON)
        return torch.cat([hidden, around, person], -1)

    def forward(self, hidden: Tensor, expression: Tensor, style: Style) -> Tensor:
        """How likely the lips are shut, as logits.

        Args:
            hidden: [..., T, D] stage 1's last layer on its grid of time.
            expression: [..., T, K] its coefficients.
            style: of one speaker, or a batch of B if the others have a batch axis.

        Returns:
            [..., T]
        """
        return self.linear((self.inputs(hidden, expression, style) - self.mean) / self.deviation)[..., 0]

    def strength(self, logits: Tensor) -> Tensor:
        """How far to shut the lips, in [0, 1]."""
        low, high = self.bounds
        share = ((logits.sigmoid() - low) / (high - low)).clamp(0, 1)
        return share.square() * (3 - 2 * share)

    def close(self, expression: Tensor, amount: Tensor, style: Style) -> Tensor:
        """Narrow the gaps of [T, K] coefficients; at amount 1, of [T], a tenth of them is left."""
        less = -(1 - LEFT_OPEN) * amount[:, None, None] * self.gaps(expression, style)
        return expression + less.flatten(1) @ self.closing
