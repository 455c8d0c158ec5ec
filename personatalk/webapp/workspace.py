"""The right side of the page: a time bar, and below it tabs with the result and the research panels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gradio as gr
from gradio.components import Component

from personatalk.inspection.geometry import mouth_places
from personatalk.webapp import strings
from personatalk.webapp.charts import mouth_chart
from personatalk.webapp.files import RECORDING
from personatalk.webapp.jobs import Outcome
from personatalk.webapp.languages import follow, on_page
from personatalk.webapp.messages import errors_as_messages, show_error
from personatalk.webapp.panels import Group, Panel, PanelContext, Recordings
from personatalk.webapp.result_view import ResultView, add_result_view
from personatalk.webapp.service import GoneError
from personatalk.webapp.time_bar import EMPTY, add_time_bar, bar_of

QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
PANELS: dict[str, Any] = {"concurrency_id": "panels", "concurrency_limit": 2}  # all visitors together
RESULT = "result"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The bar, and the tabs: first the result, then groups of research panels."""

    bar: gr.HTML
    result: ResultView
    groups: list[Group]  # the result is the first

    @property
    def panels(self) -> list[Panel]:
        """Of all groups."""
        return [panel for group in self.groups for panel in group.panels]


def add_workspace(makers: list[Callable[[], Group]]) -> Workspace:
    """Lay the workspace out."""
    bar = add_time_bar()
    with gr.Tabs(elem_id="tabs"):
        with gr.Tab(on_page(strings.RESULT_LABEL), id=RESULT, elem_id="result-tab") as tab:
            result = add_result_view()
        panel = Panel(tab=tab, whole=[result.chart], fill=_speech_chart)
        groups = [Group(tab=tab, panels=[panel]), *(make() for make in makers)]
    return Workspace(bar=bar, result=result, groups=groups)


def _speech_chart(context: PanelContext) -> list[Any]:
    return [mouth_chart(context.inspection, has_width=False)]


def connect_workspace(workspace: Workspace) -> None:
    """Fill a panel when it is opened, when a new result comes, and when the bar moves."""
    recordings, panels = Recordings(), workspace.panels
    opened = gr.State(RESULT)  # name of the panel that is seen
    seen_first = gr.State({group.name: group.panels[0].name for group in workspace.groups})
    _connect_tabs(workspace, opened, seen_first)
    shown_run = [workspace.result.outcome, workspace.result.person, workspace.bar]
    inputs = [*shown_run, opened, *(each for panel in panels for each in panel.settings)]
    shown = [each for panel in panels for each in panel.outputs]
    show = _for_the_opened(recordings, panels, lambda panel: panel.show, lambda panel: panel.outputs)
    filling: dict[str, Any] = {"show_progress": "minimal", "trigger_mode": "always_last"} | PRIVATE | PANELS
    renewed = workspace.result.outcome.change(bar_of, workspace.result.outcome, workspace.bar, **QUICK)
    renewed.then(show, inputs, shown, **filling)
    taken = [workspace.result.outcome, workspace.result.person, workspace.result.view]
    find_mouth = _mouth_finder(recordings)
    gr.on(
        [workspace.result.outcome.change, workspace.result.person.input, workspace.result.view.change],
        find_mouth,
        taken,
        workspace.result.compare,
        **QUICK,
    )
    settings = [cast(Any, setting).change for panel in panels for setting in panel.settings]
    gr.on([opened.change, workspace.result.person.input, *settings], show, inputs, shown, **filling)
    moved = [each for panel in panels for each in panel.moment]
    move = _for_the_opened(recordings, panels, lambda panel: panel.move, lambda panel: panel.moment)
    following: dict[str, Any] = filling | {"show_progress": "hidden"}
    cast(Any, workspace.bar).input(move, inputs, moved, **following)
    for panel in panels:
        for event, act, outputs in panel.actions:
            taken = [*shown_run, *panel.settings]
            event(_guarded(recordings, act, len(outputs)), taken, outputs, show_progress="full", **PRIVATE | PANELS)


def _connect_tabs(workspace: Workspace, opened: gr.State, seen_first: gr.State) -> None:
    """Keep the name of the panel that is seen; each group comes back with the panel that was seen in it last.

    These events stand in the queue: outside it Gradio does not tell that a State has changed.
    """
    for group in workspace.groups:
        group.tab.select(lambda last, name=group.name: last[name], seen_first, opened, **QUICK)
        for panel in group.panels if group.name != RESULT else ():
            panel.tab.select(_chooser(group.name, panel.name), seen_first, [seen_first, opened], **QUICK)


def _mouth_finder(recordings: Recordings) -> Callable[[Outcome | None, int | None, str], Any]:
    def find(outcome: Outcome | None, person: int | None, view: str) -> Any:
        """Where the mouth is in each frame; looked up when the mouths are shown."""
        record = _record_of(outcome, person)
        if view != "mouth":
            return gr.skip()
        return {"mouth": mouth_places(recordings.load(record)).round(1).tolist() if record else None}

    return find


def _chooser(group: str, panel: str) -> Callable[[dict[str, str]], tuple[dict[str, str], str]]:
    return lambda last: (last | {group: panel}, panel)


def _record_of(outcome: Outcome | None, person: int | None) -> Path | None:
    """Find the recording of a person in a run; None where there is none, or where its files are gone."""
    if outcome is None:
        return None
    record = outcome.record if person is None else outcome.records.get(person, outcome.record)
    return record if record is not None and (record / RECORDING).is_file() else None


def _context(
    recordings: Recordings, outcome: Outcome | None, person: int | None, bar: dict[str, Any] | None
) -> PanelContext | None:
    """What the panels show; None where there is nothing, of which the visitor is told if there was a result."""
    record = _record_of(outcome, person)
    if outcome is None or record is None:
        if outcome is not None and not outcome.folder.exists():
            show_error(GoneError(strings.FILES_GONE))
        return None
    t = int((bar or EMPTY)["frame"])
    inspection = recordings.load(record)
    return PanelContext(
        inspection=inspection,
        video=outcome.video,
        folder=outcome.folder if record == outcome.record else record.parent,
        t=min(max(t, 0), inspection.num_frames - 1),
    )


def _for_the_opened(
    recordings: Recordings,
    panels: list[Panel],
    method: Callable[[Panel], Callable[..., list[Any]]],
    outputs: Callable[[Panel], list[Component]],
) -> Callable[..., Any]:
    """Let the panel that is seen act, and leave all others as they are."""

    def run(
        request: gr.Request,
        outcome: Outcome | None,
        person: int | None,
        bar: dict[str, Any] | None,
        opened: str,
        *settings: Any,
    ) -> list[Any]:
        """New values of all panels' outputs, in their order."""
        follow(request)
        given, values = list(settings), []
        with errors_as_messages():
            context = _context(recordings, outcome, person, bar) if opened else None
            for panel in panels:
                own, given = given[: len(panel.settings)], given[len(panel.settings) :]
                if context is not None and panel.name == opened:
                    values += method(panel)(context, *own)
                else:
                    values += [gr.skip() for _ in outputs(panel)]
        return values

    return run


def _guarded(recordings: Recordings, act: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Let a panel act only where there is something to show; `count` outputs."""

    def run(
        request: gr.Request,
        outcome: Outcome | None,
        person: int | None,
        bar: dict[str, Any] | None,
        *settings: Any,
    ) -> Any:
        """Act, or leave everything as it is; a single value is not in a list, as Gradio expects."""
        follow(request)
        with errors_as_messages():
            context = _context(recordings, outcome, person, bar)
            values = [gr.skip() for _ in range(count)] if context is None else act(context, *settings)
        return values if count > 1 else values[0]

    return run
