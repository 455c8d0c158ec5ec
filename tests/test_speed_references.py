"""What the benchmark of speed holds a dub against has the size that it claims."""

from __future__ import annotations

import pytest
import torch

from benchmarks import speed
from benchmarks.references import FACE_PX, MEL_BANDS, MEL_STEPS, Wav2LipSizes


def test_wav2lips_network_has_its_size():
    network = Wav2LipSizes().eval()
    assert sum(weight.numel() for weight in network.parameters()) == 36_298_035
    with torch.inference_mode():
        picture = network(torch.rand(1, 1, MEL_BANDS, MEL_STEPS), torch.rand(1, 6, FACE_PX, FACE_PX))
    assert picture.shape == (1, 3, FACE_PX, FACE_PX)


@pytest.mark.parametrize(("most", "code"), [("1.2", 0), ("1.1", 1)])
def test_a_dub_that_has_become_slower_ends_with_a_code(monkeypatch, capsys, most, code):
    run = {
        "total_s": 5.0,
        "cpu_s": 9.2,
        "num_frames": 100,
        "fps": 25.0,
        "precision": "float32",
        "stages_s": {"render": 4.0},
        "stages_processor_s": {"render": 8.0},
    }
    monkeypatch.setattr(speed, "copy_ms", lambda clip: 13.0)
    monkeypatch.setattr(speed, "wav2lip_ms", lambda: 80.0)
    monkeypatch.setattr(speed, "network_times", lambda pipeline: {"float32": 30.0})
    monkeypatch.setattr(speed, "dub", lambda *inputs: dict(run))
    monkeypatch.setattr("personatalk.load_pipeline", lambda folder: None)
    assert speed.main(["--most", most]) == code
    told = capsys.readouterr()
    assert "over that of Wav2Lip's network 1.15" in told.out and ("slower" in told.err) == bool(code)
