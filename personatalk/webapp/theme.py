"""Colours, style sheet and scripts of the page, which lie beside this module in `static`."""

from __future__ import annotations

import json
from pathlib import Path

from gradio.themes import Color, Soft

from personatalk.webapp import strings
from personatalk.webapp.languages import translations_of

STATIC = Path(__file__).parent / "static"

# Teal with darker middle tones than usual: text in it, or on it, has a contrast of at least 4.5 (WCAG 2 AA).
TEAL = Color(
    *("#f0fdfa", "#ccfbf1", "#99f6e4", "#5eead4", "#0f766e", "#0f766e", "#0f766e", "#115e59", "#134e4a", "#114440"),
    "#042f2e",
    name="teal",
)
THEME = Soft(primary_hue=TEAL, font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
    body_text_color_subdued="*neutral_500",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    checkbox_label_text_color_selected_dark="white",
)
CSS = (STATIC / "page.css").read_text()
PICTURE_NAMES = {
    "still": strings.STILL_LABEL,
    "face-picture": strings.FACES_PICTURE,
    "style-face": strings.STYLE_FACE,
    "attention-colours": strings.ATTENTION_COLOURS,
}
# What templates and scripts say; all else is translated by Gradio, or on the server.
BROWSER_TEXTS = [
    *(strings.TIME_BAR, strings.TIME_LABEL, strings.PLAY, strings.PAUSE, strings.FRAME_BACK, strings.FRAME_ON),
    *(strings.LOOP, strings.LOOP_HELP, strings.PLACE, strings.NO_FRAMES, strings.CHART_HELP),
    *(strings.WIPE_LABEL, strings.BEFORE_LABEL, strings.AFTER_LABEL, strings.NO_MOUTH, *PICTURE_NAMES.values()),
    strings.GROWING,
]
# Not in the style sheet, whose rules Gradio lets begin below the document.
OUTER_STYLE = """
  #webgl-missing, #webgl-software {display: none}
  .webgl-missing #webgl-missing, .webgl-software #webgl-software {display: block}
  @media (max-width: 780px) {
    .gradio-container.gradio-container.gradio-container {padding: 8px !important}
    .gradio-container > .main.main {padding: 0}
  }
"""


def _script(name: str, **values: object) -> str:
    text = (STATIC / name).read_text()
    for key, value in values.items():
        text = text.replace(key, json.dumps(value))
    return f"<script>(() => {{{text}}})();</script>"


SCRIPTS = [
    _script("texts.js", TEXTS=translations_of(BROWSER_TEXTS)),
    _script("names.js", NAMES=PICTURE_NAMES),
    _script("player.js"),
    _script("charts.js"),
    _script("compare.js"),
    _script("growing.js"),
    _script("webgl.js"),
    _script("sides.js"),
    _script("folds.js"),
]
HEAD = "".join(SCRIPTS) + f"<style>{OUTER_STYLE}</style>"
