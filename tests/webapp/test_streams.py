"""A dub's video is served while it grows, to who has its address, and to nobody afterwards."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import CopyPipeline, EndlessPipeline, WaitingPipeline, write_clip, write_speech
from gradio_client import Client, handle_file

import app
from personatalk.media import read_frames
from personatalk.webapp import build_demo, strings
from personatalk.webapp.streams import PREFIX, GrowingVideo, Streams


@pytest.fixture
def serve(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    demos = []

    def start(pipeline) -> tuple[str, Client]:
        demos.append(build_demo(pipeline))
        url = app.launch(demos[-1], host="127.0.0.1", port=None, block=False)[1]
        return url.rstrip("/"), Client(url, verbose=False, download_files=tmp_path / "downloaded")

    yield start
    for demo in demos:
        demo.close()


@pytest.fixture
def inputs(tmp_path) -> dict:
    clip, speech = write_clip(tmp_path / "clip.mp4", 200), write_speech(tmp_path / "speech.wav", 8.0)
    return {"clip": handle_file(clip), "speech": handle_file(speech), "consent": True}


def get(url: str):
    return urllib.request.urlopen(url, timeout=30)


def status(url: str) -> int:
    try:
        return get(url).status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_video_is_read_while_the_dub_goes_on_and_is_gone_afterwards(serve, inputs, tmp_path):
    pipeline = WaitingPipeline()
    url, client = serve(pipeline)
    job = client.submit(**inputs, api_name="/dub")
    address = client.predict(api_name="/stream")["address"]
    assert address.startswith(PREFIX) and len(address) > len(PREFIX) + 30
    with get(url + address) as response:
        assert response.headers["Content-Type"] == "video/mp4" and response.headers["Cache-Control"] == "no-store"
        begun = response.read1()
        while len(begun) < 2000:  # moov and some fragments
            begun += response.read1()
        (tmp_path / "begun.mp4").write_bytes(begun)
        assert not pipeline.is_over and len(list(read_frames(tmp_path / "begun.mp4"))) > 2
        assert str(tmp_path) not in address and pipeline.folder.name not in address
        pipeline.may_end.set()
        whole = begun + response.read()
    video = job.result()[0]
    (tmp_path / "whole.mp4").write_bytes(whole)
    for first, second in zip(read_frames(tmp_path / "whole.mp4"), read_frames(video), strict=True):
        assert first.time == second.time and np.array_equal(first.image, second.image)
    assert status(url + address) == 404 and not list((tmp_path / "served").rglob("stream.mp4"))
    assert status(url + PREFIX + "x") == 404


def test_a_stopped_dub_ends_its_stream_and_others_never_hear_of_it(serve, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("personatalk.webapp.streams.START_S", 0.2)

    class Endless(EndlessPipeline):
        def dub(self, video, audio, output, *arguments, stream, **keywords):
            stream.write_bytes(b"begun")
            return super().dub(video, audio, output, *arguments, **keywords)

    url, client = serve(Endless())
    job = client.submit(**inputs, api_name="/dub")
    while (address := client.predict(api_name="/stream")["address"]) is None:
        time.sleep(0.1)
    assert Client(url, verbose=False).predict(api_name="/stream") == {"address": None}
    with get(url + address) as response:
        client.predict(api_name="/stop")
        assert response.read() == b"begun"
    with pytest.raises(Exception, match=strings.STOPPED):
        job.result()
    assert status(url + address) == 404


def test_a_preview_has_no_stream(serve, inputs, monkeypatch):
    monkeypatch.setattr("personatalk.webapp.streams.START_S", 0.2)
    seen = []

    class Seeing(CopyPipeline):
        def dub(self, *arguments, stream=None, **keywords):
            seen.append(stream)
            return super().dub(*arguments, **keywords)

    _, client = serve(Seeing())
    client.predict(**inputs, api_name="/preview")
    assert seen == [None] and client.predict(api_name="/stream") == {"address": None}


def test_the_later_of_two_dubs_of_a_session_keeps_its_stream(tmp_path):
    streams = Streams()
    first = streams.growing("a", tmp_path / "1.mp4")
    first.__enter__()
    with streams.growing("a", tmp_path / "2.mp4") as path:
        first.__exit__(None, None, None)
        path.write_bytes(b"begun")
        assert streams._by_session["a"].path == path and len(streams._by_token) == 1
    assert not streams._by_session and not streams._by_token and not path.exists()


def test_tokens_cannot_be_guessed():
    tokens = {GrowingVideo(Path("a")).token for _ in range(100)}
    assert len(tokens) == 100 and all(len(token) >= 32 for token in tokens)
