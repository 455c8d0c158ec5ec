"""What the research panels have in common: one time slider, and each panel filled when it is opened."""

from __future__ import annotations

import html
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import gradio as gr
import imageio.v3 as iio
import numpy as np
from gradio.components import Component

from personatalk.inspection.recording import Inspection
from personatalk.webapp import strings
from personatalk.webapp.service import Outcome
from personatalk.webapp.theme import SEEK

Action = tuple[Callable[..., Any], Callable[..., Any], list[Component]]
WEBP_QUALITY = 90
PANELS: dict[str, Any] = {"concurrency_id": "panels", "concurrency_limit": 2}  # all visitors together
MAX_LOADED = 4  # recordings held in memory, all visitors together


@dataclass(frozen=True, kw_only=True)
class PanelContext:
    """The run and the frame that the panels show.

    Attributes:
        inspection: the recorded run.
        video: the dubbed video.
        folder: of the run; files made for the panels go there, so that they are removed with it.
        t: the frame under the slider.
    """

    inspection: Inspection
    video: Path
    folder: Path
    t: int

    def picture(self, name: str, draw: Callable[[], np.ndarray]) -> str:
        """Draw a picture [H, W, 3] uint8 unless it was drawn before; returns the path of its file."""
        return self.file(f"{name}.webp", lambda path: iio.imwrite(path, draw(), quality=WEBP_QUALITY))

    def file(self, name: str, write: Callable[[Path], Any]) -> str:
        """Write a file unless it was written before; returns its path."""
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
    """One panel.

    Attributes:
        accordion: what is opened.
        settings: components whose values `fill` and `move` take last; a change of one fills the panel again.
        whole: components that show the whole run, filled by fill(context, *settings).
        moment: components that show one frame, filled by move(context, *settings).
        actions: (event of a component of the panel, what it does as a function of (context, *settings), and of the
            event's data where there is any, components that show what came of it).
    """

    accordion: gr.Accordion
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

    def show(self, context: PanelContext, *settings: Any) -> list[Any]:
        """Values of `outputs`."""
        return [*self.fill(context, *settings), *self.move(context, *settings)]


class Recordings:
    """Recorded runs, the last few held in memory."""

    def __init__(self) -> None:
        self._loaded: dict[Path, Inspection] = {}
        self._lock = threading.Lock()

    def load(self, record: Path) -> Inspection:
        """Read a run's recording, unless it is held."""
        with self._lock:
            self._loaded = {path: inspection for path, inspection in self._loaded.items() if path.exists()}
            inspection = self._loaded.pop(record, None) or Inspection.load(record)
            self._loaded[record] = inspection  # at the end: the one used last
            while len(self._loaded) > MAX_LOADED:
                del self._loaded[next(iter(self._loaded))]
            return inspection


@dataclass(frozen=True, kw_only=True)
class ResearchPanels:
    """All research panels, and the slider that they follow."""

    hint: gr.Markdown
    slider: gr.Slider
    fps: gr.Number
    panels: list[Panel]


def add_picture(label: str, elem_id: str) -> gr.Image:
    """Add a picture with its label above it, not over it."""
    gr.Markdown(f"**{label}**")
    return gr.Image(
        label=label,
        show_label=False,
        interactive=False,
        type="filepath",
        buttons=["fullscreen"],
        elem_id=elem_id,
        elem_classes="picture",
    )


def add_gallery(label: str, elem_id: str, columns: int) -> gr.Gallery:
    """Add a gallery of pictures with captions."""
    gr.Markdown(f"**{label}**")
    return gr.Gallery(
        label=label,
        show_label=False,
        interactive=False,
        columns=columns,
        object_fit="contain",
        height="auto",
        buttons=["fullscreen"],
        elem_id=elem_id,
    )


def as_table(rows: list[dict[str, Any]], label: str, without: str = "") -> str:
    """Turn rows into an HTML table that scrolls sideways on a phone, without one of the columns."""
    names = [name for name in rows[0] if name != without]
    head = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_readable(row[name])}</td>" for name in names) + "</tr>" for row in rows)
    caption = f"<caption>{html.escape(label)}</caption>"
    return f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _readable(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def add_panel(label: str, elem_id: str) -> gr.Accordion:
    """Add the accordion of a panel, closed."""
    return gr.Accordion(label, open=False, elem_id=elem_id, elem_classes="panel")


def add_research_panels(makers: list[Callable[[], Panel]]) -> ResearchPanels:
    """Lay the panels out."""
    with gr.Column(elem_id="inside"):
        gr.Markdown(strings.INSIDE_HEADING)
        hint = gr.Markdown(strings.INSIDE_EMPTY)
        slider = gr.Slider(0, 1, 0, step=1, label=strings.TIME_LABEL, visible=False, elem_id="frame-slider")
        fps = gr.Number(25, visible=False)  # so that the browser knows the time of the frame
        return ResearchPanels(hint=hint, slider=slider, fps=fps, panels=[make() for make in makers])


def connect_research_panels(research: ResearchPanels, outcome: gr.State) -> None:
    """Fill a panel when it is opened, when a new result comes, and when the slider moves."""
    recordings = Recordings()
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"} | PANELS
    changed = outcome.change(_reset, outcome, [research.hint, research.slider, research.fps], **quiet)
    research.slider.input(None, [research.slider, research.fps], js=SEEK, api_visibility="private")
    for panel in research.panels:
        opened = gr.State(False)
        panel.accordion.expand(lambda: True, None, opened, **quiet)
        panel.accordion.collapse(lambda: False, None, opened, **quiet)
        inputs = [outcome, research.slider, opened, *panel.settings]
        show = _guarded(recordings, panel.show, len(panel.outputs))
        triggers = [opened.change, *(cast(Any, setting).change for setting in panel.settings)]
        gr.on(triggers, show, inputs, panel.outputs, **quiet)
        changed.then(show, inputs, panel.outputs, **quiet)
        if panel.moment:
            move = _guarded(recordings, panel.move, len(panel.moment))
            research.slider.change(move, inputs, panel.moment, trigger_mode="always_last", **quiet)
        for event, act, outputs in panel.actions:
            event(_guarded(recordings, act, len(outputs)), inputs, outputs, **quiet)


def _record_of(outcome: Outcome | None) -> Path | None:
    """Find the recording of a run; None where there is none, or where its files are gone."""
    record = outcome.record if outcome is not None else None
    return record if record is not None and record.exists() else None


def _reset(outcome: Outcome | None) -> tuple[str, gr.Slider, float]:
    if outcome is None or _record_of(outcome) is None:
        return strings.INSIDE_EMPTY, gr.Slider(visible=False), 25.0
    last = max(1, outcome.num_frames - 1)
    label = strings.TIME_OF.format(fps=outcome.fps)
    return strings.INSIDE_READY, gr.Slider(0, last, last // 2, label=label, visible=True), outcome.fps


def _guarded(recordings: Recordings, act: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Let a panel act only while it is open and there is something to show; `count` outputs."""

    def run(outcome: Outcome | None, t: int, opened: bool, *settings: Any) -> Any:
        """Act, or leave everything as it is; a single value is not in a list, as Gradio expects."""
        record = _record_of(outcome)
        if opened and outcome is not None and record is None:
            gr.Warning(strings.FILES_GONE)
        if not opened or outcome is None or record is None:
            values = [gr.skip() for _ in range(count)]
        else:
            context = PanelContext(
                inspection=recordings.load(record),
                video=outcome.video,
                folder=outcome.folder,
                t=min(int(t), outcome.num_frames - 1),
            )
            values = act(context, *settings)
        return values if count > 1 else values[0]

    return run
