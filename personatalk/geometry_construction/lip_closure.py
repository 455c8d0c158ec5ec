"""Lip closure: its probability from stage 1's last hidden layer, and the most probable motion that closes the lips."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from personatalk.geometry.face_model import LIP_PAIRS
from personatalk.geometry.mouth import LOWER_LIP, UPPER_LIP, driven_gaps, gap_aperture
from personatalk.geometry_construction.style import STYLE_VERTICES, Style

NEIGHBOURS = (0, 1, -1, 2, -2)  # grid points whose lip aperture is an input
NUM_PERSON = 5  # inputs from the style: aperture at rest and of the mean mouth, deviation of three lip vertices
CLOSED_IOD = 0.008  # lip aperture of lips that meet: the median of training persons' (`benchmarks.closed_lips`)
NARROWED = 0.9  # share by which a gap is narrowed at most
LOG_FLOOR_IOD = 0.003
TOLERANCE_IOD = 0.002  # by which each component of a gap may miss what is asked of it
LIP_ROWS = tuple([STYLE_VERTICES.index(vertex) for vertex in side] for side in (UPPER_LIP, LOWER_LIP))


class ClosureHead(nn.Module):
    """Logistic regression of lip closure, and the correction that closes the lips.

    A network trained by squared error leaves lips a little open where they are only probably closed. Where the
    probability is above bounds[0] the gap is narrowed, at most until the aperture is CLOSED_IOD.

    Args:
        dim: width of stage 1's last hidden layer.
        expression_dim: K.

    Ours: the paper has no closure; open lips at /p/, /b/ and /m/ are the most visible error without it.
    """

    mean: Tensor
    deviation: Tensor
    bounds: Tensor
    gap_basis: Tensor
    closing: Tensor
    parting: Tensor

    def __init__(self, dim: int, expression_dim: int) -> None:
        super().__init__()
        num_inputs = dim + len(NEIGHBOURS) + 1 + NUM_PERSON
        self.linear = nn.Linear(num_inputs, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, -20.0)  # untrained, it closes nothing
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("deviation", torch.ones(num_inputs))
        self.register_buffer("bounds", torch.tensor([0.05, 0.15]))
        self.register_buffer("gap_basis", torch.zeros(expression_dim, len(LIP_PAIRS), 3))
        self.register_buffer("closing", torch.zeros(len(LIP_PAIRS) * 3, expression_dim))
        self.register_buffer("parting", torch.zeros(len(LIP_PAIRS) * 3, expression_dim))

    @torch.no_grad()
    def set_face(self, gap_basis: Tensor, gram: Tensor, covariance: Tensor) -> None:
        """Set how coefficients move the gaps, and solve for the changes of coefficients that move them.

        Lips are closed by the most probable change (`closing`); what of a mouth is its gaps and nothing else is told by
        the change of least motion (`parting`).

        Ours: the change of least motion closes lips without the jaw, as nobody does, and a tracker sees them apart in
        the dub (docs/ablations.md).

        Args:
            gap_basis: [K, 3, 3] IOD, change of the gaps between the inner lips by each coefficient.
            gram: [K, K], d @ gram @ d is the motion of the face by a change d.
            covariance: [K, K] of the coefficients of people who speak.
        """
        gram = gram.double() / gram.trace() * len(gram)
        cheap = torch.linalg.inv(gram + 1e-4 * torch.eye(len(gram), dtype=torch.float64))
        self.gap_basis.copy_(gap_basis)
        self.closing.copy_(change_of_gaps(gap_basis, covariance.double(), TOLERANCE_IOD**2))
        self.parting.copy_(change_of_gaps(gap_basis, cheap, 1e-12))

    def gaps(self, expression: Tensor, style: Style) -> Tensor:
        """Vectors [..., T, 3, 3] IOD from lower to upper inner lip for coefficients [..., T, K]."""
        upper, lower = LIP_ROWS
        return driven_gaps(expression, style.template[..., upper, :] - style.template[..., lower, :], self.gap_basis)

    def aperture(self, expression: Tensor, style: Style) -> Tensor:
        """Lip aperture [..., T] IOD."""
        return gap_aperture(self.gaps(expression, style))

    def inputs(self, hidden: Tensor, expression: Tensor, style: Style) -> Tensor:
        """Inputs of the regression [..., T, num_inputs]; the arguments are those of `forward`."""
        aperture = self.aperture(expression, style)
        logs = (aperture + LOG_FLOOR_IOD).log()
        apertures = torch.stack([logs.roll(shift, -1) for shift in NEIGHBOURS] + [aperture], -1)
        rest_and_mean = torch.stack([style.rest, style.mean], -2)
        _, lower = LIP_ROWS
        person = torch.cat([self.aperture(rest_and_mean, style), style.vertex_deviation[..., lower, 1]], -1)
        person = person[..., None, :].expand(*aperture.shape, NUM_PERSON)
        return torch.cat([hidden, apertures, person], -1)

    def forward(self, hidden: Tensor, expression: Tensor, style: Style) -> Tensor:
        """Logits of the lips being closed.

        Args:
            hidden: [..., T, D] stage 1's last hidden layer on its time grid.
            expression: [..., T, K] its coefficients.
            style: of one speaker, or a batch of B if the others have a batch axis.

        Returns:
            [..., T]
        """
        return self.linear((self.inputs(hidden, expression, style) - self.mean) / self.deviation)[..., 0]

    def strength(self, logits: Tensor) -> Tensor:
        """Strength of the closure in [0, 1] for logits of any shape: a smooth step between the bounds."""
        low, high = self.bounds
        step = ((logits.sigmoid() - low) / (high - low)).clamp(0, 1)
        return step.square() * (3 - 2 * step)

    def close(self, expression: Tensor, strength: Tensor, style: Style) -> Tensor:
        """Narrow the gaps between the lips.

        Args:
            expression: [T, K]
            strength: [T] in [0, 1]; at 1 the gap is narrowed by NARROWED, or to CLOSED_IOD; nearer lips stay.
            style: of the speaker.

        Returns:
            [T, K]
        """
        gaps = self.gaps(expression, style)
        until_closed = (1 - CLOSED_IOD / gap_aperture(gaps)).clamp(min=0)
        change = -torch.minimum(NARROWED * strength, until_closed)[:, None, None] * gaps
        return expression + change.flatten(1) @ self.closing


def change_of_gaps(gap_basis: Tensor, covariance: Tensor, noise: float) -> Tensor:
    """Solve for the most probable change of coefficients that changes the gaps.

    Args:
        gap_basis: [K, 3, 3] IOD
        covariance: [K, K] of the coefficients, float64.
        noise: IOD^2, variance of what each component of a gap may miss.

    Returns:
        [9, K], coefficients by the components of the gaps.
    """
    basis = gap_basis.double().flatten(1)
    moved = covariance @ basis
    return torch.linalg.solve(basis.T @ moved + noise * torch.eye(basis.shape[1], dtype=torch.float64), moved.T)
