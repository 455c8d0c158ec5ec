"""Where a run's outcome is shown: both videos in step, in three ways, a summary, downloads."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from personatalk.webapp import strings
from personatalk.webapp.charts import add_chart
from personatalk.webapp.face_panel import name_of
from personatalk.webapp.files import MAKERS, make_file
from personatalk.webapp.languages import choices_on_page, follow, on_page, said
from personatalk.webapp.messages import errors_as_messages
from personatalk.webapp.service import GoneError, Outcome

COMPARE = f"""
<div class="compare" data-view="side">
  <label class="wipe">{strings.WIPE_LABEL}<input type="range" min="0" max="100" value="50"></label>
  <div class="mouths">
    <figure><canvas class="mouth-before"></canvas><figcaption>{strings.BEFORE_LABEL}</figcaption></figure>
    <figure><canvas class="mouth-after"></canvas><figcaption>{strings.AFTER_LABEL}</figcaption></figure>
    <p class="no-mouth">{strings.NO_MOUTH}</p>
  </div>
</div>
"""
COMPARE_JS = "window.compare.mount(element, props, watch);"
GROWING = f'<div data-label="{html.escape(strings.GROWING)}"></div>'
GROWING_JS = "window.growing.mount(element, props, watch);"
NOTHING_GROWS: dict[str, Any] = {"address": None}
VIEW_JS = "(view) => window.compare.view(view)"
SAVE_JS = """() => setTimeout(() => {
  const button = document.getElementById("made-file");
  (button?.querySelector("a") || button?.closest("a") || button)?.click();
}, 300)"""


@dataclass(frozen=True, kw_only=True)
class ResultView:
    """The components that show an outcome.

    Attributes:
        outcome: State; the Outcome that is shown, or None.
        view: how before and after are compared, one of `strings.VIEWS`.
        person: number of the person whose recording is shown; hidden unless several were dubbed.
        growing: plays the video of a dub under way in place of `after`; its value is {"address": path or None}.
        compare: draws the wipe and the mouths; its value is {"mouth": places of the mouth}.
        chart: lip aperture and speech over time.
        makers: buttons that make a file, by its name.
        made_file: appears when such a file was made.
    """

    outcome: gr.State
    view: gr.Radio
    person: gr.Dropdown
    before: gr.Video
    after: gr.Video
    growing: gr.HTML
    compare: gr.HTML
    chart: gr.HTML
    summary: gr.Textbox
    video_file: gr.DownloadButton
    report_file: gr.DownloadButton
    makers: dict[str, gr.Button]
    made_file: gr.DownloadButton

    @property
    def outputs(self) -> list[Component]:
        """In the order of `updates`."""
        videos, files = [self.before, self.after], [self.video_file, self.report_file]
        return [self.outcome, self.person, *videos, self.summary, *files, *self.makers.values(), self.made_file]


def updates(outcome: Outcome) -> list[Any]:
    """Show an outcome in the visitor's language: new values of `ResultView.outputs`."""
    return [
        outcome,
        gr.Dropdown(
            [(name_of(number), number) for number in outcome.records],
            value=next(iter(outcome.records), None),
            visible=len(outcome.records) > 1,
        ),
        str(outcome.before),
        str(outcome.video),
        said(outcome.summary),
        gr.DownloadButton(value=str(outcome.video), interactive=True),
        gr.DownloadButton(value=str(outcome.report), interactive=True),
        *(gr.Button(interactive=True) for _ in MAKERS),
        gr.DownloadButton(visible=False),
    ]


def add_result_view() -> ResultView:
    """Lay the result out."""
    view = gr.Radio(
        choices_on_page(strings.VIEWS),
        value="side",
        label=on_page(strings.VIEW_LABEL),
        show_label=False,
        elem_id="view",
    )
    person = gr.Dropdown([], label=on_page(strings.SHOWN_PERSON), visible=False, elem_id="shown-person")
    with gr.Row(elem_id="pair"):
        before = gr.Video(label=on_page(strings.BEFORE_LABEL), interactive=False, elem_id="before", buttons=[])
        after = gr.Video(label=on_page(strings.AFTER_LABEL), interactive=False, elem_id="result", buttons=[])
    growing = gr.HTML(NOTHING_GROWS, html_template=GROWING, js_on_load=GROWING_JS, elem_id="growing")
    compare = gr.HTML({"mouth": None}, html_template=COMPARE, js_on_load=COMPARE_JS, elem_id="compare")
    chart = add_chart("", "speech-chart")
    summary = gr.Textbox(
        label=on_page(strings.SUMMARY_LABEL),
        interactive=False,
        lines=2,
        elem_id="summary",
        placeholder=on_page(strings.NO_RESULT),
    )
    with gr.Row(elem_id="downloads"):
        video_file, report_file = (
            gr.DownloadButton(on_page(label), size="sm", interactive=False, elem_id=elem_id, min_width=110)
            for label, elem_id in ((strings.DOWNLOAD_VIDEO, "video-file"), (strings.DOWNLOAD_REPORT, "report-file"))
        )
        makers = {
            name: gr.Button(
                on_page(strings.MAKERS[name]), size="sm", interactive=False, elem_id=f"make-{name}", min_width=110
            )
            for name in MAKERS
        }
        made_file = gr.DownloadButton(visible=False, size="sm", elem_id="made-file", min_width=110)
    view.change(None, view, None, js=VIEW_JS, api_visibility="private")
    result = ResultView(
        outcome=gr.State(None),
        view=view,
        person=person,
        before=before,
        after=after,
        growing=growing,
        compare=compare,
        chart=chart,
        summary=summary,
        video_file=video_file,
        report_file=report_file,
        makers=makers,
        made_file=made_file,
    )
    for name, button in makers.items():
        made = button.click(
            _writer(name), result.outcome, made_file, show_progress_on=[button], api_visibility="private"
        )
        made.success(None, js=SAVE_JS, api_visibility="private")
    return result


def _writer(name: str) -> Callable[[Outcome, gr.Request], gr.DownloadButton]:
    def write(outcome: Outcome, request: gr.Request) -> gr.DownloadButton:
        """Write the file unless it is there, and offer it."""
        follow(request)
        with errors_as_messages():
            if not outcome.video.exists():
                raise GoneError(strings.FILES_GONE)
            path = make_file(outcome, name)
        megabytes = max(0.1, path.stat().st_size / 1e6)
        label = strings.DOWNLOAD_MADE.format(name=path.name, megabytes=megabytes)
        return gr.DownloadButton(label, value=str(path), visible=True)

    return write
