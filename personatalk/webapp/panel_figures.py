"""Research panels of the run: a picture of each stage, time and memory, figures of merit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr
import numpy as np

from personatalk.inspection.attention import attention_colours
from personatalk.inspection.figures import figures, seen_figures, stage_table
from personatalk.inspection.geometry import geometry_pictures
from personatalk.inspection.prior import prior_pictures
from personatalk.inspection.recording import PICTURE_HEIGHT, Inspection
from personatalk.webapp import strings
from personatalk.webapp.languages import on_page
from personatalk.webapp.panels import Action, Group, Panel, PanelContext, add_gallery, add_group, add_panel, as_table


def add_figures() -> Group:
    """Lay the panels out."""
    with add_group(strings.FIGURES_LABEL, "figures") as tab, gr.Tabs(elem_id="figures-tabs"):
        return Group(tab=tab, panels=[_add_pictures(), _add_stages(), _add_merits()])


def _add_pictures() -> Panel:
    with add_panel(strings.PICTURES_LABEL, "pictures") as tab:
        pictures = add_gallery(strings.STAGE_PICTURES, "stage-pictures", 4)

    def move(context: PanelContext) -> list[Any]:
        return [context.gallery(f"stages_{context.t}", lambda: stage_pictures(context.inspection, context.t))]

    return Panel(tab=tab, moment=[pictures], move=move)


def stage_pictures(inspection: Inspection, t: int) -> list[tuple[np.ndarray, str]]:
    """What each stage made of the frame at t: pictures with captions, in the order of the stages."""
    _, estimated, driven, dub = geometry_pictures(inspection, t)
    source = inspection.portrait(t, "source"), strings.STAGE_SOURCE
    attention = attention_colours(inspection, t)[:PICTURE_HEIGHT], strings.STAGE_ATTENTION
    predicted = [(picture, strings.STAGE_PRIOR) for picture, _ in prior_pictures(inspection, t)[1:-2]]
    named = ((estimated[0], strings.STAGE_FIT), (driven[0], strings.STAGE_DRIVEN))
    return [source, *named, *predicted, attention, (dub[0], strings.STAGE_DUB)]


def _add_stages() -> Panel:
    with add_panel(strings.STAGES_LABEL, "stages") as tab:
        stages = gr.HTML(elem_id="stage-table")
    return Panel(tab=tab, whole=[stages], fill=_fill_stages)


def _fill_stages(context: PanelContext) -> list[Any]:
    return [as_table([_readable_stage(row) for row in stage_table(context.inspection)], strings.STAGES_TABLE)]


def _readable_stage(row: dict[str, Any]) -> dict[str, Any]:
    times = f"{row['seconds']:.2f}", f"{row['share']:.0%}", f"{row['ms_per_frame']:.1f}"
    return dict(zip(row, (row["stage"], *times, row["peak_memory_mb"]), strict=True))


def _add_merits() -> Panel:
    with add_panel(strings.MERITS_LABEL, "merits") as tab:
        merits = gr.HTML(elem_id="merit-table")
        button = gr.Button(on_page(strings.SEEN_BUTTON), size="sm", elem_id="measure-dub")
        seen = gr.HTML(elem_id="seen-figures")
    actions: list[Action] = [(button.click, _measure_dub, [seen])]
    return Panel(tab=tab, whole=[merits, seen], fill=_fill_merits, actions=actions)


def _fill_merits(context: PanelContext) -> list[Any]:
    return [as_table([asdict(figure) for figure in figures(context.inspection)], strings.FIGURES_TABLE), ""]


def _measure_dub(context: PanelContext) -> list[Any]:
    return [
        as_table([asdict(figure) for figure in seen_figures(context.inspection, context.video)], strings.SEEN_TABLE)
    ]
