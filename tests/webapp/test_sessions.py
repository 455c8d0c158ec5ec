"""Whose files are whose, and when they go."""

from __future__ import annotations

import os
import time

import pytest

from personatalk.webapp.sessions import Sessions


@pytest.fixture
def sessions(tmp_path):
    return Sessions(tmp_path, keep_s=100)


def test_ending_a_session_removes_its_files_and_nobody_elses(sessions, tmp_path):
    mine, yours = sessions.start("me"), sessions.start("you")
    uploads = {name: tmp_path / name for name in ("mine", "ours")}
    for path in uploads.values():
        path.touch()
    sessions.add_upload("me", uploads["mine"])
    sessions.add_upload("me", uploads["ours"])
    sessions.add_upload("you", uploads["ours"])
    sessions.end("me")
    assert not mine.exists() and yours.exists()
    assert not uploads["mine"].exists() and uploads["ours"].exists()
    sessions.end("you")
    assert not yours.exists() and not uploads["ours"].exists()


def test_stopping_reaches_all_runs_of_the_session_only(sessions):
    mine, also_mine, yours = sessions.start("me"), sessions.start("me"), sessions.start("you")
    sessions.stop("me")
    assert sessions.should_stop(mine) and sessions.should_stop(also_mine) and not sessions.should_stop(yours)


def test_a_run_whose_session_ended_stops(sessions):
    folder = sessions.start("me")
    assert not sessions.should_stop(folder)
    sessions.end("me")
    assert sessions.should_stop(folder)


def test_stopping_a_run_that_was_announced_but_has_not_begun_is_not_lost(sessions):
    sessions.announce("me")
    sessions.stop("me")
    assert sessions.should_stop(sessions.start("me"))
    assert not sessions.should_stop(sessions.start("me"))  # the next one is wanted


def test_stopping_where_nothing_runs_does_not_stop_the_next_run(sessions):
    sessions.stop("me")
    assert not sessions.should_stop(sessions.start("me"))


def test_what_is_old_goes_unless_it_runs(sessions, tmp_path):
    finished, running, fresh = (sessions.start("me") for _ in range(3))
    upload = tmp_path / "upload"
    upload.touch()
    sessions.add_upload("me", upload)
    sessions.finish(finished)
    sessions.finish(fresh)
    for path in (finished, running, upload):
        os.utime(path, times=(time.time() - 101,) * 2)
    sessions.sweep()
    assert not finished.exists() and running.exists() and fresh.exists() and not upload.exists()
    assert sessions.kept.exists()
