"""Files that were sent to the page and never used do not stay: they go with age, and with the server."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from conftest import CopyPipeline

import app
from personatalk.webapp import build_demo, layout
from personatalk.webapp.limits import Limits


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    demos = []

    def serve(keep_s: float):
        demo = build_demo(CopyPipeline(), limits=Limits(keep_s=layout.KEEP_MARGIN_S + keep_s))
        _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
        demos.append(demo)
        return demo, url

    yield serve
    for demo in demos:
        demo.close()


def send(url: str, clip: Path) -> Path:
    """Send a file as curl does, and leave it at that."""
    answer = httpx.post(f"{url}gradio_api/upload", files={"files": (clip.name, clip.read_bytes())})
    sent = Path(answer.json()[0])
    assert sent.read_bytes() == clip.read_bytes()
    return sent


def is_gone(path: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not path.exists()


def test_a_file_that_is_never_used_goes_with_age(start, clip, monkeypatch):
    monkeypatch.setattr(layout, "SWEEP_S", 1)
    sent = send(start(1)[1], clip)
    assert is_gone(sent, 30)


def test_a_file_that_is_never_used_goes_with_the_server(start, clip):
    demo, url = start(3600)
    sent = send(url, clip)
    demo.close()
    assert is_gone(sent, 30)
