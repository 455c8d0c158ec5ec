"""Research panel: the attention weights, and where in which reference each pixel was sampled."""

from __future__ import annotations

from typing import Any

import gradio as gr

from personatalk.inspection.attention import (
    attention_colours,
    attention_over_time_picture,
    attention_picture,
    trace_pixel,
)
from personatalk.inspection.prior import prior_picture
from personatalk.inspection.recording import PICTURE_HEIGHT, PICTURE_WIDTH
from personatalk.webapp import strings
from personatalk.webapp.panels import Panel, PanelContext, add_gallery, add_panel, add_picture

START_X, START_Y = PICTURE_WIDTH // 2, round(0.62 * PICTURE_HEIGHT)  # about the lips


def add_attention() -> Panel:
    """Lay the panel out."""
    with add_panel(strings.ATTENTION_LABEL, "attention") as accordion:
        kind = gr.Radio(strings.ATTENTION_KINDS, value="both", label=strings.ATTENTION_KIND, elem_id="attention-kind")
        colours = add_picture(strings.ATTENTION_COLOURS, "attention-colours")
        with gr.Row():  # set by a click, or typed
            x = gr.Number(START_X, label=strings.ATTENTION_X, minimum=0, maximum=PICTURE_WIDTH, elem_id="attention-x")
            y = gr.Number(START_Y, label=strings.ATTENTION_Y, minimum=0, maximum=PICTURE_HEIGHT, elem_id="attention-y")
        trace = add_gallery(strings.ATTENTION_TRACE, "attention-trace", 3)
        lip = add_picture(strings.ATTENTION_LIP, "attention-lip")
        face = add_picture(strings.ATTENTION_FACE, "attention-face")
        prior = add_picture(strings.ATTENTION_PRIOR, "attention-prior")
        over_time = add_picture(strings.ATTENTION_TIME, "attention-time")
    colours.select(_clicked, None, [x, y], api_visibility="private", show_progress="hidden")
    moment = [colours, trace, lip, face, prior, over_time]
    return Panel(accordion=accordion, settings=[kind, x, y], moment=moment, move=_move)


def _clicked(event: gr.SelectData) -> tuple[int, int]:
    return int(event.index[0]), int(event.index[1])


def _move(context: PanelContext, kind: str, x: float, y: float) -> list[Any]:
    inspection, t, x, y = context.inspection, context.t, int(x), int(y)
    return [
        context.picture(f"colours_{kind}_{t}", lambda: attention_colours(inspection, t, kind)),
        context.gallery(f"trace_{kind}_{t}_{x}_{y}", lambda: trace_pixel(inspection, t, x + 0.5, y + 0.5, kind)),
        context.picture(f"weights_lip_{t}", lambda: attention_picture(inspection, t, "lip")),
        context.picture(f"weights_face_{t}", lambda: attention_picture(inspection, t, "face")),
        context.picture(f"prior_{t}", lambda: prior_picture(inspection, t)),
        context.picture(f"attention_time_{t}", lambda: attention_over_time_picture(inspection, t)),
    ]
