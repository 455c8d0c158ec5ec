"""A browser, and pages served to it."""

from __future__ import annotations

import pytest

import app
from browser.visiting import ARTIFACTS, CHROMIUM, FLAGS, SIZES
from personatalk.webapp import build_demo


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

    def open_page(url: str, size: str = "desktop", scheme: str = "light", *, before: str = "", locale: str = "en-US"):
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            accept_downloads=True,
            locale=locale,
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(before)
        page.set_default_timeout(60_000)
        page.goto(url)
        page.locator("#dub").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    from personatalk.webapp.jobs import open_workplaces

    demo = build_demo(open_workplaces(None), cache=tmp_path_factory.mktemp("cache"))
    _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
    yield url
    demo.close()


@pytest.fixture
def serve():
    demos = []

    def start(pipeline, **options) -> str:
        demos.append(build_demo(pipeline, **options))
        return app.launch(demos[-1], host="127.0.0.1", port=None, block=False)[1]

    yield start
    for demo in demos:
        demo.close()
