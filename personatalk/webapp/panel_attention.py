"""Research panels of the attention: its weights, and where in which reference each pixel was sampled."""

from __future__ import annotations

from typing import Any

import gradio as gr

from personatalk.inspection.attention import (
    attention_colours,
    attention_gallery,
    trace_pixel,
)
from personatalk.inspection.prior import prior_pictures
from personatalk.inspection.recording import PICTURE_HEIGHT, PICTURE_WIDTH
from personatalk.webapp import strings
from personatalk.webapp.charts import add_chart, attention_chart
from personatalk.webapp.languages import choices_on_page, on_page
from personatalk.webapp.panels import Group, Panel, PanelContext, add_gallery, add_group, add_panel, add_picture

START_X, START_Y = PICTURE_WIDTH // 2, round(0.62 * PICTURE_HEIGHT)  # about the lips
COLUMNS = 6


def add_attention() -> Group:
    """Lay the panels out."""
    with add_group(strings.ATTENTION_LABEL, "attention") as tab, gr.Tabs(elem_id="attention-tabs"):
        panels = [
            _add_trace(),
            _add_layer("lip", strings.LIP_LABEL, strings.ATTENTION_LIP),
            _add_layer("face", strings.FACE_LABEL, strings.ATTENTION_FACE),
            _add_prior(),
            _add_over_time(),
        ]
    return Group(tab=tab, panels=panels)


def _add_trace() -> Panel:
    with add_panel(strings.TRACE_LABEL, "trace") as tab, gr.Row():
        with gr.Column(min_width=300):
            colours = add_picture(strings.ATTENTION_COLOURS, "attention-colours")
        with gr.Column(min_width=300):
            kind = gr.Radio(
                choices_on_page(strings.ATTENTION_KINDS),
                value="both",
                label=on_page(strings.ATTENTION_KIND),
                elem_id="attention-kind",
            )
            with gr.Row(elem_id="attention-pixel"):  # set by a click, or typed
                x, y = (
                    gr.Number(start, label=on_page(label), minimum=0, maximum=largest, min_width=100, elem_id=elem_id)
                    for start, label, largest, elem_id in (
                        (START_X, strings.ATTENTION_X, PICTURE_WIDTH, "attention-x"),
                        (START_Y, strings.ATTENTION_Y, PICTURE_HEIGHT, "attention-y"),
                    )
                )
            trace = add_gallery(strings.ATTENTION_TRACE, "attention-trace", 3)
    colours.select(_clicked, None, [x, y], api_visibility="private", show_progress="hidden")
    return Panel(tab=tab, settings=[kind, x, y], moment=[colours, trace], move=_move_trace)


def _clicked(event: gr.SelectData) -> tuple[int, int]:
    return int(event.index[0]), int(event.index[1])


def _move_trace(context: PanelContext, kind: str, x: float, y: float) -> list[Any]:
    inspection, t, x, y = context.inspection, context.t, int(x), int(y)
    return [
        context.picture(f"colours_{kind}_{t}", lambda: attention_colours(inspection, t, kind)),
        context.gallery(f"trace_{kind}_{t}_{x}_{y}", lambda: trace_pixel(inspection, t, x + 0.5, y + 0.5, kind)),
    ]


def _add_layer(kind: str, label: str, heading: str) -> Panel:
    with add_panel(label, f"attention-{kind}") as tab:
        weights = add_gallery(heading, f"{kind}-weights", COLUMNS)

    def move(context: PanelContext) -> list[Any]:
        t = context.t
        return [context.gallery(f"weights_{kind}_{t}", lambda: attention_gallery(context.inspection, t, kind))]

    return Panel(tab=tab, moment=[weights], move=move)


def _add_prior() -> Panel:
    with add_panel(strings.PRIOR_LABEL, "prior") as tab:
        pictures = add_gallery(strings.ATTENTION_PRIOR, "attention-prior", 4)

    def move(context: PanelContext) -> list[Any]:
        return [context.gallery(f"prior_{context.t}", lambda: prior_pictures(context.inspection, context.t))]

    return Panel(tab=tab, moment=[pictures], move=move)


def _add_over_time() -> Panel:
    with add_panel(strings.OVER_TIME_LABEL, "shares") as tab:
        over_time = add_chart(strings.ATTENTION_TIME, "attention-time")
    return Panel(tab=tab, whole=[over_time], fill=lambda context: [attention_chart(context.inspection)])
