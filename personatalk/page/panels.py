"""The research panels: one time slider for all, each panel filled when it is opened."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from personatalk.inspection.recording import Inspection
from personatalk.page import strings
from personatalk.page.dubber import Outcome

Component = gr.components.Component
Action = tuple[Callable[..., Any], Callable[..., Any], list[Component]]
QUALITY = 90  # of the pictures
MAX_LOADED = 4  # recordings held in memory, all visitors together


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is being looked at.

    Attributes:
        inspection: the recorded run.
        video: the dubbed one.
        folder: of the run; files made for the panels go there, so that they are removed with it.
        t: the frame under the slider.
    """

    inspection: Inspection
    video: Path
    folder: Path
    t: int

    def picture(self, name: str, draw: Callable[[], np.ndarray]) -> str:
        """Draw a picture [H, W, 3] uint8 unless it was drawn before; returns its file."""
        return self.file(f"{name}.webp", lambda path: Image.fromarray(draw()).save(path, quality=QUALITY))

    def file(self, name: str, write: Callable[[Path], Any]) -> str:
        """Write a file unless it was written before."""
        path = self.folder / name
        if not path.exists():
            unfinished = path.with_name(f"{secrets.token_hex(4)}-{name}")
            write(unfinished)
            unfinished.replace(path)
        return str(path)

    def gallery(self, name: str, draw: Callable[[], list[tuple[np.ndarray, str]]]) -> list[tuple[str, str]]:
        """Draw pictures with captions unless they were drawn before; returns their files and captions."""
        captions = self.folder / f"{name}.json"
        if not captions.exists():
            drawn = draw()
            for number, (picture, _) in enumerate(drawn):
                self.picture(f"{name}_{number}", lambda picture=picture: picture)
            self.file(captions.name, lambda path: path.write_text(json.dumps([text for _, text in drawn])))
        texts = json.loads(captions.read_text())
        return [(str(self.folder / f"{name}_{number}.webp"), text) for number, text in enumerate(texts)]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One tab.

    Attributes:
        tab: what is opened.
        settings: components whose values `fill` and `move` take last; a change of one fills the panel again.
        whole: components that show the whole run, filled by fill(look, *settings).
        moment: components that show one frame, filled by move(look, *settings).
        actions: (event of a component of the panel, what it does as a function of (look, *settings), and of the
            event's data where there is any, components that show what came of it).
    """

    tab: gr.Tab
    settings: list[Component] = field(default_factory=list)
    whole: list[Component] = field(default_factory=list)
    fill: Callable[..., list[Any]] = lambda *_: []
    moment: list[Component] = field(default_factory=list)
    move: Callable[..., list[Any]] = lambda *_: []
    actions: list[Action] = field(default_factory=list)

    @property
    def outputs(self) -> list[Component]:
        """All that the panel shows."""
        return self.whole + self.moment

    def show(self, look: Look, *settings: Any) -> list[Any]:
        """Values of `outputs`."""
        return [*self.fill(look, *settings), *self.move(look, *settings)]


class Recordings:
    """The recordings that are being looked at, the last few held in memory."""

    def __init__(self) -> None:
        self._loaded: dict[Path, Inspection] = {}
        self._lock = threading.Lock()

    def load(self, outcome: Outcome) -> Inspection:
        """Read a run's recording, unless it is at hand."""
        with self._lock:
            self._loaded = {path: inspection for path, inspection in self._loaded.items() if path.exists()}
            inspection = self._loaded.pop(outcome.record, None) or Inspection.load(outcome.record)
            self._loaded[outcome.record] = inspection  # now the last one
            while len(self._loaded) > MAX_LOADED:
                del self._loaded[next(iter(self._loaded))]
            return inspection


@dataclass(frozen=True, kw_only=True)
class Inside:
    """All research panels and what they have in common.

    Attributes:
        opened: State; the number of the open panel, or None while all are shut.
    """

    accordion: gr.Accordion
    hint: gr.Markdown
    slider: gr.Slider
    panels: list[Panel]
    opened: gr.State


def add_picture(label: str, elem_id: str) -> gr.Image:
    """Add where a picture is shown, its label above it rather than over it."""
    gr.Markdown(f"**{label}**")
    return gr.Image(
        label=label, show_label=False, interactive=False, type="filepath", buttons=["fullscreen"], elem_id=elem_id
    )  # fmt: skip


def add_gallery(label: str, elem_id: str, columns: int) -> gr.Gallery:
    """Add where pictures with captions are shown."""
    gr.Markdown(f"**{label}**")
    return gr.Gallery(
        label=label, show_label=False, interactive=False, columns=columns, object_fit="contain", height="auto",
        buttons=["fullscreen"], elem_id=elem_id,
    )  # fmt: skip


def as_table(rows: list[dict[str, Any]], without: str = "") -> dict[str, Any]:
    """Turn rows into what a gr.Dataframe takes, one column left out, numbers rounded."""
    names = [name for name in rows[0] if name != without]
    data = [
        [
            "–" if row[name] is None else round(row[name], 3) if isinstance(row[name], float) else row[name]
            for name in names
        ]
        for row in rows
    ]
    return {"headers": [name.replace("_", " ") for name in names], "data": data}


def add_inside(makers: list[Callable[[], Panel]]) -> Inside:
    """Lay the panels out, shut."""
    with gr.Accordion(strings.INSIDE_LABEL, open=False, elem_id="inside") as accordion:
        hint = gr.Markdown(strings.INSIDE_EMPTY)
        slider = gr.Slider(0, 1, 0, step=1, label=strings.TIME_LABEL, interactive=False, elem_id="time")
        with gr.Tabs(elem_id="panels"):
            panels = [make() for make in makers]
    return Inside(accordion=accordion, hint=hint, slider=slider, panels=panels, opened=gr.State(None))


def connect_inside(inside: Inside, outcome: gr.State) -> None:
    """Fill a panel when it is opened, when a new result comes, and when the slider moves."""
    recordings = Recordings()
    quiet = {"api_visibility": "private", "show_progress": "minimal", "concurrency_id": "panels"}
    last = gr.State(0)  # the tab that shows when the accordion is opened again
    changed = outcome.change(_reset, outcome, [inside.hint, inside.slider], **quiet)
    inside.accordion.expand(lambda number: number, last, inside.opened, **quiet)
    inside.accordion.collapse(lambda: None, None, inside.opened, **quiet)
    for number, panel in enumerate(inside.panels):
        inputs = [outcome, inside.slider, inside.opened, *panel.settings]
        show = _guarded(recordings, number, panel.show, len(panel.outputs))
        panel.tab.select(lambda number=number: (number, number), None, [inside.opened, last], **quiet)
        gr.on(
            [inside.opened.change, *(setting.change for setting in panel.settings)],
            show, inputs, panel.outputs, **quiet,
        )  # fmt: skip
        changed.then(show, inputs, panel.outputs, **quiet)
        if panel.moment:
            move = _guarded(recordings, number, panel.move, len(panel.moment))
            inside.slider.change(move, inputs, panel.moment, trigger_mode="always_last", **quiet)
        for event, act, outputs in panel.actions:
            event(_guarded(recordings, number, act, len(outputs)), inputs, outputs, **quiet)


def _is_ready(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.record is not None and outcome.record.exists()


def _reset(outcome: Outcome | None) -> tuple[Any, Any]:
    if not _is_ready(outcome):
        return strings.INSIDE_EMPTY, gr.Slider(interactive=False)
    last = max(1, outcome.num_frames - 1)
    label = strings.TIME_OF.format(fps=outcome.fps)
    return "", gr.Slider(0, last, last // 2, label=label, interactive=True)


def _guarded(recordings: Recordings, number: int, act: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Let a panel act only while it is open and there is something to show; `count` outputs."""

    def run(outcome: Outcome | None, t: int, opened: int | None, *settings: Any) -> Any:
        if opened != number or not _is_ready(outcome):
            values = [gr.skip() for _ in range(count)]
        else:
            look = Look(
                inspection=recordings.load(outcome), video=outcome.video, folder=outcome.folder,
                t=min(int(t), outcome.num_frames - 1),
            )  # fmt: skip
            values = act(look, *settings)
        return values if count > 1 else values[0]

    return run
