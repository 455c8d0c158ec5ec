"""Research panel: the speaking style of this clip, and lip aperture and mouth width over time with the sound."""

from __future__ import annotations

from typing import Any

import gradio as gr

from personatalk.inspection.styles import aperture_picture, style_map_picture, style_on_face
from personatalk.webapp import strings
from personatalk.webapp.panels import Panel, PanelContext, add_panel, add_picture


def add_style() -> Panel:
    """Lay the panel out."""
    with add_panel(strings.STYLE_LABEL, "style") as accordion:
        gr.Markdown(strings.STYLE_NOTE)
        curves = add_picture(strings.STYLE_CURVES, "style-curves")
        speakers = add_picture(strings.STYLE_MAP, "style-map")
        face = add_picture(strings.STYLE_FACE, "style-face")
    return Panel(accordion=accordion, whole=[speakers, face], fill=_fill, moment=[curves], move=_move)


def _fill(context: PanelContext) -> list[Any]:
    return [
        context.picture("style_map", lambda: style_map_picture(context.inspection)),
        context.picture("style_face", lambda: style_on_face(context.inspection)),
    ]


def _move(context: PanelContext) -> list[Any]:
    return [context.picture(f"aperture_{context.t}", lambda: aperture_picture(context.inspection, context.t))]
