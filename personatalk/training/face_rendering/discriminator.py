"""The mouth discriminator of stage 2 and its losses; it has an optimizer of its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from personatalk.geometry.mesh import NUM_MAP_CHANNELS
from personatalk.training.config import AdversarialTrainingConfig

MOUTH_ROWS, MOUTH_COLUMNS = slice(16, 112), slice(40, 152)  # px of the window: lips, chin, part of the cheeks


class PatchDiscriminator(nn.Module):
    """Tell true mouths from rendered ones, patch by patch, given the target geometry.

    Args:
        width: channels of the first layer; doubled by each of the next two.

    Source: PatchGAN (arXiv 1611.07004); spectral normalisation (arXiv 1802.05957).
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3 + NUM_MAP_CHANNELS, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(i, o, 4, stride=2, padding=1)) for i, o in zip(widths, widths[1:], strict=False)
        )
        self.judge = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: Tensor, geometry: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Classify windows.

        Args:
            images: [B, 3, H, W] in [0, 1], whole windows, of which the mouth is cut out.
            geometry: [B, G, h, w] geometry maps.

        Returns:
            logits [B, 1, 12, 14], above 0 for true; the layers' outputs.
        """
        maps = F.interpolate(geometry, size=images.shape[-2:], mode="bilinear", align_corners=False)
        x = torch.cat([images * 2 - 1, maps], 1)[..., MOUTH_ROWS, MOUTH_COLUMNS]
        outputs = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            outputs.append(x)
        return self.judge(x), outputs


class AdversarialLoss:
    """A discriminator with its optimizer: `learn` steps it, a call gives the generator's two losses.

    Args:
        learning_rate: of the discriminator.
        width: of the discriminator.
        device: of the windows.
    """

    def __init__(self, learning_rate: float = 2e-4, width: int = 32, device: torch.device | str = "cpu") -> None:
        self.discriminator = PatchDiscriminator(width).to(device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.discriminator.parameters(), lr=learning_rate, betas=(0.5, 0.99))

    def learn(self, fake: Tensor, real: Tensor, geometry: Tensor) -> Tensor:
        """Do one step on windows [B, 3, H, W] in [0, 1]; returns the hinge loss []."""
        logits, _ = self.discriminator(torch.cat([fake.detach(), real]), torch.cat([geometry, geometry]))
        of_fake, of_real = logits.float().chunk(2)
        loss = F.relu(1 + of_fake).mean() + F.relu(1 - of_real).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def __call__(self, fake: Tensor, real: Tensor, geometry: Tensor) -> dict[str, Tensor]:
        """Return the generator's losses: `adversarial`, and `matching` of the layers' outputs."""
        self.discriminator.requires_grad_(False)
        logits, of_fake = self.discriminator(fake, geometry)
        with torch.no_grad():
            _, of_real = self.discriminator(real, geometry)
        self.discriminator.requires_grad_(True)
        matching = logits.new_zeros((), dtype=torch.float32)
        for ours, true in zip(of_fake, of_real, strict=True):
            matching = matching + (ours.float() - true.float()).abs().mean()
        return {"adversarial": -logits.float().mean(), "matching": matching}

    def losses_at(
        self, step: int, config: AdversarialTrainingConfig, *, fake: Tensor, real: Tensor, geometry: Tensor
    ) -> dict[str, Tensor]:
        """Let the discriminator do its step of a run, and return the generator's losses, 0 before they count."""
        wait = config.adversarial_from - step
        if wait <= config.adversarial_warmup:
            self.learn(fake, real, geometry)
        if wait > 0:
            return {"adversarial": fake.new_zeros(()), "matching": fake.new_zeros(())}
        return self(fake, real, geometry)

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimizer."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take weights and optimizer over."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
