"""Voice activity: the gate that keeps the mouth at rest outside speech."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.speech.features import SpeechFeatures, sample_rows

SILENT_DB, SPEAKING_DB = -58.0, -48.0  # the gate opens between them; loud speech is at -23 dB
LEAD_S, HOLD_S = 0.36, 0.24  # the gate opens before speech, when people breathe in, and bridges short pauses
GATE_SMOOTH_S = 0.16
VOICE_REACH = 10  # features on either side over which the logits are averaged
UNTRAINED_LOGIT = 20.0


class VoiceDetector(nn.Module):
    """Logistic regression of voice against music and noise, on stage 1's speech features.

    Args:
        audio_dim: C of the features.

    Ours: the paper does not treat silence, and an ungated mouth moves to any noise. `benchmarks/voice_activity.py`
        compares it with silero-vad.
    """

    bounds: Tensor

    def __init__(self, audio_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(audio_dim, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, UNTRAINED_LOGIT)  # untrained, it takes everything for a voice
        self.register_buffer("bounds", torch.tensor([2.0, 4.0]))

    def forward(self, features: Tensor) -> Tensor:
        """Score voice in [0, 1]: a smooth step of the averaged logits between the bounds.

        Args:
            features: [N, C] at 50 Hz, standardised.

        Returns:
            [N]
        """
        logits = self.linear(features)[None, :, 0]
        padded = F.pad(logits, (VOICE_REACH, VOICE_REACH), mode="replicate")
        low, high = self.bounds
        step = ((F.avg_pool1d(padded, 2 * VOICE_REACH + 1, 1)[0] - low) / (high - low)).clamp(0, 1)
        return step.square() * (3 - 2 * step)


def speech_gate(features: SpeechFeatures, times: Tensor, voice: Tensor | None = None) -> Tensor:
    """Gate the motion of the mouth: 0 in silence, 1 in speech, with smooth transitions.

    It opens before speech begins and stays open through short pauses.

    Args:
        times: [T] seconds; outside the recording the gate is closed.
        voice: [N] voice score of each of the features; None takes all sound for speech.

    Returns:
        [T] in [0, 1]

    Ours: the paper does not treat silence.
    """
    lead, hold = round(LEAD_S * features.rate), round(HOLD_S * features.rate)
    smooth = round(GATE_SMOOTH_S * features.rate / 2)
    margin = lead + hold + smooth
    activity = ((features.level_db - SILENT_DB) / (SPEAKING_DB - SILENT_DB)).clamp(0, 1)
    activity = activity if voice is None else activity * voice
    activity = F.pad(activity, (margin + hold + smooth, margin + lead + smooth))
    widened = F.max_pool1d(activity[None, None], lead + hold + 1, 1)
    window = torch.hann_window(2 * smooth + 3, periodic=False)[1:-1].to(activity)
    gate = F.conv1d(widened, (window / window.sum())[None, None])[0, 0].clamp(0, 1)
    return sample_rows(gate, times * features.rate + margin)
