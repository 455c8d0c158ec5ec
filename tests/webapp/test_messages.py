"""Errors as a visitor and a program hear of them."""

from __future__ import annotations

import gradio as gr
import pytest

from personatalk.errors import CancelledError, MediaError
from personatalk.webapp import strings
from personatalk.webapp.messages import errors_as_messages, errors_for_programs
from personatalk.webapp.run_queue import BusyError
from personatalk.webapp.service import GoneError, MissingInputError

ERRORS = [
    (MediaError("broken"), strings.REFUSED_TITLE, "broken"),
    (MissingInputError("step 1"), strings.MISSING_TITLE, "step 1"),
    (BusyError("later"), strings.BUSY_TITLE, "later"),
    (GoneError("deleted"), strings.GONE_TITLE, "deleted"),
    (CancelledError("asked to"), strings.STOPPED_TITLE, strings.STOPPED),
    (OSError("/a/path of the server"), strings.FAILED_TITLE, strings.FAILED),
]


@pytest.mark.parametrize(("error", "title", "message"), ERRORS, ids=lambda value: type(value).__name__)
def test_a_visitor_reads_an_error_under_a_title_of_its_own(error, title, message):
    with pytest.raises(gr.Error) as raised, errors_as_messages(), errors_as_messages():
        raise error
    assert raised.value.message == f"<strong>{title}</strong><br>{message}"


def test_what_a_file_is_called_does_not_become_markup():
    with pytest.raises(gr.Error) as raised, errors_as_messages():
        raise MediaError("<img src=x> & its sound")
    assert "&lt;img src=x&gt; &amp; its sound" in raised.value.message


@pytest.mark.parametrize(("error", "title", "message"), ERRORS[:-1], ids=lambda value: type(value).__name__)
def test_a_program_gets_the_error_itself(error, title, message):
    with pytest.raises(gr.Error) as raised, errors_for_programs():
        raise error
    assert (raised.value.title, raised.value.message, raised.value.visible) == (title, message, True)
