"""Where a run's outcome is shown: both videos in step, a summary, downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from personatalk.inspection.comparison import write_comparison
from personatalk.webapp import strings
from personatalk.webapp.service import Outcome
from personatalk.webapp.theme import PLAY


@dataclass(frozen=True, kw_only=True)
class ResultView:
    """The components that show an outcome.

    Attributes:
        outcome: State; the Outcome that is shown, or None.
        animate: buttons that write before and after beside each other, one for each format.
        animation_file: appears when such an animation was written.
    """

    outcome: gr.State
    before: gr.Video
    after: gr.Video
    summary: gr.Textbox
    video_file: gr.DownloadButton
    report_file: gr.DownloadButton
    animate: dict[str, gr.Button]
    animation_file: gr.DownloadButton

    @property
    def outputs(self) -> list[Component]:
        """In the order of `updates`."""
        videos, files = [self.before, self.after], [self.video_file, self.report_file]
        return [self.outcome, *videos, self.summary, *files, *self.animate.values(), self.animation_file]


def updates(outcome: Outcome) -> list[Any]:
    """Show an outcome: new values of `ResultView.outputs`."""
    return [
        outcome,
        str(outcome.before),
        str(outcome.video),
        outcome.summary,
        gr.DownloadButton(value=str(outcome.video), interactive=True),
        gr.DownloadButton(value=str(outcome.report), interactive=True),
        *(gr.Button(interactive=True) for _ in strings.ANIMATIONS),
        gr.DownloadButton(visible=False),
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
    with gr.Row():
        animate = {
            suffix: gr.Button(label, size="sm", interactive=False, elem_id=f"animate-{suffix}", min_width=160)
            for suffix, label in strings.ANIMATIONS.items()
        }
    animation_file = gr.DownloadButton(visible=False, size="sm", elem_id="animation-file")
    view = ResultView(
        outcome=gr.State(None),
        before=before,
        after=after,
        summary=summary,
        video_file=video_file,
        report_file=report_file,
        animate=animate,
        animation_file=animation_file,
    )
    for suffix, button in animate.items():
        write = _animation_writer(suffix)
        button.click(write, view.outcome, animation_file, show_progress_on=[button], api_visibility="private")
    return view


def _animation_writer(suffix: str) -> Callable[[Outcome], gr.DownloadButton]:
    def write(outcome: Outcome) -> gr.DownloadButton:
        """Write the animation unless it is there, and offer it."""
        if not outcome.video.exists():
            raise gr.Error(strings.FILES_GONE, title=strings.GONE_TITLE, print_exception=False)
        path = outcome.folder / f"before_and_after.{suffix}"
        if not path.exists():
            names = strings.BEFORE_LABEL, strings.AFTER_LABEL
            write_comparison(outcome.before, outcome.video, path, names=names)
        label = strings.DOWNLOAD_ANIMATION.format(kind=suffix.upper(), megabytes=max(0.1, path.stat().st_size / 1e6))
        return gr.DownloadButton(label, value=str(path), visible=True)

    return write
