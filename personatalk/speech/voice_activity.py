"""When somebody speaks: only then may the mouth leave its rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.speech.features import SpeechFeatures, sample_rows

SILENT_DB, SPEAKING_DB = -58.0, -48.0  # the gate opens between them; loud speech is at -23 dB
LEAD_S, HOLD_S = 0.36, 0.24  # people breathe in before they speak, and pauses shorter than this stay open
GATE_SMOOTH_S = 0.16
VOICE_REACH = 10  # features either side over which the evidence for a voice is averaged
FRESH_LOGIT = 20.0


class VoiceDetector(nn.Module):
    """Tell voices from music and noise, by what stage 1 hears.

    Args:
        audio_dim: C of the features.

    Ours: the paper does not speak of silence.
    """

    bounds: Tensor

    def __init__(self, audio_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(audio_dim, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, FRESH_LOGIT)  # to a fresh one everything is a voice
        self.register_buffer("bounds", torch.tensor([2.0, 4.0]))

    def forward(self, heard: Tensor) -> Tensor:
        """How sure it is that somebody speaks, in [0, 1].

        Args:
            heard: [N, C] features at 50 Hz, standardised.

        Returns:
            [N]
        """
        logits = self.linear(heard)[None, :, 0]
        padded = F.pad(logits, (VOICE_REACH, VOICE_REACH), mode="replicate")
        low, high = self.bounds
        share = ((F.avg_pool1d(padded, 2 * VOICE_REACH + 1, 1)[0] - low) / (high - low)).clamp(0, 1)
        return share.square() * (3 - 2 * share)


def speech_gate(features: SpeechFeatures, times: Tensor, voice: Tensor | None = None) -> Tensor:
    """How far the mouth may leave its rest: 0 in silence, 1 in sound, with smooth ways between.

    The gate opens before the sound, as people do, and stays open through short pauses.

    Args:
        times: [T] seconds; before and after the recording all is silence.
        voice: [N] how surely a voice is heard in each of the features; everywhere where None.

    Returns:
        [T] in [0, 1]

    Ours: the paper does not speak of silence.
    """
    lead, hold = round(LEAD_S * features.rate), round(HOLD_S * features.rate)
    smooth = round(GATE_SMOOTH_S * features.rate / 2)
    margin = lead + hold + smooth
    share = ((features.level_db - SILENT_DB) / (SPEAKING_DB - SILENT_DB)).clamp(0, 1)
    share = share if voice is None else share * voice
    share = F.pad(share, (margin + hold + smooth, margin + lead + smooth))
    widened = F.max_pool1d(share[None, None], lead + hold + 1, 1)
    window = torch.hann_window(2 * smooth + 3, periodic=False)[1:-1].to(share)
    gate = F.conv1d(widened, (window / window.sum())[None, None])[0, 0].clamp(0, 1)
    return sample_rows(gate, times * features.rate + margin)
