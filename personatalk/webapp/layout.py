"""The whole page around a loaded pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.utils import get_upload_folder

from personatalk.webapp import strings
from personatalk.webapp.dubber import Dubber
from personatalk.webapp.endpoints import add_endpoints
from personatalk.webapp.examples import ExampleCache
from personatalk.webapp.limits import Limits
from personatalk.webapp.panel_attention import add_attention
from personatalk.webapp.panel_geometry import add_geometry
from personatalk.webapp.panel_references import add_references
from personatalk.webapp.panel_stages import add_stages
from personatalk.webapp.panel_style import add_style
from personatalk.webapp.panels import add_inside, connect_inside
from personatalk.webapp.result import add_controls, add_example_buttons, add_result, connect_examples, connect_runs
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.speed import SpeedRecord
from personatalk.webapp.steps import add_steps, connect_steps

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingPipeline

SWEEP_S, KEEP_MARGIN_S = 60, 120  # how often old files are looked for, and how much earlier they are taken as old


def build_demo(
    pipeline: DubbingPipeline, *, cache: Path | None = None, limits: Limits | None = None, warm: bool = False
) -> gr.Blocks:
    """Lay the page out around a loaded pipeline.

    Args:
        pipeline: that dubs.
        cache: folder that outlives the process, for finished examples and the measured speed; without it both are
            forgotten at the end.
        limits: of what is accepted.
        warm: make the examples now, from a thread of its own.
    """
    limits = limits or Limits()
    keep_s = limits.keep_s - KEEP_MARGIN_S
    sessions = Sessions(Path(get_upload_folder()), keep_s)
    sessions.sweep_forever()
    cache = cache or sessions.kept
    dubber = Dubber(pipeline, sessions, limits, SpeedRecord(cache / "speed.json"))
    examples = ExampleCache(dubber, cache / "examples")
    with gr.Blocks(title=strings.TITLE, delete_cache=(SWEEP_S, keep_s), analytics_enabled=False) as demo:
        gr.Markdown(strings.INTRO)
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                buttons = add_example_buttons(sessions.kept)
                steps = add_steps(limits)
                controls = add_controls()
            with gr.Column(scale=5, min_width=300):
                result = add_result()
                inside = add_inside([add_geometry, add_style, add_references, add_attention, add_stages])
        gr.Markdown(strings.FOOTER)
        connect_steps(steps, dubber)
        connect_examples(buttons, steps, result, examples)
        connect_runs(steps, controls, result, dubber)
        connect_inside(inside, result.outcome)
        add_endpoints(steps, dubber)
        demo.unload(_ending(sessions))
    if warm:
        examples.warm()
    return demo


def _ending(sessions: Sessions) -> Callable[[gr.Request], None]:
    def end(request: gr.Request) -> None:
        sessions.end(str(request.session_hash))

    return end
