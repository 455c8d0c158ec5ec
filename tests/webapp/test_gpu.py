"""The pipeline runs on the GPU that a Space lends, and on the CPU where none is lent."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType

import gradio as gr
import pytest
import torch
from conftest import CopyPipeline, FacelessPipeline, write_clip, write_speech

import app
from personatalk.errors import NoFaceError
from personatalk.options import DubbingOptions
from personatalk.webapp.gpu import on_gpu
from personatalk.webapp.jobs import SameProcess, in_this_process
from personatalk.webapp.limits import Limits
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import TimeEstimator


class LendingSpaces(ModuleType):
    """Stands for the package `spaces` on ZeroGPU.

    As there, a marked function runs in another process: arguments and results are pickled, and of an error only the
    name of its class comes back.
    """

    def __init__(self) -> None:
        super().__init__("spaces")
        self.booked = False

    def GPU(self, duration: float):  # noqa: N802 (the name in that package)
        def mark(function):
            def call(*args, **kwargs):
                args, kwargs = pickle.loads(pickle.dumps((args, kwargs)))
                self.booked = True
                try:
                    return pickle.loads(pickle.dumps(function(*args, **kwargs)))
                except Exception as error:
                    raise gr.Error(type(error).__name__) from None
                finally:
                    self.booked = False

            return call

        return mark


@pytest.fixture
def spaces(monkeypatch):
    spaces = LendingSpaces()
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as `spaces` has it on ZeroGPU
    return spaces


@pytest.fixture
def request_for(tmp_path):
    def make(**options) -> Request:
        clip, speech = write_clip(tmp_path / "clip.mp4"), write_speech(tmp_path / "speech.wav")
        return Request(clip=clip, speech=speech, consent=True, options=DubbingOptions(**options))

    return make


class DevicePipeline(CopyPipeline):
    """Notes its device, and whether a GPU was booked while it ran."""

    def __init__(self, device: str | None, spaces: LendingSpaces | None = None) -> None:
        self.device, self.spaces, self.face_model = device, spaces, None

    def dub(self, *args, **kwargs):
        self.booked = self.spaces.booked if self.spaces else False
        return super().dub(*args, **kwargs)


class WorkerHere(SameProcess):
    """Stands for a worker process, whose objects a test could not see."""

    def __init__(self, prepare) -> None:
        super().__init__(prepare())

    def start(self) -> None:
        pass


def serve_page(monkeypatch, tmp_path, spaces=None) -> list:
    """Run app.main up to where it would serve; returns the pipeline it loaded, and "warmed" if it made examples."""
    events = []

    def load_pipeline(device: str | None = None):
        events.append(DevicePipeline(device, spaces))
        return events[-1]

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    monkeypatch.setattr("personatalk.pipeline.load_pipeline", load_pipeline)
    monkeypatch.setattr("personatalk.webapp.jobs.Worker", WorkerHere)
    monkeypatch.setattr("personatalk.webapp.sync_judge.SyncJudge.load", lambda face_model: None)
    monkeypatch.setattr(app, "launch", lambda demo, **_: demo)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("personatalk.webapp.examples.ExampleCache.warm", lambda self: events.append("warmed"))
    app.main(["--cache", str(tmp_path / "cache")])
    return events


def test_the_page_loads_its_pipeline_to_the_gpu_that_is_lent(monkeypatch, tmp_path, spaces):
    (pipeline,) = serve_page(monkeypatch, tmp_path, spaces)  # and no example is made before a visitor asks for it
    assert pipeline.device == "cuda"


def test_without_a_gpu_the_page_loads_its_pipeline_to_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "spaces", None)  # not installed
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pipeline, warmed = serve_page(monkeypatch, tmp_path)
    assert pipeline.device == "cpu" and warmed == "warmed"
    assert on_gpu(len) is len


def test_runs_happen_while_the_gpu_is_booked(tmp_path, spaces, request_for):
    pipeline = DevicePipeline("cuda", spaces)
    estimator = TimeEstimator(tmp_path / "speed.json")
    service = DubbingService(*in_this_process(pipeline), Sessions(tmp_path, 100), Limits(), estimator)
    for run in (service.dub, service.preview):
        outcome = run(request_for(), "me", None)
        assert pipeline.booked and outcome.video.exists()
    assert estimator.is_measured  # by the page's process, not by the one that has the GPU


def test_an_error_on_the_lent_gpu_keeps_its_message(tmp_path, spaces, request_for):
    service = DubbingService(
        *in_this_process(FacelessPipeline()), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )
    with pytest.raises(NoFaceError, match="No face was found"):
        service.dub(request_for(), "me", None)
