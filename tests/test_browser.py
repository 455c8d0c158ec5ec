"""A visitor's way through the page, in a real browser, with the weights that ship; and two visitors at once."""

from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import CopyPipeline, EndlessPipeline, write_clip, write_speech
from PIL import Image

import app
from personatalk.media import probe_video
from personatalk.page import strings
from personatalk.page.examples import ASSETS
from personatalk.page.excerpt import cut_excerpt

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
DUB_TIMEOUT_MS = 300_000
CLIP_S = 1.2  # a short clip keeps the test short

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the Debian package chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    ARTIFACTS.mkdir(exist_ok=True)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open a page as a new visitor."""
    contexts = []

    def open_page(url: str, size: str = "desktop", scheme: str = "light"):
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(url)
        page.locator("#dub").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    from personatalk.pipeline import load_pipeline

    demo = app.build_demo(load_pipeline(), cache=tmp_path_factory.mktemp("cache"))
    _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
    yield url
    demo.close()


@pytest.fixture
def serve():
    demos = []

    def start(pipeline) -> str:
        demos.append(app.build_demo(pipeline))
        return app.launch(demos[-1], host="127.0.0.1", port=None, block=False)[1]

    yield start
    for demo in demos:
        demo.close()


def give(page, clip: Path, speech: Path) -> None:
    """Take steps 1 and 2."""
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#clip video").wait_for()
    page.locator("#speech input[type=file]").set_input_files(speech)
    page.get_by_text("frames: an estimate").wait_for()


def wait_for_result(page, summary: str) -> None:
    """Wait until a result with this in its summary can be played."""
    page.wait_for_function(
        "text => document.querySelector('#summary textarea').value.includes(text)"
        " && document.querySelector('#result video')?.readyState >= 2",
        arg=summary,
        timeout=DUB_TIMEOUT_MS,
    )


def assert_no_sideways_scrolling(page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def assert_shows_something(locator) -> None:
    """Wait until what is drawn there has light and dark in it."""
    locator.wait_for()
    locator.scroll_into_view_if_needed()
    deadline = time.monotonic() + 60
    while np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L"), float).std() < 12:
        assert time.monotonic() < deadline, f"{locator} stays blank"
        time.sleep(0.5)


@pytest.mark.weights
def test_a_visitor_dubs_a_clip_and_looks_inside(visit, url, tmp_path):
    clip, speech = cut_excerpt(ASSETS / "grid_speaker.mp4", ASSETS / "speech_bridge.wav", tmp_path, CLIP_S)
    frames = probe_video(clip).num_frames
    page = visit(url)
    give(page, clip, speech)
    page.locator("#dub").click()
    page.locator("#status").get_by_text(strings.CONSENT_MISSING).wait_for()
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#preview").click()
    wait_for_result(page, strings.SUMMARY_PREVIEW)
    page.locator("#dub").click()
    wait_for_result(page, f"{frames} frames at 25 a second")
    page.wait_for_function("!document.querySelector('#summary textarea').value.includes('Preview')")
    assert_videos_play_in_step(page)
    page.screenshot(path=ARTIFACTS / "result_desktop.png", full_page=True)
    assert_downloads_are_real(page, frames, probe_video(clip).width)
    look_inside(page)
    page.screenshot(path=ARTIFACTS / "panels_desktop.png", full_page=True)


def assert_videos_play_in_step(page) -> None:
    page.locator("#play").click()
    page.wait_for_function("document.querySelector('#result video').currentTime > 0.5")
    page.locator("#play").click()
    page.wait_for_function(
        "(() => { const [a, b] = ['before', 'result'].map((id) => document.querySelector(`#${id} video`));"
        " return a.paused && b.paused && a.currentTime > 0.3 && Math.abs(a.currentTime - b.currentTime) < 0.31; })()"
    )


def assert_downloads_are_real(page, frames: int, width: int) -> None:
    with page.expect_download() as download:
        page.locator("#report-file").click()
    assert json.loads(Path(download.value.path()).read_text())["num_frames"] == frames
    with page.expect_download() as download:
        page.locator("#video-file").click()
    assert (probe_video(download.value.path()).width, probe_video(download.value.path()).num_frames) == (width, frames)


def look_inside(page) -> None:
    """Open every panel, move the slider, click a pixel, make the overlay, download a mesh."""
    page.locator("#geometry > button").click()
    assert_shows_something(page.locator("#geometry-picture img"))
    assert_shows_something(page.locator("#geometry-model canvas"))
    shown = page.locator("#geometry-picture img").get_attribute("src")
    page.locator("#time input[type=number]").fill("3")
    page.locator("#time input[type=number]").press("Enter")
    page.wait_for_function("old => document.querySelector('#geometry-picture img').src !== old", arg=shown)
    page.locator("#make-overlay").click()
    page.locator("#geometry-overlay video").wait_for(timeout=DUB_TIMEOUT_MS)
    with page.expect_download() as download:
        page.locator("#download-glb").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"glTF"
    page.locator("#style > button").click()
    for name in ("curves", "map", "face"):
        assert_shows_something(page.locator(f"#style-{name} img"))
    page.locator("#references > button").click()
    assert_shows_something(page.locator("#lip-references img").first)
    own = page.locator("#lip-references .caption-label").all_inner_texts()
    page.locator("#shown-strategy input").click()
    page.get_by_role("option", name="random").click()
    page.wait_for_function(
        "old => { const shown = [...document.querySelectorAll('#lip-references .caption-label')];"
        " return shown.length && shown.map((label) => label.innerText).join() !== old; }",
        arg=",".join(own),
    )
    page.locator("#attention > button").click()
    assert_shows_something(page.locator("#attention-colours img"))
    assert_shows_something(page.locator("#attention-lip img"))
    page.locator("#attention-colours img").click(position={"x": 200, "y": 240})
    page.wait_for_function("document.querySelector('#attention-trace').innerText.includes('% from')")
    page.locator("#stages > button").click()
    page.locator("#stage-table").get_by_text("stage 2").wait_for()
    page.locator("#figures").get_by_text("identity").wait_for()


@pytest.mark.weights
def test_an_example_on_a_phone_in_the_dark(visit, url):
    page = visit(url, "phone", "dark")
    assert_no_sideways_scrolling(page)
    page.locator("#examples button").first.click()
    wait_for_result(page, "75 frames at 25 a second")
    second = visit(url, "phone", "dark")  # finds the example finished
    second.locator("#examples button").first.click()
    wait_for_result(second, "75 frames at 25 a second")
    for panel in ("geometry", "style", "references", "attention", "stages"):
        second.locator(f"#{panel} > button").click()
    assert_shows_something(second.locator("#attention-colours img"))
    second.locator("#figures").get_by_text("identity").wait_for()
    assert_no_sideways_scrolling(second)
    second.screenshot(path=ARTIFACTS / "panels_phone.png", full_page=True)


def test_two_visitors_at_once_do_not_mix_and_leave_nothing_behind(visit, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    url, speech = serve(CopyPipeline()), write_speech(tmp_path / "speech.wav", 1.0)
    pages = [visit(url), visit(url)]
    clips = [write_clip(tmp_path / f"{frames}.mp4", frames) for frames in (25, 40)]
    for page, clip in zip(pages, clips, strict=True):
        give(page, clip, speech)
        page.get_by_label(strings.CONSENT_LABEL).check()
    for page in pages:
        page.locator("#dub").click()
    for page, clip in zip(pages, clips, strict=True):
        wait_for_result(page, "5 frames")
        with page.expect_download() as download:
            page.locator("#video-file").click()
        assert Path(download.value.path()).read_bytes() == clip.read_bytes()
    pages[0].context.close()
    left = []
    deadline = time.monotonic() + 60
    while len(left) != 1:  # the other visitor's upload and result stay
        left = [path for path in (tmp_path / "served").rglob("dubbed.mp4")]
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    assert not list((tmp_path / "served").rglob("25.mp4")) and list((tmp_path / "served").rglob("40.mp4"))


def test_stop_stops_and_gives_the_buttons_back(visit, serve, clip, speech):
    pipeline = EndlessPipeline()
    page = visit(serve(pipeline))
    give(page, clip, speech)
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#dub").click()
    page.wait_for_function("!document.querySelector('#stop').disabled")
    while not pipeline.started:
        page.wait_for_timeout(50)
    page.locator("#stop").click()
    page.locator("#status").get_by_text(strings.STOPPED).wait_for()
    page.wait_for_function("!document.querySelector('#dub').disabled")
    page.wait_for_timeout(200)
    assert pipeline.stopped and not pipeline.folder.exists()
