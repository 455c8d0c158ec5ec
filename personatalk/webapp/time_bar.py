"""The bar above the tabs: play, one frame back or on, a slider over all frames, a loop."""

from __future__ import annotations

import html
import json
from typing import Any

import gradio as gr

from personatalk.webapp import strings
from personatalk.webapp.jobs import Outcome

EMPTY: dict[str, Any] = {"run": None, "frames": 0, "fps": 25.0, "frame": 0, "example": None}
TEXTS = {"play": strings.PLAY, "pause": strings.PAUSE, "place": strings.PLACE, "empty": strings.NO_FRAMES}
TEMPLATE = f"""
<div class="time-bar" role="group" aria-label="{strings.TIME_BAR}" data-texts="{html.escape(json.dumps(TEXTS))}">
  <button type="button" class="play" aria-label="{strings.PLAY}" disabled></button>
  <button type="button" class="back" aria-label="{strings.FRAME_BACK}" disabled>‹</button>
  <span class="track">
    <span class="stretch" style="display: none"></span>
    <input type="range" min="0" max="1" step="1" value="0" aria-label="{strings.TIME_LABEL}" disabled>
  </span>
  <button type="button" class="on" aria-label="{strings.FRAME_ON}" disabled>›</button>
  <output>{strings.NO_FRAMES}</output>
  <button type="button" class="loop" aria-pressed="false" title="{strings.LOOP_HELP}" disabled>{strings.LOOP}</button>
</div>
"""
JS = "window.player.mountBar(element, props, (name) => trigger(name || 'input'), watch);"


def add_time_bar() -> gr.HTML:
    """Add the bar; its value is a dictionary as EMPTY, and its event `input` tells of another frame."""
    return gr.HTML(EMPTY, html_template=TEMPLATE, js_on_load=JS, elem_id="time-bar")


def bar_of(outcome: Outcome | None) -> dict[str, Any]:
    """The bar's value for a result: its middle frame, until the page knows better.

    Each run has a value of its own: the page's script is told of values that differ from the last one only.
    """
    if outcome is None:
        return EMPTY
    frames = outcome.num_frames
    return {
        "run": outcome.folder.name,
        "frames": frames,
        "fps": outcome.fps,
        "frame": frames // 2,
        "example": outcome.example,
    }
