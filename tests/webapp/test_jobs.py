"""The page outlives files that end the process which reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import write_clip, write_speech
from deadly_jobs import fail_to_prepare, prepare_deadly_probing, prepare_studio
from gradio.utils import deep_hash

from personatalk.errors import CheckpointError, MediaError, WorkerDiedError
from personatalk.options import DubbingOptions
from personatalk.webapp.limits import Limits
from personatalk.webapp.looking import prepare_nothing
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import TimeEstimator
from personatalk.worker import Worker

ROOT = Path(__file__).parents[2]
STARTING = """
import runpy, sys
runpy.run_path("app.py", run_name="__mp_main__")  # as multiprocessing does in a new process
import personatalk.webapp.looking
print({heavy} & sys.modules.keys())
import personatalk.webapp.jobs
print({heavy} & sys.modules.keys())
"""


@pytest.fixture(scope="module")
def workers():
    dubbing, looking = Worker(prepare_studio), Worker(prepare_deadly_probing)
    yield dubbing, looking
    dubbing.close()
    looking.close()


@pytest.fixture
def service(workers, tmp_path):
    return DubbingService(*workers, Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json"))


@pytest.fixture
def request_for(tmp_path):
    speech = write_speech(tmp_path / "speech.wav")

    def make(name: str, num_frames: int) -> Request:
        clip = write_clip(tmp_path / name, num_frames)
        return Request(clip=clip, speech=speech, consent=True, options=DubbingOptions())

    return make


def test_a_visitor_whose_file_ends_the_process_gets_a_sentence_and_the_next_one_a_dub(service, request_for):
    for request in (request_for("broken.mp4", 7), request_for("deadly.mp4", 5)):  # while dubbing, while it is checked
        with pytest.raises(WorkerDiedError, match=r"The process that worked on these files ended \(SIGSEGV\)"):
            service.dub(request, "me", None)
    assert not list(service.sessions.runs.iterdir()), "nothing of them is left"
    told = []
    outcome = service.dub(request_for("sound.mp4", 6), "you", lambda *what: told.append(what))
    assert outcome.video.is_file() and str(os.getpid()) not in outcome.report.read_text()
    assert [share for share, _ in told] == [0.5]


def test_gradio_can_keep_an_outcome_of_a_session(service, request_for):
    outcome = service.dub(request_for("clip.mp4", 6), "me", None)
    assert deep_hash(outcome) == deep_hash(replace(outcome)) != deep_hash(replace(outcome, num_frames=7))


def test_errors_in_a_worker_keep_class_and_message(service, request_for):
    request = request_for("clip.mp4", 6)
    request.clip.write_bytes(b"no video at all " * 100)
    with pytest.raises(MediaError, match="^clip.mp4 is a text file"):
        service.dub(request, "me", None)


def test_a_process_that_cannot_be_prepared_says_why():
    worker = Worker(partial(fail_to_prepare, "renderer.safetensors is missing"))
    try:
        for _ in range(2):
            with pytest.raises(CheckpointError, match="renderer.safetensors is missing"):
                worker.call(prepare_nothing)
    finally:
        worker.close()


def test_workers_start_without_what_they_do_not_need():
    """Neither of them builds the page, and the one that looks at files has no networks."""
    heavy = {"torch", "gradio", "matplotlib", "mcp"}
    ended = subprocess.run(
        [sys.executable, "-c", STARTING.format(heavy=heavy)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.stdout.splitlines() == ["set()", "{'torch'}"], ended.stderr
