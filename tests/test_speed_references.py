"""What the benchmark of speed holds a dub against has the size that it claims."""

from __future__ import annotations

import os

import pytest
import torch

from benchmarks import speed
from benchmarks.references import FACE_PX, MEL_BANDS, MEL_STEPS, Wav2LipSizes
from benchmarks.samples import EXAMPLE_CLIP, build_clip
from benchmarks.speed_table import STAGES, Row, on_cores, table_of
from personatalk.media import read_frames


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


def test_a_row_of_the_table_says_how_large_the_small_clip_has_to_be(tmp_path):
    row = Row.parse("720p:270:10:2")
    assert (row.face_px, row.seconds, row.cores, row.share) == (270, 10, 2, pytest.approx(0.6))
    clip = build_clip(EXAMPLE_CLIP, tmp_path / "clip.mp4", seconds=0.04, width=640, height=360, share=0.25)
    (frame,) = read_frames(clip)
    grey = abs(frame.image.astype(int) - 96).max(axis=(1, 2)) < 12
    assert abs((~grey).sum() - 90) <= 2
    for wrong in ("720p:500:10:2", "2k:270:10:2", "720p:270:10"):
        with pytest.raises(ValueError):
            Row.parse(wrong)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system binds no process to a core")
def test_what_is_started_within_has_so_many_cores():
    before = os.sched_getaffinity(0)
    with on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_the_table_gives_milliseconds_a_frame():
    machine = {
        "precision": "float32",
        "wav2lip_ms": 100.0,
        "networks_ms": 20.0,
        "networks_multiply_adds": 5e8,
        "multiply_adds_a_second": 1e11,
        "networks_at_that_rate_ms": 5.0,
    }
    row = {
        "picture": "720p",
        "face_px": 270,
        "seconds": 10.0,
        "cores": 2,
        "num_frames": 250,
        "frames_per_second": 25.0,
        "stages_s": dict.fromkeys(STAGES, 1.0),
        "cpu_s": 20.0,
        "copy_ms": 9.5,
        "peak_mib": 1234.0,
    }
    last = table_of({"machine": machine, "rows": [row]}).splitlines()[-1]
    stages = " · ".join(["4.0"] * len(STAGES))
    assert last == f"| 720p | 270 | 10 | 2 | 25.0 | {stages} | 80.0 | 9.5 | 0.80 | 1,234 |"
