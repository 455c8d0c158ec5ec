"""The page: a clip and a speech in, the dubbed clip out. Run `python app.py` and open the address that it prints."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from personatalk.checkpoints import cache_folder
from personatalk.errors import AdapterError

try:
    from personatalk.webapp.limits import Limits
except AdapterError as error:  # a library of the system is missing; the sentence says which
    print(f"{Path(__file__).name}: {error}", file=sys.stderr)
    sys.exit(2)

if TYPE_CHECKING:
    import gradio as gr

    from personatalk.webapp.text_to_speech import Voice

LIMITS = Limits()
LAUNCHES = 3  # tries to serve the page
QUEUED_EVENTS = 64  # of all visitors and of every kind; runs are bounded by Limits.queue besides


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; by default only a Space is reachable from outside."""
    parser = argparse.ArgumentParser(description="Serve the page that dubs a clip with a speech.")
    on_a_space = "SPACE_ID" in os.environ
    parser.add_argument("--host", default="0.0.0.0" if on_a_space else "127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=None, help="default: the first free one from 7860")
    parser.add_argument(
        "--max-seconds", type=float, default=LIMITS.seconds, help="of a clip or a speech; default: %(default)s"
    )
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda where there is a GPU or one is lent")
    parser.add_argument(
        "--cache",
        type=Path,
        default=cache_folder(),
        help="folder that keeps finished examples; default: %(default)s",
    )
    parser.add_argument(
        "--voice",
        type=Path,
        help="for typed text: NAME.onnx, a voice of Piper, NAME.onnx.json beside it, or the weights of Kokoro; "
        "default: none",
    )
    parser.add_argument("--voices", type=Path, help="the file of Kokoro's voices, where --voice is its weights")
    parser.add_argument("--speaker", help="one of --voices; default: the first")
    return parser.parse_args(arguments)


def open_voice(parsed: argparse.Namespace) -> Voice | None:
    """Load what speaks typed text, if that is asked for; where something is missing, say what and exit."""
    from personatalk.webapp.text_to_speech import load_voice

    try:
        if parsed.voice is None and (parsed.voices or parsed.speaker):
            raise AdapterError("--voices and --speaker choose a voice of Kokoro; give its weights too, as --voice")
        return load_voice(parsed.voice, parsed.voices, parsed.speaker) if parsed.voice else None
    except AdapterError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        sys.exit(2)


def launch(demo: gr.Blocks, *, host: str, port: int | None, block: bool = True) -> tuple[object, str, str]:
    """Serve the page: one run at a time, a queue of bounded length, nothing shared or kept.

    Gradio asks its own server for the page and gives up where the answer takes three seconds, as on a busy machine; so
    it is started again some times.
    """
    for _ in range(LAUNCHES - 1):
        try:
            return _launch(demo, host=host, port=port, block=block)
        except ValueError as error:
            if "localhost is not accessible" not in str(error):
                raise
            demo.close()
    return _launch(demo, host=host, port=port, block=block)


def _launch(demo: gr.Blocks, *, host: str, port: int | None, block: bool) -> tuple[object, str, str]:
    from personatalk.webapp.languages import dictionaries
    from personatalk.webapp.theme import CSS, HEAD, THEME

    return demo.queue(max_size=QUEUED_EVENTS).launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not block,
        share=False,
        max_file_size=f"{LIMITS.megabytes}mb",
        theme=THEME,
        css=CSS,
        head=HEAD,
        i18n=dictionaries(),
        footer_links=["api"],
        run_history=False,
        mcp_server=importlib.util.find_spec("mcp") is not None,
        show_error=True,
        quiet=not block,
    )


def main(arguments: list[str] | None = None) -> None:
    """Load the shipped weights and serve the page."""
    # here, since its worker processes read this file too, and need none of it
    from personatalk.webapp import build_demo
    from personatalk.webapp.gpu import default_device
    from personatalk.webapp.jobs import open_workplaces

    parsed = parse_arguments(arguments)
    device = parsed.device or default_device()  # first: a GPU is only lent if its package is imported before CUDA
    voice = open_voice(parsed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that visitors' files are removed
    limits = Limits(seconds=parsed.max_seconds)
    demo = build_demo(open_workplaces(device), cache=parsed.cache, limits=limits, voice=voice, warm=True)
    launch(demo, host=parsed.host, port=parsed.port)


if __name__ == "__main__":
    main()
