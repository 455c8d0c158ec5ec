"""A dub is watched while it is rendered, and the finished file takes over where it is."""

from __future__ import annotations

import pytest
from conftest import WaitingPipeline, write_speech
from media_samples import picture, write_video

from browser.visiting import (
    ARTIFACTS,
    IN_A_BROWSER,
    assert_can_be_read,
    assert_no_sideways_scrolling,
    frame_shown,
    give,
    height_of,
    wait_for_result,
)
from personatalk.webapp import strings

pytestmark = IN_A_BROWSER
FRAMES = 200
GROWING = ".growing video"
OF_GROWING = f"document.querySelector('{GROWING}')"


TOUCHED = "([x, y]) => Boolean(document.elementFromPoint(x, y).closest('#result [data-testid=status-tracker]'))"


@pytest.fixture
def begin(visit, serve, tmp_path):
    """Start a dub that stops in its middle; returns its pipeline and the page."""
    clip = write_video(tmp_path / "clip.mp4", [picture(96, 128, index) for index in range(FRAMES)])
    speech = write_speech(tmp_path / "speech.wav", FRAMES / 25)

    def start(size: str = "desktop", **options):
        pipeline = WaitingPipeline()
        page = visit(serve(pipeline), size, **options)
        give(page, clip, speech)
        page.get_by_label(strings.CONSENT_LABEL).check()
        heights = {selector: height_of(page, selector) for selector in ("html", "#workspace")}
        page.locator("#dub").click()
        return pipeline, page, heights

    return start


def test_it_plays_before_the_dub_is_over_and_the_file_goes_on_from_there(begin):
    pipeline, page, heights = begin()
    page.wait_for_function(f"{OF_GROWING}?.readyState >= 2 && {OF_GROWING}.currentTime > 0.5")
    assert not pipeline.is_over
    assert page.locator(".growing p").inner_text() == strings.GROWING
    assert_can_be_read(page)
    assert all(height_of(page, selector) <= height + 40 for selector, height in heights.items())  # the status is new
    assert page.locator("#result").bounding_box()["height"] > 150
    page.screenshot(path=ARTIFACTS / "growing_desktop.png")
    video, progress = (page.locator(f"#result {name}").bounding_box() for name in ("video", ".progress-bar-wrap"))
    assert video["y"] >= height_of(page, "#time-bar") and video["y"] + video["height"] <= progress["y"]
    assert page.evaluate(TOUCHED, [progress["x"] + 5, progress["y"]])  # how far the rest is can be seen
    pipeline.may_end.set()
    wait_for_result(page, f"{FRAMES} frames")
    page.wait_for_function("!document.querySelector('.growing')")
    page.wait_for_function("!document.querySelector('#result video').paused")
    assert frame_shown(page) >= 12
    assert page.locator("#result video").count() == 1
    page.wait_for_function("document.querySelector('#result video').ended", timeout=30_000)


def test_the_file_takes_over_from_the_second_dub_of_a_clip_too(begin):
    pipeline, page, _ = begin()
    pipeline.may_end.set()
    wait_for_result(page, f"{FRAMES} frames")
    page.wait_for_function("!document.querySelector('.growing')")
    pipeline.may_end.clear()
    page.locator("#dub").click()
    page.wait_for_function(f"{OF_GROWING}?.readyState >= 2")
    pipeline.may_end.set()
    page.wait_for_function("!document.querySelector('.growing')", timeout=30_000)


def test_on_a_phone_it_is_shown_and_stays_where_it_was_paused(begin):
    pipeline, page, _ = begin("phone")
    page.wait_for_function(f"{OF_GROWING}?.currentTime > 0.3")
    assert page.locator("#page").get_attribute("data-shown") == "result"
    assert_no_sideways_scrolling(page)
    assert height_of(page, "html") <= 2 * page.viewport_size["height"]
    paused = page.evaluate(f"() => {{ {OF_GROWING}.pause(); return {OF_GROWING}.currentTime; }}")
    page.screenshot(path=ARTIFACTS / "growing_phone.png")
    pipeline.may_end.set()
    wait_for_result(page, f"{FRAMES} frames")
    page.wait_for_function("!document.querySelector('.growing')")
    assert frame_shown(page) == int(25 * paused + 1e-3)
    assert page.evaluate("document.querySelector('#result video').paused")


@pytest.mark.parametrize("view", ["wipe", "mouth"])
def test_it_is_seen_whole_in_other_views_and_goes_when_the_dub_is_stopped(begin, view):
    pipeline, page, _ = begin(before=f"addEventListener('load', () => setTimeout(() => compare.view('{view}'), 500))")
    page.wait_for_function(f"{OF_GROWING}?.currentTime > 0.1")
    page.evaluate(f"compare.view('{view}')")
    seen = page.locator(GROWING).bounding_box()
    assert page.locator(GROWING).is_visible() and seen["width"] > 200 and seen["height"] > 80
    assert page.evaluate("getComputedStyle(document.querySelector('#result')).clipPath") == "none"
    page.locator("#stop").click()
    page.locator("#status").get_by_text(strings.STOPPED).wait_for()
    page.wait_for_function("!document.querySelector('.growing')")


CANNOT_PLAY = """
  const source = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "src");
  Object.defineProperty(HTMLMediaElement.prototype, "src", {...source, set(address) {
    window.wasAsked ||= address.includes("/growing/");
    source.set.call(this, address.includes("/growing/") ? "data:video/mp4;base64,AAAA" : address);
  }});
  document.addEventListener("growing", () => { window.grew = true; });
"""


def test_a_browser_that_cannot_play_it_sees_what_it_saw_before(begin):
    pipeline, page, _ = begin(before=CANNOT_PLAY)
    page.wait_for_function("window.wasAsked")
    page.wait_for_timeout(1000)
    assert page.locator(".growing").count() == 0 and not page.evaluate("Boolean(window.grew)")
    pipeline.may_end.set()
    wait_for_result(page, f"{FRAMES} frames")
    page.wait_for_function("frame => document.querySelector('#time-bar input').value === frame", arg=str(FRAMES // 2))
