"""The buttons that show a shipped example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from personatalk.webapp import strings
from personatalk.webapp.examples import Example, ExampleCache, shipped_examples
from personatalk.webapp.input_form import InputForm, show_clip
from personatalk.webapp.languages import follow, on_page
from personatalk.webapp.messages import errors_as_messages, show_progress
from personatalk.webapp.result_view import ResultView, updates
from personatalk.webapp.run_controls import UNBOUNDED


def add_example_buttons(folder: Path) -> list[tuple[gr.Button, Example]]:
    """Offer the shipped examples; their thumbnails are written to a folder."""
    gr.Markdown(on_page(strings.EXAMPLES_HEADING), elem_id="examples-heading")
    with gr.Row(elem_id="examples"):
        return [(_example_button(example, folder), example) for example in shipped_examples()]


def _example_button(example: Example, folder: Path) -> gr.Button:
    return gr.Button(
        on_page(example.name), icon=example.thumbnail(folder), min_width=140, elem_id=f"example-{example.clip.stem}"
    )


def connect_examples(
    buttons: list[tuple[gr.Button, Example]], form: InputForm, result: ResultView, examples: ExampleCache
) -> None:
    """Make an example's button fill in steps 1 and 2 and show the result."""
    for button, example in buttons:
        button.click(
            _example_handler(example, examples),
            None,
            [form.clip, form.still, form.speech, *result.outputs],
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
        follow(request)
        with errors_as_messages():
            outcome, clip, speech = examples.outcome(example, str(request.session_hash), show_progress)
        return [*show_clip(clip), str(speech), *updates(outcome)]

    return show
