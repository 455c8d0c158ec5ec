"""What the benchmark of speed holds a dub against has the size that it claims."""

from __future__ import annotations

import torch

from benchmarks.references import FACE_PX, MEL_BANDS, MEL_STEPS, Wav2LipSizes


def test_wav2lips_network_has_its_size():
    network = Wav2LipSizes().eval()
    assert sum(weight.numel() for weight in network.parameters()) == 36_298_035
    with torch.inference_mode():
        picture = network(torch.rand(1, 1, MEL_BANDS, MEL_STEPS), torch.rand(1, 6, FACE_PX, FACE_PX))
    assert picture.shape == (1, 3, FACE_PX, FACE_PX)
