"""The buttons that start and stop a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from personatalk.errors import CancelledError
from personatalk.webapp import strings
from personatalk.webapp.input_form import InputForm
from personatalk.webapp.languages import follow, on_page, said
from personatalk.webapp.messages import explain, show_error, show_progress
from personatalk.webapp.result_view import NOTHING_GROWS, ResultView, updates
from personatalk.webapp.service import DubbingService, Outcome

UNBOUNDED: dict[str, Any] = {"concurrency_limit": None}  # the service's own queue lets one run at a time through
TOAST_S = 6
Values = dict[Component, Any]


@dataclass(frozen=True, kw_only=True)
class RunControls:
    """The buttons below the form, and the message below them."""

    preview: gr.Button
    dub: gr.Button
    stop: gr.Button
    status: gr.Markdown

    @property
    def outputs(self) -> list[Component]:
        """In the order of `_button_states`."""
        return [self.preview, self.dub, self.stop, self.status]


def add_run_controls() -> RunControls:
    """Lay the buttons out."""
    with gr.Row(elem_id="controls"):
        preview = gr.Button(on_page(strings.PREVIEW_BUTTON), elem_id="preview", scale=2, min_width=120)
        dub = gr.Button(on_page(strings.DUB_BUTTON), variant="primary", elem_id="dub", min_width=80)
        stop = gr.Button(on_page(strings.STOP_BUTTON), variant="stop", elem_id="stop", min_width=80, interactive=False)
    return RunControls(preview=preview, dub=dub, stop=stop, status=gr.Markdown("", elem_id="status"))


def connect_runs(form: InputForm, controls: RunControls, result: ResultView, service: DubbingService) -> None:
    """Make Preview, Dub and Stop work."""
    private: dict[str, Any] = {"api_visibility": "private"}
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden"} | private

    def begin(request: gr.Request) -> list[Any]:
        service.sessions.announce(str(request.session_hash))
        return [NOTHING_GROWS, *_button_states(running=True)]

    def fail(request: gr.Request) -> list[Any]:
        follow(request)
        return [NOTHING_GROWS, *_button_states(running=False, status=said(strings.FAILED))]

    async def watch(request: gr.Request) -> dict[str, Any]:
        return {"address": await service.streams.address(str(request.session_hash))}

    states = [result.growing, *controls.outputs]

    for button, run in ((controls.preview, service.preview), (controls.dub, service.dub)):
        start = button.click(begin, None, states, **quick)
        running = start.then(
            _run_handler(run, form, result, service),
            inputs=form.inputs | {result.outcome},
            outputs=[*result.outputs, *states],
            show_progress_on=[controls.status, result.after],
            scroll_to_output=True,
            **UNBOUNDED,
            **private,
        )
        running.failure(fail, None, states, **quick)
        if button is controls.dub:
            start.then(watch, None, result.growing, show_progress="hidden", **UNBOUNDED, **private)

    def show_stopping(request: gr.Request) -> list[Any]:
        follow(request)
        return [gr.Button(interactive=False), said(strings.STOPPING)]

    def ask_to_stop(request: gr.Request) -> None:
        service.sessions.stop(str(request.session_hash))

    # Show "Stopping" before the run is asked to stop, so that the run's own "Stopped" comes last.
    shown = controls.stop.click(show_stopping, None, [controls.stop, controls.status], **quick)
    shown.then(ask_to_stop, None, None, **quick)


def _button_states(*, running: bool, status: str = "") -> list[Any]:
    """States of Preview, Dub and Stop, and the message below them."""
    free = gr.Button(interactive=not running)
    return [free, free, gr.Button(interactive=running), status]


def _run_handler(
    run: Callable[..., Outcome], form: InputForm, result: ResultView, service: DubbingService
) -> Callable[..., list[Any]]:
    def start(
        values: Values,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> list[Any]:
        """Run, and show the result or what went wrong."""
        follow(request)
        session = str(request.session_hash)
        try:
            outcome = run(form.request(values), session, show_progress, record=True)
        except Exception as error:  # of any kind: the buttons must become usable again
            if isinstance(error, CancelledError):
                status = explain(error)
            else:
                status = strings.WARNING.format(text=show_error(error, TOAST_S))
            states = _button_states(running=False, status=status)
            return [*(gr.skip() for _ in result.outputs), NOTHING_GROWS, *states]
        if previous := values[result.outcome]:
            service.sessions.remove(session, previous.folder)
        # the growing video stays until the page's script has the finished one to put in its place
        return [*updates(outcome), gr.skip(), *_button_states(running=False)]

    return start
