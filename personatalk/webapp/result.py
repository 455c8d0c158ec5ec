"""The buttons that start and stop a run, and what the run leaves: two videos in step, a summary, downloads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from personatalk.errors import CancelledError, PersonaTalkError
from personatalk.webapp import strings
from personatalk.webapp.dubber import Dubber, Outcome
from personatalk.webapp.examples import Example, ExampleCache, shipped_examples
from personatalk.webapp.steps import Steps, plain_errors, show_progress, title_of
from personatalk.webapp.theme import PLAY

UNBOUNDED = {"concurrency_limit": None}  # `Dubber.line` lets one run at a time through, and bounds those that wait
TOAST_S = 6
logger = logging.getLogger(__name__)
Values = dict[gr.components.Component, Any]


@dataclass(frozen=True, kw_only=True)
class Controls:
    """The buttons below the steps."""

    preview: gr.Button
    dub: gr.Button
    stop: gr.Button
    status: gr.Markdown


@dataclass(frozen=True, kw_only=True)
class Result:
    """Where a run's outcome is shown.

    Attributes:
        outcome: State; the Outcome that is shown, or None.
    """

    outcome: gr.State
    before: gr.Video
    after: gr.Video
    summary: gr.Textbox
    video_file: gr.DownloadButton
    report_file: gr.DownloadButton

    @property
    def outputs(self) -> list[gr.components.Component]:
        """In the order of `updates`."""
        return [self.outcome, self.before, self.after, self.summary, self.video_file, self.report_file]


def updates(outcome: Outcome) -> list[Any]:
    """Show an outcome: new values of `Result.outputs`."""
    return [
        outcome,
        str(outcome.before),
        str(outcome.video),
        outcome.summary,
        gr.DownloadButton(value=str(outcome.video), interactive=True),
        gr.DownloadButton(value=str(outcome.report), interactive=True),
    ]


def add_example_buttons(folder: Path) -> list[tuple[gr.Button, Example]]:
    """Offer the shipped examples; their pictures are written to a folder."""
    gr.Markdown(strings.EXAMPLES_HEADING)
    with gr.Row(elem_id="examples"):
        return [(_example_button(example, folder), example) for example in shipped_examples()]


def _example_button(example: Example, folder: Path) -> gr.Button:
    return gr.Button(
        example.name, icon=example.picture(folder), min_width=140, elem_id=f"example-{example.clip.stem}"
    )  # fmt: skip


def add_controls() -> Controls:
    """Add the buttons below the steps."""
    with gr.Row(elem_id="controls"):
        preview = gr.Button(strings.PREVIEW_BUTTON, elem_id="preview", scale=2, min_width=190)
        dub = gr.Button(strings.DUB_BUTTON, variant="primary", elem_id="dub", min_width=80)
        stop = gr.Button(strings.STOP_BUTTON, variant="stop", elem_id="stop", min_width=80, interactive=False)
    return Controls(preview=preview, dub=dub, stop=stop, status=gr.Markdown("", elem_id="status"))


def add_result() -> Result:
    """Add where the outcome is shown."""
    with gr.Row(elem_id="pair"):
        before = gr.Video(label=strings.BEFORE_LABEL, interactive=False, elem_id="before", buttons=[])
        after = gr.Video(label=strings.AFTER_LABEL, interactive=False, elem_id="result", buttons=[])
    gr.Button(strings.PLAY_BUTTON, size="sm", elem_id="play").click(None, js=PLAY, api_visibility="private")
    summary = gr.Textbox(
        label=strings.SUMMARY_LABEL, interactive=False, lines=2, elem_id="summary", placeholder=strings.NO_RESULT
    )  # fmt: skip
    with gr.Row():
        video_file = gr.DownloadButton(strings.DOWNLOAD_VIDEO, interactive=False, elem_id="video-file", min_width=160)
        report_file = gr.DownloadButton(
            strings.DOWNLOAD_REPORT, interactive=False, elem_id="report-file", min_width=160
        )  # fmt: skip
    return Result(
        outcome=gr.State(None), before=before, after=after, summary=summary,
        video_file=video_file, report_file=report_file,
    )  # fmt: skip


def connect_runs(steps: Steps, controls: Controls, result: Result, dubber: Dubber) -> None:
    """Make Preview, Dub and Stop work."""
    busy = [controls.preview, controls.dub, controls.stop, controls.status]
    private = {"api_visibility": "private"}
    quick = {"queue": False, "show_progress": "hidden"} | private

    def begin(request: gr.Request) -> list[Any]:
        dubber.sessions.announce(str(request.session_hash))
        return _buttons(running=True)

    for button, run in ((controls.preview, dubber.preview), (controls.dub, dubber.dub)):
        start = button.click(begin, None, busy, **quick)
        running = start.then(
            _run_handler(run, steps, result, dubber),
            inputs=steps.inputs | {result.outcome},
            outputs=[*result.outputs, *busy],
            show_progress_on=[controls.status, result.after],
            scroll_to_output=True,
            **UNBOUNDED,
            **private,
        )
        running.failure(lambda: _buttons(running=False, status=strings.FAILED), None, busy, **quick)

    def ask_to_stop(request: gr.Request) -> None:
        dubber.sessions.stop(str(request.session_hash))

    # first what is seen, then the asking: the run says itself that it stopped, and must have the last word
    seen = controls.stop.click(
        lambda: [gr.Button(interactive=False), strings.STOPPING], None, [controls.stop, controls.status], **quick
    )
    seen.then(ask_to_stop, None, None, **quick)


def _buttons(*, running: bool, status: str = "") -> list[Any]:
    """States of Preview, Dub, Stop and of the line below them."""
    free = gr.Button(interactive=not running)
    return [free, free, gr.Button(interactive=running), status]


def _run_handler(run: Callable[..., Outcome], steps: Steps, result: Result, dubber: Dubber) -> Callable[..., list[Any]]:
    def start(
        values: Values,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> list[Any]:
        """Run, and show the result or what went wrong."""
        session = str(request.session_hash)
        try:
            outcome = run(steps.request(values), session, show_progress, record=True)
        except Exception as error:  # all end here, so that the buttons come back
            message = explain(error)
            if isinstance(error, CancelledError):
                return [gr.skip() for _ in result.outputs] + _buttons(running=False, status=message)
            gr.Warning(message, title=title_of(error), duration=TOAST_S)
            return [gr.skip() for _ in result.outputs] + _buttons(running=False, status=f"⚠️ {message}")
        if previous := values[result.outcome]:
            dubber.sessions.remove(session, previous.folder)
        return updates(outcome) + _buttons(running=False)

    return start


def explain(error: Exception) -> str:
    """Say an error in a visitor's words; what only a programmer can mend goes to the log."""
    if isinstance(error, CancelledError):
        return strings.STOPPED
    if isinstance(error, PersonaTalkError):
        return str(error)
    logger.error("a run failed", exc_info=error)
    return strings.FAILED


def connect_examples(
    buttons: list[tuple[gr.Button, Example]], steps: Steps, result: Result, examples: ExampleCache
) -> None:
    """Make an example's button fill the steps in and show the result."""
    for button, example in buttons:
        button.click(
            _example_handler(example, examples),
            None,
            [steps.clip, steps.speech, *result.outputs],
            show_progress_on=[result.after],
            scroll_to_output=True,
            api_visibility="private",
            **UNBOUNDED,
        )


def _example_handler(example: Example, examples: ExampleCache) -> Callable[..., list[Any]]:
    def show(
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (tells Gradio that progress is shown)
    ) -> list[Any]:
        with plain_errors():
            outcome, speech = examples.outcome(example, str(request.session_hash), show_progress)
        return [str(outcome.before), str(speech), *updates(outcome)]

    return show
