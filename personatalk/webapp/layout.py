"""The layout of the whole page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

from personatalk.webapp import strings
from personatalk.webapp.endpoints import add_endpoints
from personatalk.webapp.example_buttons import add_example_buttons, connect_examples
from personatalk.webapp.examples import ExampleCache
from personatalk.webapp.gpu import lends_gpu
from personatalk.webapp.input_form import add_input_form, connect_input_form
from personatalk.webapp.jobs import Workplace, in_this_process
from personatalk.webapp.languages import on_page
from personatalk.webapp.limits import Limits
from personatalk.webapp.panel_attention import add_attention
from personatalk.webapp.panel_figures import add_figures
from personatalk.webapp.panel_geometry import add_geometry
from personatalk.webapp.panel_references import add_references
from personatalk.webapp.panel_style import add_style
from personatalk.webapp.run_controls import add_run_controls, connect_runs
from personatalk.webapp.service import DubbingService
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.streams import StreamingPage
from personatalk.webapp.text_to_speech import Voice
from personatalk.webapp.time_estimate import TimeEstimator
from personatalk.webapp.workspace import add_workspace, connect_workspace

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingPipeline

SWEEP_S = 60  # how often Gradio removes old files
KEEP_MARGIN_S = 120  # files are removed by so much before the limit, so that no sweep comes late


def build_demo(
    pipeline: DubbingPipeline | tuple[Workplace, Workplace],
    *,
    cache: Path | None = None,
    limits: Limits | None = None,
    voice: Voice | None = None,
    warm: bool = False,
) -> gr.Blocks:
    """Lay the page out.

    Args:
        pipeline: that dubs, in this process; or where dubs are made and where files are looked at.
        cache: folder that outlives the process, for finished examples and the time that dubs take; without it both
            are lost at its end.
        limits: of what is accepted.
        voice: speaks what a visitor types; without it there is no box for text.
        warm: make the examples now, in the background; not where a GPU is lent, which is only done for visitors.
    """
    limits = limits or Limits()
    keep_s = limits.keep_s - KEEP_MARGIN_S
    sessions = Sessions(Path(get_upload_folder()), keep_s)
    sessions.sweep_forever()
    cache = cache or sessions.kept
    places = pipeline if isinstance(pipeline, tuple) else in_this_process(pipeline)
    service = DubbingService(*places, sessions, limits, TimeEstimator(cache / "speed.json"))
    examples = ExampleCache(service, cache / "examples")
    options: dict[str, Any] = {"delete_cache": (SWEEP_S, keep_s), "analytics_enabled": False, "fill_width": True}
    with StreamingPage(service.streams, title=strings.TITLE, **options) as demo:
        with gr.Row(elem_id="page"):
            with gr.Row(elem_id="sides"):  # on a phone; the page's script shows one of both
                gr.Button(on_page(strings.STEPS_LABEL), elem_id="show-steps", min_width=80)
                gr.Button(on_page(strings.RESULT_LABEL), elem_id="show-result", min_width=80)
            with gr.Column(scale=4, min_width=300, elem_id="steps"):
                gr.Markdown(on_page(strings.INTRO), elem_id="intro")
                buttons = add_example_buttons(sessions.kept)
                form = add_input_form(limits, voice)
                controls = add_run_controls()
                gr.Markdown(on_page(strings.FOOTER), elem_id="footer")
            with gr.Column(scale=9, min_width=300, elem_id="workspace"):
                workspace = add_workspace([add_geometry, add_style, add_references, add_attention, add_figures])
        result = workspace.result
        connect_input_form(form, service, result.outcome)
        connect_examples(buttons, form, result, examples)
        connect_runs(form, controls, result, service)
        connect_workspace(workspace)
        add_endpoints(form, service)
        demo.unload(_ending(sessions))
    if warm and not lends_gpu():
        examples.warm()
    return demo


def _ending(sessions: Sessions) -> Callable[[gr.Request], None]:
    def end(request: gr.Request) -> None:
        sessions.end(str(request.session_hash))

    return end
