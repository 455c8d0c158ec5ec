"""Research panel: the speaking style of this clip, and the mouth over time against the sound."""

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


def _fill(look: PanelContext) -> list[Any]:
    return [
        look.picture("style_map", lambda: style_map_picture(look.inspection)),
        look.picture("style_face", lambda: style_on_face(look.inspection)),
    ]


def _move(look: PanelContext) -> list[Any]:
    return [look.picture(f"openness_{look.t}", lambda: aperture_picture(look.inspection, look.t))]
