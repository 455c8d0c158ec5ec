"""What a dub's processor time is held against: Wav2Lip's network alone, and reading and writing the video alone."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

# (channels, stride, residual convolutions that follow); the first convolution of the face encoder is 7x7
FACE_ENCODER = ((16, 1, 0), (32, 2, 2), (64, 2, 3), (128, 2, 2), (256, 2, 2), (512, 2, 1))
AUDIO_ENCODER = ((32, (1, 1), 2), (64, (3, 1), 2), (128, (3, 3), 2), (256, (3, 2), 1))
DECODER = ((512, 1), (512, 2), (384, 2), (256, 2), (128, 2), (64, 2))  # (channels, residual convolutions)
FACE_PX, MEL_BANDS, MEL_STEPS = 96, 80, 16
PASSES = 5


class Layer(nn.Module):
    """Convolution, batch norm, a shortcut where the sizes allow it, and ReLU."""

    def __init__(self, convolution: nn.Module, channels: int, *, is_residual: bool = False) -> None:
        super().__init__()
        self.convolution, self.norm, self.is_residual = convolution, nn.BatchNorm2d(channels), is_residual

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C', h', w'] for [B, C, h, w]."""
        y = self.norm(self.convolution(x))
        return torch.relu(y + x if self.is_residual else y)


class Wav2LipSizes(nn.Module):
    """Layers of the sizes of Wav2Lip's generator at 96 px, with random weights: for its cost alone.

    Source: Prajwal et al. 2020, "A Lip Sync Expert Is All You Need for Speech to Lip Generation In The Wild".
    """

    def __init__(self) -> None:
        super().__init__()
        self.face, width = nn.ModuleList(), 6
        for channels, stride, residuals in FACE_ENCODER:
            size, padding = (7, 3) if width == 6 else (3, 1)
            first = Layer(nn.Conv2d(width, channels, size, stride, padding), channels)
            self.face.append(nn.Sequential(first, *residual_layers(channels, residuals)))
            width = channels
        self.face.append(to_one_place(512))
        audio, width = [], 1
        for channels, stride, residuals in AUDIO_ENCODER:
            audio += [Layer(nn.Conv2d(width, channels, 3, stride, 1), channels), *residual_layers(channels, residuals)]
            width = channels
        self.audio = nn.Sequential(*audio, to_one_place(256))
        self.decoder, width = nn.ModuleList([Layer(nn.Conv2d(512, 512, 1), 512)]), 1024
        for number, (channels, residuals) in enumerate(DECODER):
            up = (3, 1, 0, 0) if number == 0 else (3, 2, 1, 1)
            first = Layer(nn.ConvTranspose2d(width, channels, *up), channels)
            self.decoder.append(nn.Sequential(first, *residual_layers(channels, residuals)))
            width = channels + FACE_ENCODER[-1 - number][0]
        self.leave = nn.Sequential(Layer(nn.Conv2d(width, 32, 3, padding=1), 32), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Return [B, 3, 96, 96] for mel [B, 1, 80, 16] and two faces, one half covered, [B, 6, 96, 96]."""
        maps = []
        for block in self.face:
            maps.append(faces := block(faces))
        x = self.audio(mel)
        for block in self.decoder:
            x = torch.cat([block(x), maps.pop()], 1)
        return self.leave(x)


def residual_layers(channels: int, count: int) -> list[Layer]:
    """Make 3x3 convolutions with shortcuts."""
    return [Layer(nn.Conv2d(channels, channels, 3, padding=1), channels, is_residual=True) for _ in range(count)]


def to_one_place(channels: int) -> nn.Sequential:
    """Make the layers that turn 3x3 places into one."""
    return nn.Sequential(Layer(nn.Conv2d(channels, 512, 3), 512), Layer(nn.Conv2d(512, 512, 1), 512))


@torch.inference_mode()
def wav2lip_ms() -> float:
    """Processor time of Wav2Lip's network for one frame on one thread, ms: the least of some passes, float32."""
    from personatalk.concurrency import one_thread

    network = Wav2LipSizes().eval()
    mel, faces = torch.rand(1, 1, MEL_BANDS, MEL_STEPS), torch.rand(1, 6, FACE_PX, FACE_PX)
    seconds = []
    with one_thread():
        for _ in range(PASSES + 1):
            start = time.thread_time()
            network(mel, faces)
            seconds.append(time.thread_time() - start)
    return 1000 * min(seconds[1:])


def copy_ms(clip: Path) -> float:
    """Processor time of reading a clip and writing it anew, with nothing done to it, ms a frame."""
    from personatalk.media import VideoWriter, read_frames

    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        with VideoWriter(Path(folder) / "copy.mp4", source=clip, audio=None) as writer:
            for frame in read_frames(clip):
                writer.write(frame.image, frame.pts)
        return 1000 * (time.process_time() - start) / writer.num_frames
