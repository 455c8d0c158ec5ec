"""Where a run's outcome is shown: both videos in step, a summary, downloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from personatalk.webapp import strings
from personatalk.webapp.service import Outcome
from personatalk.webapp.theme import PLAY


@dataclass(frozen=True, kw_only=True)
class ResultView:
    """The components that show an outcome.

    Attributes:
        outcome: State; the Outcome that is shown, or None.
    """

    outcome: gr.State
    before: gr.Video
    after: gr.Video
    summary: gr.Textbox
    video_file: gr.DownloadButton
    report_file: gr.DownloadButton

    @property
    def outputs(self) -> list[gr.components.Component]:
        """In the order of `updates`."""
        return [self.outcome, self.before, self.after, self.summary, self.video_file, self.report_file]


def updates(outcome: Outcome) -> list[Any]:
    """Show an outcome: new values of `ResultView.outputs`."""
    return [
        outcome,
        str(outcome.before),
        str(outcome.video),
        outcome.summary,
        gr.DownloadButton(value=str(outcome.video), interactive=True),
        gr.DownloadButton(value=str(outcome.report), interactive=True),
    ]


def add_result_view() -> ResultView:
    """Lay the result out."""
    with gr.Row(elem_id="pair"):
        before = gr.Video(label=strings.BEFORE_LABEL, interactive=False, elem_id="before", buttons=[])
        after = gr.Video(label=strings.AFTER_LABEL, interactive=False, elem_id="result", buttons=[])
    gr.Button(strings.PLAY_BUTTON, size="sm", elem_id="play").click(None, js=PLAY, api_visibility="private")
    summary = gr.Textbox(
        label=strings.SUMMARY_LABEL,
        interactive=False,
        lines=2,
        elem_id="summary",
        placeholder=strings.NO_RESULT,
    )
    with gr.Row():
        video_file, report_file = (
            gr.DownloadButton(label, interactive=False, elem_id=elem_id, min_width=160)
            for label, elem_id in ((strings.DOWNLOAD_VIDEO, "video-file"), (strings.DOWNLOAD_REPORT, "report-file"))
        )
    return ResultView(
        outcome=gr.State(None),
        before=before,
        after=after,
        summary=summary,
        video_file=video_file,
        report_file=report_file,
    )
