"""A process that dies takes its call with it, and nothing else."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from personatalk import worker as worker_module
from personatalk.errors import CancelledError, NoFaceError, WorkerDiedError
from personatalk.worker import PipelineWorker, Worker


def prepare() -> int:
    return 40


def add(prepared, number, *, progress, should_stop):
    return prepared + number, os.getpid()


def read_nothing(prepared, *, progress, should_stop):
    ctypes.string_at(0)


def kill_oneself(prepared, *, progress, should_stop):
    os.kill(os.getpid(), signal.SIGKILL)


def raise_error(prepared, error, *, progress, should_stop):
    raise error


def count(prepared, number, *, progress, should_stop):
    for index in range(number):
        progress(index / number, f"step {index}")


def work_until_stopped(prepared, folder, *, progress, should_stop):
    (folder / "started").touch()
    while not should_stop():
        time.sleep(0.01)
    raise CancelledError("stopped there")


def work_for_ever(prepared, folder, *, progress, should_stop):
    (folder / "started").touch()
    time.sleep(300)


def return_a_lambda(prepared, *, progress, should_stop):
    return lambda: 0


class PipelineOfTheProcess:
    """Copies the clip, tells of it, and dies of clips that are named so."""

    def dub(self, video, audio, output, options=None, *, progress, should_stop, record, stretch):
        if "deadly" in video.name:
            ctypes.string_at(0)
        progress(0.5, "copying")
        shutil.copy(video, output)
        return os.getpid()


@pytest.fixture(scope="module")
def worker():
    worker = Worker(prepare)
    yield worker
    worker.close()


def test_a_call_is_answered_by_another_process(worker):
    first, second = worker.call(add, 2), worker.call(add, 3)
    assert (first[0], second[0]) == (42, 43)
    assert first[1] == second[1] != os.getpid()


@pytest.mark.parametrize(("deadly", "reason"), [(read_nothing, "SIGSEGV"), (kill_oneself, "SIGKILL")])
def test_the_next_call_gets_a_new_process(worker, deadly, reason):
    before = worker.call(add, 2)
    with pytest.raises(WorkerDiedError, match=reason) as caught:
        worker.call(deadly)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    after = worker.call(add, 2)
    assert after[0] == 42 and after[1] != before[1]


def test_a_process_that_dies_between_two_calls_is_replaced(worker):
    pid = worker.call(add, 2)[1]
    os.kill(pid, signal.SIGKILL)
    worker._process.join()
    assert worker.call(add, 2)[0] == 42


def test_errors_keep_their_class_and_message(worker):
    pid = worker.call(add, 2)[1]
    for error in (NoFaceError("no face"), ValueError("no value"), KeyError("key")):
        with pytest.raises(type(error)) as caught:
            worker.call(raise_error, error)
        assert caught.value.args == error.args
    with pytest.raises(RuntimeError, match="cannot be sent"):
        worker.call(return_a_lambda)
    assert worker.call(add, 2)[1] == pid


def test_progress_is_told_here_and_in_order(worker):
    told = []
    worker.call(count, 5, progress=lambda done, message: told.append((done, message)))
    assert told == [(index / 5, f"step {index}") for index in range(5)]


def test_a_call_can_be_stopped(worker, tmp_path):
    pid = worker.call(add, 2)[1]
    with pytest.raises(CancelledError, match="stopped there"):
        worker.call(work_until_stopped, tmp_path, should_stop=(tmp_path / "started").exists)
    assert worker.call(add, 2)[1] == pid, "it stopped by itself"


def test_a_call_that_does_not_stop_is_ended(worker, tmp_path, monkeypatch):
    pid = worker.call(add, 2)[1]
    monkeypatch.setattr(worker_module, "STOP_S", 0.2)
    with pytest.raises(CancelledError):
        worker.call(work_for_ever, tmp_path, should_stop=(tmp_path / "started").exists)
    assert worker.call(add, 2)[1] != pid


def test_calls_of_several_threads_wait_for_each_other(worker):
    sums: list[int] = []
    threads = [threading.Thread(target=lambda n=n: sums.append(worker.call(add, n)[0])) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sums) == [40, 41, 42, 43, 44]


def test_a_pipeline_dies_of_one_clip_and_dubs_the_next(clip, speech, tmp_path):
    pipeline = PipelineWorker(PipelineOfTheProcess)
    deadly = tmp_path / "deadly.mp4"
    shutil.copy(clip, deadly)
    try:
        told = []
        with pytest.raises(WorkerDiedError, match="SIGSEGV"):
            pipeline.dub(deadly, speech, tmp_path / "out.mp4")
        assert not (tmp_path / "out.mp4").exists()
        pid = pipeline.dub(clip, speech, tmp_path / "out.mp4", progress=lambda *what: told.append(what))
        assert pid != os.getpid() and told == [(0.5, "copying")]
        assert (tmp_path / "out.mp4").read_bytes() == clip.read_bytes()
    finally:
        pipeline.close()


OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_worker import add, prepare
from personatalk.worker import Worker
if __name__ == "__main__":
    print(Worker(prepare).call(add, 2)[1], flush=True)
    time.sleep(300)
"""


def test_a_worker_does_not_outlive_its_owner(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    here, environment = Path(__file__).parent, os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(here)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        pid = int(owner.stdout.readline())
        owner.kill()
        owner.wait()
        deadline = time.monotonic() + 30
        while _is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _is_running(pid)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()


def _is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
