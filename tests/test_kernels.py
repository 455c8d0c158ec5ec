"""Kernels are compiled once: ahead, with the types that a dub gives them, and the first run says so."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
from pathlib import Path

import pytest
from conftest import CopyPipeline, write_clip, write_speech
from numba.core.sigutils import normalize_signature

from personatalk import kernels
from personatalk.options import DubbingOptions
from personatalk.webapp.jobs import in_this_process
from personatalk.webapp.limits import Limits
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import TimeEstimator

ASSETS = Path(__file__).parents[1] / "assets"

KERNEL = """
from personatalk.kernels import kernel

@kernel("int64")
def double(value):
    return 2 * value
"""


@pytest.fixture
def load_kernel(tmp_path, monkeypatch):
    """Import the kernel's module anew, as another process would."""
    (tmp_path / "freshly_installed.py").write_text(KERNEL)

    def load():
        monkeypatch.setattr(kernels, "_signatures", {})
        spec = importlib.util.spec_from_file_location("freshly_installed", tmp_path / "freshly_installed.py")
        module = sys.modules["freshly_installed"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.double

    yield load
    sys.modules.pop("freshly_installed", None)


def test_a_kernel_counts_as_compiled_from_its_first_call_on_in_later_processes_too(load_kernel):
    kernel = load_kernel()
    assert not kernels.is_compiled(kernel) and not kernels.are_compiled()
    assert kernel(3) == 6
    assert kernels.are_compiled()
    assert kernels.is_compiled(load_kernel())


def test_kernels_are_compiled_ahead_for_the_types_they_are_called_with(load_kernel):
    kernel = load_kernel()
    kernels.compile_all()
    compiled = list(kernel.signatures)
    assert kernel(3) == 6
    assert kernel.signatures == compiled and len(compiled) == 1
    later = load_kernel()
    assert later(3) == 6
    assert sum(later.stats.cache_hits.values()) == 1 and not later.stats.cache_misses


def test_what_is_left_at_the_end_is_not_compiled(load_kernel, monkeypatch):
    kernel, begun, may_go_on = load_kernel(), threading.Event(), threading.Event()

    class Slow:
        signatures = stats = None

        def compile(self, signature):
            begun.set()
            may_go_on.wait(10)

    monkeypatch.setattr(kernels, "_signatures", {Slow(): "(int64,)", kernel: "(int64,)"})
    monkeypatch.setattr(kernels, "are_compiled", lambda: False)
    with kernels.compiling_ahead():
        assert begun.wait(10)
        threading.Timer(0.1, may_go_on.set).start()
    assert not kernel.signatures
    assert not any(thread.name == "kernels" for thread in threading.enumerate())


@pytest.mark.weights
def test_a_dub_calls_kernels_with_no_other_types_than_those_compiled_ahead(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("personatalk.pipeline.compiling_ahead", contextlib.nullcontext)
    known = {function: list(function.signatures) for function in kernels._signatures}
    pipeline.dub(ASSETS / "grid_speaker.mp4", ASSETS / "speech_bridge.wav", tmp_path / "out.mp4", stretch=(0, 0.2))
    assert len(known) == 8
    for function, signature in kernels._signatures.items():
        declared = normalize_signature(signature)[0]
        assert declared in function.signatures, function
        assert [types for types in function.signatures if types not in known[function]] in ([], [declared]), function


@pytest.mark.parametrize("is_first", [True, False])
def test_only_the_first_run_says_that_it_prepares_kernels(tmp_path, load_kernel, is_first):
    kernel = load_kernel()
    if not is_first:
        kernel(3)
    service = DubbingService(
        *in_this_process(CopyPipeline()), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )
    clip, speech = write_clip(tmp_path / "clip.mp4"), write_speech(tmp_path / "speech.wav")
    told = []
    request = Request(clip=clip, speech=speech, consent=True, options=DubbingOptions())
    service.dub(request, "me", lambda share, stage: told.append((share, stage)))
    assert told == [(0.5, "copying; preparing kernels (first run after installation)" if is_first else "copying")]
