"""A first run after installation says that kernels are being prepared."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from conftest import CopyPipeline, write_clip, write_speech

from personatalk.options import DubbingOptions
from personatalk.webapp import jobs
from personatalk.webapp.jobs import in_this_process
from personatalk.webapp.kernels import are_compiled
from personatalk.webapp.limits import Limits
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import TimeEstimator

KERNEL = """
import numba

@numba.njit(cache=True)
def double(value):
    return 2 * value
"""


@pytest.fixture
def load_kernel(tmp_path, monkeypatch):
    """Import the kernel's module anew, as another process would."""
    (tmp_path / "freshly_installed.py").write_text(KERNEL)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load():
        spec = importlib.util.spec_from_file_location("freshly_installed", tmp_path / "freshly_installed.py")
        module = sys.modules["freshly_installed"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.double

    yield load
    sys.modules.pop("freshly_installed", None)


def test_a_kernel_counts_as_compiled_from_its_first_call_on_in_later_processes_too(load_kernel):
    kernel = load_kernel()
    assert not are_compiled(kernel)
    assert kernel(3) == 6
    assert are_compiled(kernel)
    assert are_compiled(load_kernel())


@pytest.mark.parametrize("is_first", [True, False])
def test_only_the_first_run_says_that_it_prepares_kernels(tmp_path, monkeypatch, load_kernel, is_first):
    kernel = load_kernel()
    if not is_first:
        kernel(3)
    monkeypatch.setattr(jobs, "mix_textures", kernel)
    service = DubbingService(
        *in_this_process(CopyPipeline()), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )
    clip, speech = write_clip(tmp_path / "clip.mp4"), write_speech(tmp_path / "speech.wav")
    told = []
    request = Request(clip=clip, speech=speech, consent=True, options=DubbingOptions())
    service.dub(request, "me", lambda share, stage: told.append((share, stage)))
    assert told == [(0.5, "copying; preparing kernels (first run after installation)" if is_first else "copying")]
