"""A visitor's way through the page with the weights that ship."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import pytest

from browser.visiting import (
    ARTIFACTS,
    DUB_TIMEOUT_MS,
    IN_A_BROWSER,
    assert_no_sideways_scrolling,
    assert_shows_something,
    give,
    wait_for_result,
)
from personatalk.media import probe_video
from personatalk.media.excerpt import cut_sound, cut_video
from personatalk.webapp import strings
from personatalk.webapp.examples import ASSETS

CLIP_S = 1.2  # a short clip keeps the test short
pytestmark = IN_A_BROWSER


@pytest.mark.weights
def test_a_visitor_dubs_a_clip_and_looks_inside(visit, url, tmp_path):
    clip = cut_video(ASSETS / "grid_speaker.mp4", tmp_path / "clip.mp4", 0.0, CLIP_S)
    speech = cut_sound(ASSETS / "speech_bridge.wav", tmp_path / "speech.wav", 0.0, CLIP_S)
    frames = probe_video(clip).num_frames
    page = visit(url)
    give(page, clip, speech)
    page.locator("#dub").click()
    page.locator("#status").get_by_text(strings.CONSENT_MISSING).wait_for()
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#preview").click()
    wait_for_result(page, strings.SUMMARY_PREVIEW)
    page.locator("#dub").click()
    wait_for_result(page, f"{frames} frames at 25 fps")
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
    page.locator("#animate-webp").click()
    page.locator("#animation-file").wait_for()
    with page.expect_download() as download:
        page.locator("#animation-file").click()
    assert iio.imread(download.value.path(), extension=".webp", index=0).shape[1] >= 2 * width


def look_inside(page) -> None:
    """Open every panel, move the slider, click a pixel, make the overlay, download a mesh."""
    page.locator("#geometry > button").click()
    assert_shows_something(page.locator("#geometry-picture img"))
    assert_shows_something(page.locator("#geometry-model canvas"))
    shown = page.locator("#geometry-picture img").get_attribute("src")
    page.locator("#frame-slider input[type=number]").fill("3")
    page.locator("#frame-slider input[type=number]").press("Enter")
    page.wait_for_function("old => document.querySelector('#geometry-picture img').src !== old", arg=shown)
    page.locator("#make-overlay").click()
    page.locator("#geometry-overlay video").wait_for(timeout=DUB_TIMEOUT_MS)
    for kind, begins in (("glb", b"glTF"), ("ply", b"ply"), ("npz", b"PK")):
        with page.expect_download() as download:
            page.locator(f"#download-{kind}").click()
        assert Path(download.value.path()).read_bytes().startswith(begins)
    page.wait_for_function(
        "['before', 'result'].every((id) => {"
        " const time = document.querySelector(`#${id} video`).currentTime; return time > 0.1 && time < 0.2; })"
    )  # frame 3 of 25 a second: the slider moves the videos too
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
    page.locator("#measure-dub").click()
    page.locator("#seen-figures").get_by_text("lip aperture, measured").wait_for(timeout=DUB_TIMEOUT_MS)
    assert page.evaluate("[...document.querySelectorAll('#inside .picture img')].every((image) => image.alt)")
    slider = page.locator("#frame-slider").bounding_box()  # stays in sight at the end of the last panel
    assert 0 <= slider["y"] and slider["y"] + slider["height"] <= page.viewport_size["height"]
    page.locator("#attention").evaluate("panel => panel.scrollIntoView()")
    page.wait_for_function(COVERED_BY_NOTHING)


COVERED_BY_NOTHING = """() => {
  const slider = document.querySelector('#frame-slider'), box = slider.getBoundingClientRect();
  for (let y = box.top + 4; y < box.bottom - 4; y += 6)
    for (let x = box.left + 12; x < box.right - 12; x += 12)
      if (!slider.contains(document.elementFromPoint(x, y))) return false;
  return true;
}"""


@pytest.mark.weights
def test_an_example_on_a_phone_in_the_dark(visit, url):
    page = visit(url, "phone", "dark")
    assert_no_sideways_scrolling(page)
    page.locator("#examples button").first.click()
    wait_for_result(page, "75 frames at 25 fps")
    second = visit(url, "phone", "dark")  # finds the example finished
    second.locator("#examples button").first.click()
    wait_for_result(second, "75 frames at 25 fps")
    for panel in ("geometry", "style", "references", "attention", "stages"):
        second.locator(f"#{panel} > button").click()
    for shown in (
        "geometry-picture", "geometry-curves", "style-map", "lip-references", "attention-colours", "attention-lip",
        "attention-prior",
    ):  # fmt: skip
        assert_shows_something(second.locator(f"#{shown} img").first)
    second.locator("#figures").get_by_text("identity").wait_for()
    assert_no_sideways_scrolling(second)
    for panel in ("geometry", "style", "references", "attention", "stages"):
        second.locator(f"#{panel}").screenshot(path=ARTIFACTS / f"{panel}_phone.png")
