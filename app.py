"""The page: a clip and a speech in, the dubbed clip out. Run `python app.py` and open the address that it prints."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from personatalk.config import DubbingOptions
from personatalk.errors import CancelledError, PersonaTalkError

if TYPE_CHECKING:
    from personatalk.pipeline import DubbingPipeline, DubbingResult

ASSETS = Path(__file__).parent / "assets"
MAX_FILE_SIZE = "200mb"
QUEUE_SIZE = 8
KEEP_FILES_S = 3600  # uploads and results are deleted after this long

TITLE = "PersonaTalk"
INTRO = (
    "# PersonaTalk\n"
    "Give a clip of a person speaking and any speech: the mouth follows the new speech, in that person's own way of "
    "speaking and with that person's own lips and teeth. Runs on this machine's processor; nothing is sent elsewhere."
)
CLIP_LABEL = "1. Clip of the speaker"
SPEECH_LABEL = "2. New speech"
CONSENT_LABEL = "3. The person shown agreed to this, or is synthetic, and I will say that the video is dubbed"
EXAMPLES_LABEL = "No clip at hand? Press an example"
CONSENT_MISSING = "Please tick step 3 first: the person in the clip must have agreed to being dubbed."
CLIP_MISSING = "Please give a clip of the speaker in step 1."
SPEECH_MISSING = "Please give the new speech in step 2: a sound file, or a recording from your microphone."
FOOTER = (
    "Uploads and results are deleted after one hour and are never logged. Do not use this to deceive: say that a video "
    "is dubbed wherever you show it."
)
LENGTHS = [("as long as the clip", "video"), ("as long as the speech", "audio")]
STRATEGIES = [
    ("cover the lip shapes that the speech asks for", "coverage"),
    ("nearest lip shape", "nearest"),
    ("the paper's", "paper"),
    ("random", "random"),
]
THEME = gr.themes.Soft(primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"])
CSS = """
.gradio-container {max-width: 1180px !important; margin: auto}
#consent input {border: 2px solid var(--body-text-color-subdued); min-width: 20px; min-height: 20px}
#examples th, #examples td {white-space: normal !important; overflow-wrap: anywhere}
@media (max-width: 640px) {.gradio-container {padding: 8px !important}}
"""
Result = tuple[str, str, str]


class RunningDubs:
    """The runs under way, one at most for each browser session, so that Stop stops the right one."""

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}

    def start(self, session: str) -> threading.Event:
        """Register a run and return the event that asks it to stop."""
        event = self._events[session] = threading.Event()
        return event

    def stop(self, session: str) -> None:
        """Ask the session's run, if any, to stop."""
        if event := self._events.get(session):
            event.set()

    def finish(self, session: str, event: threading.Event) -> None:
        """Forget a run."""
        if self._events.get(session) is event:
            del self._events[session]


def build_demo(pipeline: DubbingPipeline) -> gr.Blocks:
    """Lay the page out around a loaded pipeline."""
    running = RunningDubs()
    with gr.Blocks(title=TITLE, delete_cache=(KEEP_FILES_S, KEEP_FILES_S), analytics_enabled=False) as demo:
        gr.Markdown(INTRO)
        with gr.Row():
            with gr.Column(min_width=300):
                inputs = _add_inputs()
                with gr.Row():
                    dub = gr.Button("Dub", variant="primary", elem_id="dub")
                    stop = gr.Button("Stop", variant="stop", elem_id="stop")
            with gr.Column(min_width=300):
                video = gr.Video(label="Dubbed video", interactive=False, elem_id="result")
                summary = gr.Textbox(label="Summary", interactive=False, lines=2, elem_id="summary")
                report = gr.File(label="Report (JSON)", interactive=False, height=110, elem_id="report")
        gr.Markdown(FOOTER)
        dub.click(
            _dub_handler(pipeline, running),
            inputs=inputs,
            outputs=[video, summary, report],
            api_name="dub",
            concurrency_limit=1,  # one machine
        )
        stop.click(_stop_handler(running), queue=False, api_name="stop", show_progress="hidden")
        demo.unload(_stop_handler(running))
    return demo


def _add_inputs() -> list[gr.components.Component]:
    """Add the numbered steps and the options, in the order of the endpoint's parameters."""
    clip = gr.Video(label=CLIP_LABEL, sources=["upload"], height=280, elem_id="clip")
    speech = gr.Audio(label=SPEECH_LABEL, sources=["upload", "microphone"], type="filepath", elem_id="speech")
    _add_examples([clip, speech])
    consent = gr.Checkbox(label=CONSENT_LABEL, value=False, elem_id="consent")
    with gr.Accordion("Options", open=False):
        style_strength = gr.Slider(
            0.0, 1.5, 1.0, step=0.05, label="Speaking style", info="0: an average speaker's; 1: this person's own"
        )
        mouth_amplitude = gr.Slider(
            0.5, 1.5, 1.0, step=0.05, label="Mouth amplitude", info="below 1 the mouth opens less, above 1 more"
        )
        length = gr.Radio(LENGTHS, value="video", label="Length of the result")
        strategy = gr.Dropdown(STRATEGIES, value="coverage", label="Lip references", info="how frames are chosen")
    return [clip, speech, consent, style_strength, mouth_amplitude, length, strategy]


def _add_examples(inputs: list[gr.components.Component]) -> None:
    """Offer the shipped clips, each with a shipped speech."""
    clips, speeches = sorted(ASSETS.glob("*.mp4")), sorted(ASSETS.glob("*.wav"))
    pairs = [[str(clip), str(speech)] for clip, speech in zip(clips, speeches, strict=False)]
    with gr.Column(elem_id="examples"):
        gr.Examples(pairs, inputs=inputs, label=EXAMPLES_LABEL)


def _dub_handler(pipeline: DubbingPipeline, running: RunningDubs) -> Callable[..., Iterator[Result]]:
    """Return the function behind the Dub button and behind the endpoint /dub."""

    def dub(
        clip: str | None,
        speech: str | None,
        consent: bool,
        style_strength: float = 1.0,
        mouth_amplitude: float = 1.0,
        length: str = "video",
        reference_strategy: str = "coverage",
        request: gr.Request = None,  # Gradio fills it in
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
    ) -> Iterator[Result]:
        """Dub a clip with a speech; returns the video, a summary, and a JSON report."""
        _refuse_incomplete(clip, speech, consent)
        session = str(request.session_hash)
        event = running.start(session)
        options = DubbingOptions(
            style_strength=style_strength,
            mouth_amplitude=mouth_amplitude,
            length=length,
            reference_strategy=reference_strategy,
        )
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = pipeline.dub(
                    Path(clip),
                    Path(speech),
                    Path(folder) / "dubbed.mp4",
                    options,
                    progress=lambda fraction, stage: progress(fraction, desc=stage),
                    should_stop=event.is_set,
                )
            except CancelledError as error:
                raise gr.Error("Stopped: nothing was written.", title="Stopped", print_exception=False) from error
            except PersonaTalkError as error:
                raise gr.Error(str(error), title="Cannot dub this", print_exception=False) from error
            finally:
                running.finish(session, event)
            # yield, not return: Gradio copies the files to its cache before the folder goes
            yield str(result.video), summarise(result), str(_write_report(result, Path(folder)))

    return dub


def _refuse_incomplete(clip: str | None, speech: str | None, consent: bool) -> None:
    for given, message in ((clip, CLIP_MISSING), (speech, SPEECH_MISSING), (consent, CONSENT_MISSING)):
        if not given:
            raise gr.Error(message, title="One step is missing", print_exception=False)


def _stop_handler(running: RunningDubs) -> Callable[[gr.Request], None]:
    def stop(request: gr.Request) -> None:
        """Ask this session's run to stop; its files are removed."""
        running.stop(str(request.session_hash))

    return stop


def summarise(result: DubbingResult) -> str:
    """Say in two lines what was done and how long it took."""
    seconds = sum(result.timings.values())
    lines = [f"{result.num_frames} frames at {result.fps:g} a second, done in {seconds:.1f} s."]
    if result.num_passed_through:
        lines.append(f"{result.num_passed_through} frames show no usable face and were left as they are.")
    return "\n".join(lines)


def _write_report(result: DubbingResult, folder: Path) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(result.report, indent=2) + "\n")
    return path


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the address to serve on; a Space must be reachable from outside, anything else is not by default."""
    parser = argparse.ArgumentParser(description="Serve the page that dubs a clip with a speech.")
    on_a_space = "SPACE_ID" in os.environ
    parser.add_argument("--host", default="0.0.0.0" if on_a_space else "127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=None, help="default: the first free one from 7860")
    return parser.parse_args(arguments)


def launch(demo: gr.Blocks, *, host: str, port: int | None, block: bool = True) -> tuple[object, str, str]:
    """Serve the page: this machine's processor for one dub at a time, a bounded queue, nothing shared or kept."""
    return demo.queue(max_size=QUEUE_SIZE).launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not block,
        share=False,
        max_file_size=MAX_FILE_SIZE,
        theme=THEME,
        css=CSS,
        footer_links=["api"],
        run_history=False,
        show_error=True,
        quiet=not block,
    )


def main() -> None:
    """Load the shipped weights and serve the page."""
    from personatalk.pipeline import load_pipeline

    arguments = parse_arguments()
    launch(build_demo(load_pipeline()), host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
