"""A visitor's way through the page, in a real browser, with the weights that ship."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import app
from personatalk.media import probe_video, read_frames

ROOT = Path(__file__).parents[1]
ARTIFACTS = ROOT / "artifacts"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
DUB_TIMEOUT_MS = 300_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.skipif(CHROMIUM is None, reason="the Debian package chromium is not installed"),
]


@pytest.fixture(scope="module")
def url():
    from personatalk.pipeline import load_pipeline

    demo = app.build_demo(load_pipeline())
    _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
    yield url
    demo.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("size", SIZES)
def test_a_visitor_dubs_the_example(browser, url, size):
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    ARTIFACTS.mkdir(exist_ok=True)
    try:
        page.goto(url)
        page.get_by_role("button", name="Dub").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        page.screenshot(path=ARTIFACTS / f"page_{size}.png", full_page=True)

        page.locator(".gallery-item, table tbody tr").first.click()
        page.locator("#clip video").wait_for()
        page.get_by_role("button", name="Dub").click()
        page.get_by_text(app.CONSENT_MISSING).wait_for()

        page.get_by_label(app.CONSENT_LABEL).check()
        page.get_by_role("button", name="Dub").click()
        page.locator("#result video").wait_for(timeout=DUB_TIMEOUT_MS)
        page.wait_for_function("document.querySelector('#result video').readyState >= 2")
        page.screenshot(path=ARTIFACTS / f"result_{size}.png", full_page=True)
        assert "frames at 25 a second" in page.locator("#summary textarea").input_value()

        with page.expect_download() as download:
            page.locator("#report a").first.click()
        report = json.loads(Path(download.value.path()).read_text())
        clip = sorted(app.ASSETS.glob("*.mp4"))[0]
        assert report["num_frames"] == sum(1 for _ in read_frames(clip))
        assert page.evaluate("document.querySelector('#result video').videoWidth") == probe_video(clip).width
    finally:
        context.close()
