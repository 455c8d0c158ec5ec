"""Memory of a process: told stage by stage, and given back after each."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def printed_alone(program: str) -> dict:
    """What a program prints, run in a process of its own, whose memory nothing else in the tests touches."""
    lines = [
        "import json, resource",
        "import numpy as np",
        "from personatalk.memory import peak_memory_mb",
        "from personatalk.progress import Run",
        program,
    ]
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(run.stdout)


def test_each_stage_has_its_own_peak_of_memory():
    peaks = printed_alone("""
run = Run(None, None, measures_memory=True)
with run.stage("listen", ""):
    held = np.ones(60_000_000 // 8)
del held
with run.stage("track", ""):
    pass
print(json.dumps(run.peak_memory_mb))
""")
    assert peaks["listen"] is None or peaks["listen"] > peaks["track"] + 40


def test_without_an_onlooker_the_peak_of_the_process_is_left_alone():
    peaks = printed_alone("""
held = np.ones(200_000_000 // 8)
before = peak_memory_mb()
del held
run = Run(None, None)
with run.stage("listen", ""):
    pass
print(json.dumps({"stages": run.peak_memory_mb, "before": before, "after": peak_memory_mb()}))
""")
    assert peaks["stages"] == {}
    # a reset would have lowered it by some 190 MB; the kernel counts to about one
    assert peaks["after"] is None or peaks["after"] > peaks["before"] - 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_stage_freed_goes_back_to_the_system():
    """Small blocks do not by themselves, while a later one is still held."""
    sizes = printed_alone("""
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

run = Run(None, None)
with run.stage("listen", ""):
    blocks = [b"x" * 100_000 for _ in range(1000)]
    last = blocks[-1]
    del blocks
    before = resident_mb()
print(json.dumps({"before": before, "after": resident_mb()}))
""")
    assert sizes["after"] < sizes["before"] - 80
