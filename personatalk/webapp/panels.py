"""What the research panels have in common: the run and the frame that they show, pictures, galleries, tables."""

from __future__ import annotations

import html
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import imageio.v3 as iio
import numpy as np
from gradio.components import Component

from personatalk.inspection.recording import Inspection
from personatalk.webapp import strings
from personatalk.webapp.languages import on_page, said

Action = tuple[Callable[..., Any], Callable[..., Any], list[Component]]
WEBP_QUALITY = 90
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
        """Draw pictures with captions unless they were drawn before.

        Returns:
            their files, and the captions in the language of the visitor whose event is handled
        """
        captions = self.folder / f"{name}.json"
        if not captions.exists():
            drawn = draw()
            for number, (picture, _) in enumerate(drawn):
                self.picture(f"{name}_{number}", lambda picture=picture: picture)
            self.file(captions.name, lambda path: path.write_text(json.dumps([text for _, text in drawn])))
        texts = json.loads(captions.read_text())
        return [
            (str(self.folder / f"{name}_{number}.webp"), said(text.replace("\n", " ")))
            for number, text in enumerate(texts)
        ]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel: a tab, or a tab within a tab.

    Attributes:
        tab: what is opened.
        settings: components whose values `fill` and `move` take last; a change of one fills the panel again.
        whole: components that show the whole run, filled by fill(context, *settings).
        moment: components that show one frame, filled by move(context, *settings).
        actions: (event of a component of the panel, what it does as a function of (context, *settings), and of the
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
    def name(self) -> str:
        """Identifier of the tab."""
        return str(self.tab.id)

    @property
    def outputs(self) -> list[Component]:
        """All that the panel shows."""
        return self.whole + self.moment

    def show(self, context: PanelContext, *settings: Any) -> list[Any]:
        """Values of `outputs`."""
        return [*self.fill(context, *settings), *self.move(context, *settings)]


@dataclass(frozen=True, kw_only=True)
class Group:
    """A tab of the workspace, and the panels in it, the first of which is seen first."""

    tab: gr.Tab
    panels: list[Panel]

    @property
    def name(self) -> str:
        """Identifier of the tab."""
        return str(self.tab.id)


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


def add_group(label: str, name: str) -> gr.Tab:
    """Add a tab of the workspace."""
    return gr.Tab(on_page(label), id=name, elem_id=name)


def add_panel(label: str, name: str) -> gr.Tab:
    """Add a panel: a tab within the tab of a group."""
    return gr.Tab(on_page(label), id=name, elem_id=f"panel-{name}")


def add_picture(label: str, elem_id: str) -> gr.Image:
    """Add a picture with its label above it, not over it."""
    gr.Markdown(f"**{on_page(label)}**")
    return gr.Image(
        label=on_page(label),
        show_label=False,
        interactive=False,
        type="filepath",
        buttons=["fullscreen"],
        elem_id=elem_id,
        elem_classes="picture",
    )


def add_gallery(label: str, elem_id: str, columns: int) -> gr.Gallery:
    """Add a gallery of pictures with captions, its label above it."""
    return add_headed_gallery(label, elem_id, columns)[1]


def add_headed_gallery(label: str, elem_id: str, columns: int) -> tuple[gr.Markdown, gr.Gallery]:
    """Add a heading, at first a label, and below it a gallery of pictures with captions."""
    heading = gr.Markdown(f"**{on_page(label)}**")
    return heading, gr.Gallery(
        label=on_page(label),
        show_label=False,
        interactive=False,
        columns=columns,
        object_fit="contain",
        height="auto",
        buttons=["fullscreen"],
        elem_id=elem_id,
        elem_classes="gallery",
    )


def as_table(rows: list[dict[str, Any]], label: str, without: str = "") -> str:
    """Turn rows into an HTML table that scrolls sideways on a phone, without one of the columns.

    Its texts are in the language of the visitor whose event is handled.
    """
    names = [name for name in rows[0] if name != without]
    head = "".join(f'<th scope="col">{html.escape(said(strings.COLUMNS[name]))}</th>' for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_readable(row[name])}</td>" for name in names) + "</tr>" for row in rows)
    caption = f"<caption>{html.escape(said(label))}</caption>"
    return f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _readable(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else html.escape(said(str(value)))
