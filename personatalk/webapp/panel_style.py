"""Research panels of the speaking style: lip aperture and mouth width over time, the clip among others, on the face."""

from __future__ import annotations

import gradio as gr

from personatalk.inspection.styles import style_on_face
from personatalk.webapp import strings
from personatalk.webapp.charts import add_chart, mouth_chart, style_chart
from personatalk.webapp.languages import on_page
from personatalk.webapp.panels import Group, Panel, add_group, add_panel, add_picture


def add_style() -> Group:
    """Lay the panels out."""
    with add_group(strings.STYLE_TAB, "style") as tab, gr.Tabs(elem_id="style-tabs"):
        return Group(tab=tab, panels=[_add_mouth(), _add_map(), _add_face()])


def _add_mouth() -> Panel:
    with add_panel(strings.MOUTH_LABEL, "mouth") as tab:
        curves = add_chart(strings.STYLE_CURVES, "style-curves")
    return Panel(tab=tab, whole=[curves], fill=lambda context: [mouth_chart(context.inspection)])


def _add_map() -> Panel:
    with add_panel(strings.MAP_LABEL, "speakers") as tab:
        gr.Markdown(on_page(strings.STYLE_NOTE))
        speakers = add_chart("", "style-map")
    return Panel(tab=tab, whole=[speakers], fill=lambda context: [style_chart(context.inspection)])


def _add_face() -> Panel:
    with add_panel(strings.ON_FACE_LABEL, "onface") as tab:
        face = add_picture(strings.STYLE_FACE, "style-face")
    return Panel(
        tab=tab,
        whole=[face],
        fill=lambda context: [context.picture("style_face", lambda: style_on_face(context.inspection))],
    )
