"""Research panels of the reference frames: which, why, when in the clip, and what other strategies would select."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from personatalk.face_rendering.reference_selection import MIN_GAP_S
from personatalk.inspection.references import (
    compare_strategies,
    reference_gallery,
)
from personatalk.webapp import strings
from personatalk.webapp.charts import add_chart, strategies_chart, timeline_chart
from personatalk.webapp.languages import choices_on_page, on_page, said
from personatalk.webapp.panels import (
    Group,
    Panel,
    PanelContext,
    add_group,
    add_headed_gallery,
    add_panel,
    as_table,
)

COLUMNS = 6


def add_references() -> Group:
    """Lay the panels out."""
    with add_group(strings.REFERENCES_LABEL, "references") as tab, gr.Tabs(elem_id="references-tabs"):
        return Group(tab=tab, panels=[_add_lips(), _add_face(), _add_timeline(), _add_strategies()])


def _add_lips() -> Panel:
    with add_panel(strings.LIPS_LABEL, "lips") as tab:
        gr.Markdown(on_page(strings.REFERENCES_NOTE))
        strategy = gr.Dropdown(
            choices_on_page(strings.SHOWN_STRATEGIES),
            value=strings.OWN,
            label=on_page(strings.REFERENCES_STRATEGY),
            elem_id="shown-strategy",
        )
        lip = add_headed_gallery(strings.REFERENCES_LIP, "lip-references", COLUMNS)
    return Panel(tab=tab, settings=[strategy], whole=[*lip], fill=_fill_lips)


def _fill_lips(context: PanelContext, strategy: str) -> list[Any]:
    chosen = None if strategy == strings.OWN else strategy
    shown = context.gallery(f"lip_{strategy}", lambda: reference_gallery(context.inspection, "lip", chosen))
    return [_counted(strings.REFERENCES_LIP_SHOWN, shown, context.inspection.lip_bank), shown]


def _counted(heading: str, shown: list[Any], bank: np.ndarray) -> str:
    return said(heading).format(shown=len(shown), total=len(bank), gap=MIN_GAP_S)


def _add_face() -> Panel:
    with add_panel(strings.FACE_LABEL, "skin") as tab:
        face = add_headed_gallery(strings.REFERENCES_FACE, "face-references", COLUMNS)
    return Panel(tab=tab, whole=[*face], fill=_fill_faces)


def _fill_faces(context: PanelContext) -> list[Any]:
    shown = context.gallery("face", lambda: reference_gallery(context.inspection, "face"))
    return [_counted(strings.REFERENCES_FACE_SHOWN, shown, context.inspection.face_bank), shown]


def _add_timeline() -> Panel:
    with add_panel(strings.TIMELINE_LABEL, "timeline") as tab:
        timeline = add_chart(strings.REFERENCES_TIMELINE, "references-timeline")
    return Panel(tab=tab, whole=[timeline], fill=lambda context: [timeline_chart(context.inspection)])


def _add_strategies() -> Panel:
    with add_panel(strings.STRATEGIES_LABEL, "strategies-panel") as tab:
        compared = add_chart(strings.REFERENCES_COMPARED, "strategies")
        table = gr.HTML(elem_id="strategies-table")
    return Panel(tab=tab, whole=[compared, table], fill=_fill_strategies)


def _fill_strategies(context: PanelContext) -> list[Any]:
    rows = compare_strategies(context.inspection)
    return [
        strategies_chart(context.inspection),
        as_table(rows, strings.REFERENCES_TABLE, without="chooses"),
    ]
