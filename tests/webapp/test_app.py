"""The page over HTTP: its endpoints, its refusals, and whose files are whose."""

from __future__ import annotations

import json
import time
from pathlib import Path

import gradio
import numpy as np
import pytest
import torch
from conftest import (
    CopyPipeline,
    EndlessPipeline,
    FacelessPipeline,
    PickyPipeline,
    call_tool,
    data_url,
    write_clip,
    write_speech,
)
from gradio_client import Client, handle_file
from media_samples import picture
from PIL import Image
from seen_persons import LEFT, RIGHT, CastPipeline

import app
from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel
from personatalk.media import probe_video
from personatalk.media.excerpt import cut_sound, cut_video
from personatalk.media.still import first_frame
from personatalk.pipeline import DubbingPipeline
from personatalk.webapp import build_demo, strings
from personatalk.webapp.limits import Limits

ENDPOINTS = ["/dub", "/preview"]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    demos = []

    def start(pipeline, limits: Limits | None = None) -> Client:
        demo = build_demo(pipeline, limits=limits)
        _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
        demos.append(demo)
        return Client(url, verbose=False, download_files=tmp_path / "downloaded")

    yield start
    for demo in demos:
        demo.close()


def test_a_page_that_answers_itself_too_late_is_served_all_the_same(serve, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(gradio.networking, "url_ok", lambda url: next(answers))
    client = serve(CopyPipeline())
    assert client.view_api(return_format="dict")["named_endpoints"]
    assert next(answers, None) is None


@pytest.fixture
def inputs(clip, speech):
    return {"clip": handle_file(clip), "speech": handle_file(speech), "consent": True}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_run_returns_video_summary_and_report(serve, inputs, endpoint):
    video, summary, report = serve(CopyPipeline()).predict(**inputs, api_name=endpoint)
    assert Path(video).stat().st_size > 0
    assert json.loads(Path(report).read_text()) == {"frames": 5}
    assert "5 frames at 25 fps" in summary and "passed through: 1." in summary


def test_options_reach_the_pipeline(serve, inputs, clip):
    pipeline = CopyPipeline()
    serve(pipeline).predict(
        **inputs, style_strength=0.5, mouth_amplitude=1.2, length="loop", reference_strategy="paper",
        style_clip=handle_file(clip), reference_clip=handle_file(clip), face_x=10, face_y=20, api_name="/dub",
    )  # fmt: skip
    options = pipeline.options
    assert (options.style_strength, options.mouth_amplitude) == (0.5, 1.2)
    assert (options.length, options.reference_strategy, options.face_point) == ("loop", "paper", (10, 20))
    assert options.style_video.read_bytes() == options.reference_video.read_bytes() == clip.read_bytes()


def test_preview_looks_at_two_seconds_from_where_the_speech_begins(serve, tmp_path):
    pipeline = CopyPipeline()
    clip = write_clip(tmp_path / "long.mp4", num_frames=90)
    speech = write_speech(tmp_path / "late.wav", seconds=4.0, silence=1.5)
    serve(pipeline).predict(handle_file(clip), handle_file(speech), True, api_name="/preview")
    assert pipeline.clip_frames == 90 and pipeline.speech_s == pytest.approx(4.0)  # all of both is taken into account
    assert pipeline.stretch == pytest.approx((1.4, 3.4), abs=0.01)


@pytest.mark.parametrize(("endpoint", "frames"), [("/dub", 76), ("/preview", 50)])
def test_a_still_image_stands_as_long_as_the_speech(serve, tmp_path, endpoint, frames):
    pipeline, still = CopyPipeline(), tmp_path / "portrait.png"
    Image.fromarray(picture(64, 48)).save(still)
    speech = write_speech(tmp_path / "speech.wav", seconds=3.0, silence=0.5)
    video, _, _ = serve(pipeline).predict(handle_file(still), handle_file(speech), True, api_name=endpoint)
    assert pipeline.clip_frames == 76
    assert np.abs(first_frame(Path(video)).astype(int) - picture(64, 48)).mean() < 6
    before = pipeline.folder / ("before.mp4" if endpoint == "/preview" else "still.mp4")
    assert probe_video(before).num_frames == frames  # plays beside the dub


def test_a_broken_or_faceless_still_image_is_refused_as_a_clip_is(serve, inputs, tmp_path):
    broken, empty = tmp_path / "broken.png", tmp_path / "empty.png"
    broken.write_bytes(b"no image")
    Image.fromarray(np.full((64, 48, 3), 128, np.uint8)).save(empty)
    client = serve(FacelessPipeline())
    with pytest.raises(Exception, match="broken.png is broken, or no image at all"):
        client.predict(**inputs | {"clip": handle_file(broken)}, api_name="/dub")
    with pytest.raises(Exception, match="No face was found in the clip"):
        client.predict(**inputs | {"clip": handle_file(empty)}, api_name="/dub")


def test_a_missing_step_is_named_and_nothing_runs(serve, inputs):
    pipeline = CopyPipeline()
    client = serve(pipeline)
    for missing, message in (
        ({"clip": None}, strings.CLIP_MISSING),
        ({"speech": None}, strings.SPEECH_MISSING),
        ({"consent": False}, strings.CONSENT_MISSING),
    ):
        for endpoint in ENDPOINTS:
            with pytest.raises(Exception, match=message[:40]):
                client.predict(**inputs | missing, api_name=endpoint)
    assert not hasattr(pipeline, "options")


def test_what_goes_beyond_a_limit_is_refused_with_the_limit(serve, inputs, tmp_path):
    pipeline = CopyPipeline()
    client = serve(pipeline, Limits(seconds=2.0))
    long_clip = handle_file(write_clip(tmp_path / "long.mp4", num_frames=80))
    long_speech = handle_file(write_speech(tmp_path / "long.wav", seconds=4.0))
    for changed, message in (
        ({"clip": long_clip}, "The clip is 3.2 s long; this page takes up to 2.0 s"),
        ({"speech": long_speech}, "The speech is 4.0 s long"),
        ({"style_clip": long_clip}, "The style clip is 3.2 s long"),
        ({"reference_clip": long_clip}, "The reference clip is 3.2 s long"),
    ):
        with pytest.raises(Exception, match=message):
            client.predict(**inputs | changed, api_name="/dub")
    with pytest.raises(Exception, match="The clip is 3.2 s long"):
        client.predict(clip=long_clip, api_name="/analyze")
    assert not hasattr(pipeline, "options")


def test_a_large_file_is_refused_with_the_limit(clip):
    with pytest.raises(Exception, match="MB large; this page takes up to 0 MB"):
        Limits(megabytes=0).check_clip(clip)


def test_error_that_the_visitor_can_mend_reaches_the_page(serve, inputs):
    pipeline = FacelessPipeline()
    client = serve(pipeline)
    with pytest.raises(Exception, match="No face was found in the clip"):
        client.predict(**inputs, api_name="/dub")
    assert not pipeline.folder.exists()
    with pytest.raises(Exception, match="No face is seen in the part of the clip"):
        client.predict(**inputs, api_name="/preview")
    with pytest.raises(Exception, match="both coordinates"):
        client.predict(**inputs, face_x=3, api_name="/dub")
    with pytest.raises(Exception, match="picture of the speaker in step 1"):
        client.predict(clip=None, api_name="/analyze")
    with pytest.raises(Exception, match="both coordinates"):
        client.predict(clip=inputs["clip"], face_y=3, api_name="/analyze")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_errors_name_no_folder_of_the_server(serve, inputs, endpoint):
    with pytest.raises(Exception, match="^The clip is too short to dub$"):
        serve(PickyPipeline()).predict(**inputs, api_name=endpoint)


def test_files_that_cannot_be_read_are_refused_by_every_endpoint(serve, inputs, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all " * 100)
    soundless = handle_file(write_clip(tmp_path / "soundless.mp4"))
    client = serve(CopyPipeline())
    for endpoint, given in (("/dub", inputs), ("/preview", inputs), ("/analyze", {"clip": inputs["clip"]})):
        with pytest.raises(Exception, match="broken.mp4 is a text file"):
            client.predict(**given | {"clip": handle_file(broken)}, api_name=endpoint)
        with pytest.raises(Exception, match="sound"):
            client.predict(**given | {"speech": soundless}, api_name=endpoint)


def test_analyze_refuses_a_clip_without_a_face(serve, tmp_path):
    clip = handle_file(write_clip(tmp_path / "grey.mp4", num_frames=30))
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    pipeline = DubbingPipeline(face_model, None, torch.nn.Identity(), torch.nn.Identity())  # no network is asked
    with pytest.raises(Exception, match="no face|No face"):
        serve(pipeline).predict(clip=clip, api_name="/analyze")


def test_a_run_waits_for_its_turn_can_be_stopped_in_the_queue_and_the_queue_is_bounded(serve, inputs):
    pipeline = EndlessPipeline()
    first = serve(pipeline, Limits(queue=1))
    second, third = (Client(first.src, verbose=False) for _ in range(2))
    running = first.submit(**inputs, api_name="/dub")
    wait_until(lambda: pipeline.started)
    waiting = second.submit(**inputs, api_name="/dub")
    wait_until(lambda: strings.WAITING_ONE in str(waiting.status().progress_data))
    with pytest.raises(Exception, match=r"Too many runs are waiting already \(1\)"):
        third.predict(**inputs, api_name="/preview")
    second.predict(api_name="/stop")
    with pytest.raises(Exception, match="Stopped"):
        waiting.result(timeout=20)
    assert not pipeline.stopped
    first.predict(api_name="/stop")
    with pytest.raises(Exception, match="Stopped"):
        running.result(timeout=20)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_stop_ends_the_run_of_its_own_session_only(serve, inputs, endpoint):
    pipeline = EndlessPipeline()
    client = serve(pipeline)
    other = Client(client.src, verbose=False)
    job = client.submit(**inputs, api_name=endpoint)
    wait_until(lambda: pipeline.started)
    other.predict(api_name="/stop")
    time.sleep(0.2)
    assert not pipeline.stopped
    client.predict(api_name="/stop")
    with pytest.raises(Exception, match="Stopped"):
        job.result(timeout=10)
    assert pipeline.stopped and not pipeline.folder.exists()


def test_two_sessions_get_their_own_files_in_folders_nobody_can_guess(serve, inputs, tmp_path):
    pipeline = CopyPipeline()
    first = serve(pipeline)
    second = Client(first.src, verbose=False, download_files=tmp_path / "second")
    folders = []
    for client in (first, second):
        client.predict(**inputs, api_name="/dub")
        folders.append(pipeline.folder)
    assert folders[0] != folders[1]
    assert all(len(folder.name) >= 32 and (folder / "dubbed.mp4").is_file() for folder in folders)


def test_the_endpoints_say_what_they_take_and_give(serve):
    described = serve(CopyPipeline()).view_api(return_format="dict")["named_endpoints"]
    assert set(described) == {"/dub", "/dub_faces", "/preview", "/analyze", "/faces", "/stream", "/stop"}
    names = [parameter["parameter_name"] for parameter in described["/dub"]["parameters"]]
    assert names == [
        "clip", "speech", "consent", "style_strength", "mouth_amplitude", "length", "reference_strategy",
        "style_clip", "reference_clip", "face_x", "face_y", "expression",
    ]  # fmt: skip
    assert names == [parameter["parameter_name"] for parameter in described["/preview"]["parameters"]]
    assert described["/dub"]["description"].startswith("Dub a clip")
    for parameter in described["/dub"]["parameters"]:
        assert parameter["type"] or parameter["python_type"]["type"], parameter
    analysis = described["/analyze"]
    assert analysis["description"].startswith("Measure a clip without dubbing it")
    names = [parameter["parameter_name"] for parameter in analysis["parameters"]]
    assert names == ["clip", "speech", "face_x", "face_y"]


def test_programs_list_the_persons_and_give_each_a_speech(serve, clip, speech, tmp_path):
    pipeline = CastPipeline()
    client, other = serve(pipeline), write_speech(tmp_path / "other.wav", 1.0)
    listed = client.predict(handle_file(clip), api_name="/faces")
    assert [person["number"] for person in listed] == [0, 1, 2, 3]
    reasons = [person["cannot_be_dubbed_because"] for person in listed]
    assert reasons == [None, "less than 60 pixels wide", "seen for less than a second", None]
    given = {"clip": handle_file(clip), "speeches": [handle_file(speech), handle_file(other)], "consent": True}
    video, _, _ = client.predict(**given, faces=[RIGHT, LEFT], length="audio", api_name="/dub_faces")
    assert Path(video).stat().st_size > 0 and pipeline.options.length == "audio" and pipeline.options.face is None
    heard = {number: path.read_bytes() for number, path in pipeline.speeches.items()}
    assert heard == {RIGHT: speech.read_bytes(), LEFT: other.read_bytes()}


def test_numbers_that_are_none_or_do_not_fit_the_speeches_are_refused(serve, clip, speech):
    pipeline = CastPipeline()
    client = serve(pipeline)
    given = {"clip": handle_file(clip), "consent": True}
    one, two, four = ([handle_file(speech)] * count for count in (1, 2, 4))
    for faces, speeches in (([0], two), ([0, 0], two), ([-1], one), (["0"], one), (0, one), ([0, 1, 2, 3], four)):
        with pytest.raises(Exception, match="a speech for each in the same order"):
            client.predict(**given, faces=faces, speeches=speeches, api_name="/dub_faces")
    with pytest.raises(Exception, match="tick step 3"):
        client.predict(**given | {"consent": False}, faces=[0], speeches=one, api_name="/dub_faces")
    assert not hasattr(pipeline, "speeches")


def test_programs_find_the_endpoints_as_mcp_tools(serve):
    pytest.importorskip("mcp", reason="the extra gradio[mcp] is not installed")
    import httpx

    schema = httpx.get(f"{serve(CopyPipeline()).src}gradio_api/mcp/schema").json()
    tools = {tool["name"].split("_")[-1]: tool for tool in schema}
    assert {"dub", "preview", "analyze"} <= set(tools)
    properties = tools["dub"]["inputSchema"]["properties"]
    assert "agreed" in properties["consent"]["description"]


def test_a_tool_dubs_over_mcp_and_no_caller_stops_anothers_run(serve, clip, speech):
    pytest.importorskip("mcp", reason="the extra gradio[mcp] is not installed")
    pipeline = CopyPipeline()
    given = {"clip": data_url(clip, "video/mp4"), "speech": data_url(speech, "audio/wav"), "consent": True}
    tools = f"{serve(pipeline).src}gradio_api/mcp/"
    answer = call_tool(tools, "dub", given)
    assert not answer.isError and "5 frames at 25 fps" in str(answer.content)
    assert pipeline.clip_frames == 5
    refused = call_tool(tools, "dub", given | {"consent": False})
    assert refused.isError and strings.CONSENT_MISSING in str(refused.content)
    refused = call_tool(tools, "stop", {})
    assert refused.isError and strings.STOP_NOT_BY_MCP in str(refused.content)


def test_the_page_is_served_to_this_machine_only_unless_it_is_a_space(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert app.parse_arguments([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/personatalk")
    assert app.parse_arguments([]).host == "0.0.0.0"


@pytest.mark.weights
@pytest.mark.slow
def test_analyze_measures_track_geometry_style_and_references(serve, pipeline, tmp_path):
    from personatalk.webapp.examples import ASSETS

    clip = cut_video(ASSETS / "grid_speaker.mp4", tmp_path / "clip.mp4", 0.0, 1.2)
    speech = cut_sound(ASSETS / "speech_bridge.wav", tmp_path / "speech.wav", 0.0, 1.2)
    client = serve(pipeline)
    report = client.predict(clip=handle_file(clip), speech=handle_file(speech), api_name="/analyze")
    assert report["clip"]["num_frames"] == 30 and report["track"]["frames_usable"] == 30
    assert 40 < report["geometry"]["face_scale_px"] < 90
    assert len(report["geometry"]["yaw_pitch_roll"]) == len(report["geometry"]["aperture_per_frame"]) == 30
    assert np.abs(report["geometry"]["yaw_pitch_roll"]).max() < 30  # he looks into the camera
    assert report["style"]["deviation"] > 0
    assert len(report["driven"]["aperture_per_frame"]) == 30
    assert set(report["references"]["lip_frames"]) <= set(range(30))
    silent = client.predict(clip=handle_file(clip), api_name="/analyze")
    assert "driven" not in silent and silent["style"] == report["style"]


def wait_until(happened, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
