"""How a handler of the page tells its visitor about progress and errors."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from personatalk.errors import CancelledError, PersonaTalkError
from personatalk.webapp import strings
from personatalk.webapp.languages import said
from personatalk.webapp.run_queue import BusyError
from personatalk.webapp.service import GoneError, MissingInputError

logger = logging.getLogger(__name__)

SHOWN_S = 10  # as Gradio's own messages
TITLES: dict[type[Exception], str] = {
    CancelledError: strings.STOPPED_TITLE,
    BusyError: strings.BUSY_TITLE,
    MissingInputError: strings.MISSING_TITLE,
    GoneError: strings.GONE_TITLE,
    PersonaTalkError: strings.REFUSED_TITLE,
}  # the first that an error is of


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Show an error as a message on the page.

    Raises:
        gr.Error: in place of any error.
    """
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(headed(error, explain(error)), print_exception=False) from error


@contextmanager
def errors_for_programs() -> Iterator[None]:
    """Tell a program of an error that it can mend.

    Raises:
        gr.Error: in place of PersonaTalkError.
    """
    try:
        yield
    except PersonaTalkError as error:
        raise gr.Error(explain(error), title=title_of(error), print_exception=False) from error


def show_error(error: Exception, duration_s: float = SHOWN_S) -> str:
    """Show an error that does not end the event, for so many seconds; returns what is said."""
    message = explain(error)
    gr.Warning(headed(error, message), duration=duration_s)
    return message


def headed(error: Exception, message: str) -> str:
    """Put a heading over a message, as HTML: Gradio's page shows no title, but "Error" or "Warning" above all messages.

    The page's script moves the heading there.
    """
    return f"<strong>{html.escape(title_of(error))}</strong><br>{html.escape(message, quote=False)}"


def title_of(error: Exception) -> str:
    """Name the kind of an error in a few words."""
    return said(next((title for kind, title in TITLES.items() if isinstance(error, kind)), strings.FAILED_TITLE))


def explain(error: Exception) -> str:
    """Say an error in a visitor's words; what only a programmer can mend goes to the log."""
    if isinstance(error, CancelledError):
        return said(strings.STOPPED)
    if isinstance(error, PersonaTalkError):
        return said(str(error))
    logger.error("a run failed", exc_info=error)
    return said(strings.FAILED)


def show_progress(share: float, stage: str) -> None:
    """Tell the visitor whose event this is how far the work is, 0 to 1, and what is being done."""
    gr.Progress()(share, desc=said(stage))
