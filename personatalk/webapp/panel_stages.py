"""Research panel: time and memory of each stage, and figures of merit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from personatalk.inspection.figures import figures, seen_figures, stage_table
from personatalk.webapp import strings
from personatalk.webapp.panels import Action, Panel, PanelContext, add_panel, as_table


def add_stages() -> Panel:
    """Lay the panel out."""
    with add_panel(strings.STAGES_LABEL, "stages") as accordion:
        stages = gr.HTML(elem_id="stage-table")
        merits = gr.HTML(elem_id="figures")
        button = gr.Button(strings.SEEN_BUTTON, size="sm", elem_id="measure-dub")
        seen = gr.HTML(elem_id="seen-figures")
    actions: list[Action] = [(button.click, _measure_dub, [seen])]
    return Panel(accordion=accordion, whole=[stages, merits, seen], fill=_fill, actions=actions)


def _fill(context: PanelContext) -> list[Any]:
    return [
        as_table([_readable_stage(row) for row in stage_table(context.inspection)], strings.STAGES_TABLE),
        as_table([asdict(figure) for figure in figures(context.inspection)], strings.FIGURES_TABLE),
        "",
    ]


def _readable_stage(row: dict[str, Any]) -> dict[str, Any]:
    times = f"{row['seconds']:.2f}", f"{row['share']:.0%}", f"{row['ms_per_frame']:.1f}"
    texts = (row["stage"], *times, row["peak_memory_mb"])
    return dict(zip(strings.STAGES_COLUMNS, texts, strict=True))


def _measure_dub(context: PanelContext) -> list[Any]:
    return [
        as_table([asdict(figure) for figure in seen_figures(context.inspection, context.video)], strings.SEEN_TABLE)
    ]
