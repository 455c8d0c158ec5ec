"""How a handler of the page tells its visitor about progress and errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from personatalk.errors import CancelledError, PersonaTalkError
from personatalk.webapp import strings
from personatalk.webapp.languages import said
from personatalk.webapp.run_queue import BusyError
from personatalk.webapp.service import MissingInputError

logger = logging.getLogger(__name__)


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Show an error that the visitor can mend as a message on the page.

    Raises:
        gr.Error: in place of PersonaTalkError.
    """
    try:
        yield
    except CancelledError as error:
        raise gr.Error(said(strings.STOPPED), title=said(strings.STOPPED_TITLE), print_exception=False) from error
    except PersonaTalkError as error:
        raise gr.Error(said(str(error)), title=title_of(error), print_exception=False) from error


def title_of(error: Exception) -> str:
    """Name the kind of an error in a few words."""
    if isinstance(error, BusyError):
        return said(strings.BUSY_TITLE)
    return said(strings.MISSING_TITLE) if isinstance(error, MissingInputError) else said(strings.REFUSED_TITLE)


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
