from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from conftest import CopyPipeline, EndlessPipeline, FacelessPipeline
from gradio_client import Client, handle_file

import app


@pytest.fixture
def serve():
    demos = []

    def start(pipeline) -> Client:
        demo = app.build_demo(pipeline)
        _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
        demos.append(demo)
        return Client(url, verbose=False)

    yield start
    for demo in demos:
        demo.close()


@pytest.fixture
def inputs(clip, speech):
    return {"clip": handle_file(clip), "speech": handle_file(speech), "consent": True, "api_name": "/dub"}


def test_dub_returns_video_and_report_and_leaves_no_folder(serve, inputs):
    pipeline = CopyPipeline()
    video, summary, report = serve(pipeline).predict(**inputs)
    assert Path(video).stat().st_size > 0
    assert json.loads(Path(report).read_text()) == {"frames": 5}
    assert "5 frames at 25 a second" in summary and "1 frames show no usable face" in summary
    assert not pipeline.folder.exists()


def test_options_reach_the_pipeline(serve, inputs):
    pipeline = CopyPipeline()
    serve(pipeline).predict(
        **inputs, style_strength=0.5, mouth_amplitude=1.2, length="audio", reference_strategy="paper"
    )
    options = pipeline.options
    assert (options.style_strength, options.mouth_amplitude) == (0.5, 1.2)
    assert (options.length, options.reference_strategy) == ("audio", "paper")


def test_error_that_the_visitor_can_mend_reaches_the_page(serve, inputs):
    pipeline = FacelessPipeline()
    with pytest.raises(Exception, match="no face was found in the clip"):
        serve(pipeline).predict(**inputs)
    assert not pipeline.folder.exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [("clip", app.CLIP_MISSING), ("speech", app.SPEECH_MISSING), ("consent", app.CONSENT_MISSING)],
)
def test_a_missing_step_is_named_and_nothing_runs(serve, inputs, missing, message):
    pipeline = CopyPipeline()
    with pytest.raises(Exception, match=message[:40]):
        serve(pipeline).predict(**inputs | {missing: False if missing == "consent" else None})
    assert not hasattr(pipeline, "options")


def test_stop_ends_the_run_of_its_own_session_only(serve, inputs):
    pipeline = EndlessPipeline()
    client = serve(pipeline)
    other = Client(client.src, verbose=False)
    job = client.submit(**inputs)
    wait_until(lambda: pipeline.started)
    other.predict(api_name="/stop")
    time.sleep(0.2)
    assert not pipeline.stopped
    client.predict(api_name="/stop")
    with pytest.raises(Exception, match="Stopped"):
        job.result(timeout=10)
    assert pipeline.stopped and not pipeline.folder.exists()


def wait_until(happened, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_the_page_is_served_to_this_machine_only_unless_it_is_a_space(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert app.parse_arguments([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/personatalk")
    assert app.parse_arguments([]).host == "0.0.0.0"
