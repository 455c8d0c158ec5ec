"""Research panel: what each stage took, and figures of merit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from personatalk.inspection.figures import figures, stage_table
from personatalk.page import strings
from personatalk.page.panels import Look, Panel, as_table


def add_stages() -> Panel:
    """Lay the panel out."""
    with gr.Tab(strings.STAGES_TAB) as tab:
        stages = gr.Dataframe(label=strings.STAGES_TABLE, interactive=False, wrap=True, elem_id="stages")
        merits = gr.Dataframe(label=strings.FIGURES_TABLE, interactive=False, wrap=True, elem_id="figures")
    return Panel(tab=tab, whole=[stages, merits], fill=_fill)


def _fill(look: Look) -> list[Any]:
    return [
        as_table(stage_table(look.inspection)),
        as_table([asdict(figure) for figure in figures(look.inspection)]),
    ]
