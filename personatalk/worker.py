"""A process that works for this one and may die of it, as decoders of broken media can."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from personatalk.errors import CancelledError, WorkerDiedError
from personatalk.options import DubbingOptions
from personatalk.progress import Progress

if TYPE_CHECKING:
    from personatalk.observer import Observer
    from personatalk.pipeline import DubbingPipeline, DubbingResult

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
ShouldStop = Callable[[], bool]
POLL_S = 0.1  # between two questions whether to stop
STOP_S = 30.0  # that a call may take to stop before its process is ended


class Worker:
    """Calls functions in another process, one at a time; if that dies, the caller gets an error and the next call a
    new process.

    Functions, arguments and results are pickled, so that functions must be of a module's top level.

    Args:
        prepare: called once in each new process; what it returns is the first argument of every function. An error in
            it is raised by every call.
    """

    def __init__(self, prepare: Callable[[], Any]) -> None:
        self._prepare = prepare
        self._context = multiprocessing.get_context("spawn")  # a fork would take over locks of this one's threads
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Start a process, so that it is ready when it is needed; it loads while this one goes on."""
        self._stop = self._context.Event()
        self._connection, remote = self._context.Pipe()
        arguments = (remote, self._stop, self._prepare)
        process = self._context.Process(target=_serve, args=arguments, name="personatalk worker", daemon=True)
        process.start()
        self._process = process
        remote.close()

    def call(
        self,
        function: Callable[..., Result],
        *arguments: object,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
        **keywords: object,
    ) -> Result:
        """Call a function there and wait for its result.

        Args:
            function: called with what was prepared, `arguments`, `keywords`, `progress` and `should_stop`.
            arguments: of the function.
            progress: told of progress, here.
            should_stop: asked here; once it is true, the function's own `should_stop` is.
            keywords: of the function.

        Raises:
            WorkerDiedError: the process ended.
            CancelledError: it was asked to stop, and did not within STOP_S.
            Exception: whatever the function raised.
        """
        with self._lock:
            if self._process is None or not self._process.is_alive():
                self.start()
            self._stop.clear()
            try:
                self._connection.send((function, arguments, keywords))
                kind, value = self._wait_for_result(progress, should_stop)
            except (EOFError, OSError) as error:
                raise self._obituary() from error
        if kind == "error":
            raise value
        return value

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _wait_for_result(self, progress: Progress | None, should_stop: ShouldStop | None) -> tuple[str, Any]:
        deadline = float("inf")
        while True:
            while wait([self._connection], POLL_S):
                kind, value = self._connection.recv()
                if kind != "progress":
                    return kind, value
                if progress:
                    progress(*value)
            if should_stop and not self._stop.is_set() and should_stop():
                self._stop.set()
                deadline = time.monotonic() + STOP_S
            if time.monotonic() > deadline:
                self.close()
                raise CancelledError("stopped")

    def _obituary(self) -> WorkerDiedError:
        code = None
        if self._process is not None:
            self._process.join()
            code = self._process.exitcode
        self._process = None
        reason = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        logger.error("the worker process ended: %s", reason)
        return WorkerDiedError(
            f"The process that worked on these files ended ({reason}): a file is broken in a way that its decoder does "
            "not survive, or memory ran out; export the clip and the speech again, or use shorter ones."
        )


class PipelineWorker(Worker):
    """A pipeline in another process; it dubs as `DubbingPipeline` does.

    Args:
        prepare: loads the pipeline, there; for example `load_pipeline`.
    """

    def dub(
        self,
        video: Path,
        audio: Path | Mapping[int, Path],
        output: Path,
        options: DubbingOptions | None = None,
        *,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
        record: Observer | None = None,
        stretch: tuple[float, float] | None = None,
        stream: Path | None = None,
    ) -> DubbingResult:
        """Dub as `DubbingPipeline.dub`; `record` works there, and only what it writes is seen here.

        Raises:
            WorkerDiedError: the process ended.
            PersonaTalkError: as `DubbingPipeline.dub`.
        """
        asked: dict[str, Any] = {"options": options, "record": record, "stretch": stretch}
        if stream is not None:  # a pipeline of another kind need not know it
            asked["stream"] = stream
        return self.call(_dub, video, audio, output, progress=progress, should_stop=should_stop, **asked)


def _dub(pipeline: DubbingPipeline, *paths: Any, **keywords: Any) -> DubbingResult:
    return pipeline.dub(*paths, **keywords)


def _serve(connection: Connection, stop: Any, prepare: Callable[[], Any]) -> None:
    """Answer calls until the other process closes the connection or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # sent to both; the other one decides
    prepared, failure = None, None
    try:
        prepared = prepare()
    except Exception as error:  # every caller gets it, instead of a process that is gone
        logger.debug("nothing could be prepared", exc_info=True)
        failure = error

    def progress(done: float, message: str) -> None:
        connection.send(("progress", (done, message)))

    while True:
        try:
            function, arguments, keywords = connection.recv()
        except EOFError:
            return
        try:
            if failure is not None:
                raise failure
            answer = "done", function(prepared, *arguments, **keywords, progress=progress, should_stop=stop.is_set)
        except Exception as error:  # any error belongs to the caller
            logger.debug("an error goes to the caller", exc_info=True)
            answer = "error", error
        try:
            connection.send(answer)
        except (TypeError, AttributeError) as error:  # it cannot be pickled
            connection.send(("error", RuntimeError(f"{function.__name__}: {answer[1]!r} cannot be sent: {error}")))
