"""Research panel: the reference frames, why they were selected, and what other strategies would select."""

from __future__ import annotations

from typing import Any

import gradio as gr

from personatalk.inspection.references import (
    compare_strategies,
    reference_gallery,
    reference_timeline,
    strategy_picture,
)
from personatalk.webapp import strings
from personatalk.webapp.panels import Panel, PanelContext, add_gallery, add_panel, add_picture, as_table

OWN = strings.REFERENCES_OWN[1]


def add_references() -> Panel:
    """Lay the panel out."""
    with add_panel(strings.REFERENCES_LABEL, "references") as accordion:
        gr.Markdown(strings.REFERENCES_NOTE)
        strategy = gr.Dropdown(
            [strings.REFERENCES_OWN, *strings.STRATEGIES],
            value=OWN,
            label=strings.REFERENCES_STRATEGY,
            elem_id="shown-strategy",
        )
        lip = add_gallery(strings.REFERENCES_LIP, "lip-references", 3)
        face = add_gallery(strings.REFERENCES_FACE, "face-references", 3)
        timeline = add_picture(strings.REFERENCES_TIMELINE, "references-timeline")
        compared = add_picture(strings.REFERENCES_COMPARED, "strategies")
        table = gr.HTML(elem_id="strategies-table")
    return Panel(accordion=accordion, settings=[strategy], whole=[lip, face, timeline, compared, table], fill=_fill)


def _fill(context: PanelContext, strategy: str) -> list[Any]:
    inspection, chosen = context.inspection, None if strategy == OWN else strategy
    return [
        context.gallery(f"lip_{strategy}", lambda: reference_gallery(inspection, "lip", chosen)),
        context.gallery("face", lambda: reference_gallery(inspection, "face")),
        context.picture("references", lambda: reference_timeline(inspection)),
        context.picture("strategies", lambda: strategy_picture(inspection)),
        as_table(compare_strategies(inspection), strings.REFERENCES_TABLE, without="chooses"),
    ]
