"""A visitor's way through the page with the weights that ship."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import imageio.v3 as iio
import pytest

from browser.visiting import (
    ARTIFACTS,
    DUB_TIMEOUT_MS,
    IN_A_BROWSER,
    PANELS,
    assert_no_sideways_scrolling,
    assert_shows_something,
    give,
    height_of,
    move_bar,
    open_panel,
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
    page.wait_for_function("!document.querySelector('.growing')")
    move_bar(page, 0)  # it may play on from where it was while it was rendered
    page.locator("#time-bar .play").click()
    page.wait_for_function("document.querySelector('#result video').currentTime < 0.45")
    page.wait_for_function("document.querySelector('#result video').currentTime > 0.5")
    page.locator("#time-bar .play").click()
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
    with page.expect_download() as download:  # it is saved as soon as it is made
        page.locator("#make-webp").click()
    assert iio.imread(download.value.path(), extension=".webp", index=0).shape[1] >= 2 * width
    with page.expect_download() as download:
        page.locator("#make-zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"before.mp4", "dubbed.mp4", "side_by_side.mp4", "report.json"} <= set(archive.namelist())
        assert {"geometry.glb", "geometry.npz"} <= set(archive.namelist())


def look_inside(page) -> None:
    """Open every panel, move the bar, play, click a pixel, make the overlay, download a mesh."""
    open_panel(page, "geometry")
    assert_shows_something(page.locator("#geometry-pictures img").first)
    shown = page.locator("#geometry-pictures img").first.get_attribute("src")
    move_bar(page, 3)
    page.wait_for_function("old => document.querySelector('#geometry-pictures img').src !== old", arg=shown)
    page.wait_for_function(
        "['before', 'result'].every((id) => {"
        " const time = document.querySelector(`#${id} video`).currentTime; return time > 0.1 && time < 0.2; })"
    )  # frame 3 of 25 a second: the bar moves the videos too
    shown = page.locator("#geometry-pictures img").first.get_attribute("src")
    page.locator("#time-bar .play").click()  # and the video moves the bar and the panels
    page.wait_for_function("document.querySelector('#time-bar input').value > 10")
    page.wait_for_function("old => document.querySelector('#geometry-pictures img').src !== old", arg=shown)
    download_meshes(page)
    open_panel(page, "geometry", "model")
    assert_shows_something(page.locator("#turntable video"))  # as this browser has no graphics card
    open_panel(page, "geometry", "overlay")
    page.locator("#make-overlay").click()
    page.locator("#geometry-overlay video").wait_for(timeout=DUB_TIMEOUT_MS)
    look_at_references(page)
    open_panel(page, "attention")
    assert_shows_something(page.locator("#attention-colours img"))
    page.locator("#attention-colours img").click(position={"x": 200, "y": 240})
    page.wait_for_function("document.querySelector('#attention-trace').innerText.includes('% from')")
    open_panel(page, "figures", "stages")
    page.locator("#stage-table").get_by_text("stage 2").wait_for()
    open_panel(page, "figures", "merits")
    page.locator("#merit-table").get_by_text("identity").wait_for()
    page.locator("#measure-dub").click()
    page.locator("#seen-figures").get_by_text("lip aperture, measured").wait_for(timeout=DUB_TIMEOUT_MS)
    assert page.evaluate("[...document.querySelectorAll('#workspace .picture img')].every((image) => image.alt)")
    bar = page.locator("#time-bar").bounding_box()  # stays in sight at the end of the page
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert 0 <= bar["y"] and bar["y"] + bar["height"] <= page.viewport_size["height"]
    page.wait_for_function(COVERED_BY_NOTHING)


def download_meshes(page) -> None:
    for panel, kind, begins in (("meshes", "ply", b"ply"), ("meshes", "npz", b"PK"), ("model", "glb", b"glTF")):
        open_panel(page, "geometry", panel)
        assert download_of(page, f"#download-{kind}").read_bytes().startswith(begins)


def download_of(page, button: str) -> Path:
    """Press a button until it gives its file: what it offers is made when its panel is opened."""
    downloads = []
    page.once("download", lambda download: downloads.append(download))
    for _ in range(30):
        page.locator(button).click()
        page.wait_for_timeout(2000)
        if downloads:
            return Path(downloads[0].path())
    raise AssertionError(f"{button} gives no file")


def look_at_references(page) -> None:
    open_panel(page, "references")
    assert_shows_something(page.locator("#lip-references img").first)
    assert page.evaluate(CAPTIONS_ARE_WHOLE)
    own = page.locator("#lip-references .caption-label").all_inner_texts()
    page.locator("#shown-strategy input").click()
    page.get_by_role("option", name="random").click()
    page.wait_for_function(
        "old => { const shown = [...document.querySelectorAll('#lip-references .caption-label')];"
        " return shown.length && shown.map((label) => label.innerText).join() !== old; }",
        arg=",".join(own),
    )


CAPTIONS_ARE_WHOLE = """(() => {
  const bottom = document.querySelector('#lip-references .grid-wrap').getBoundingClientRect().bottom;
  return [...document.querySelectorAll('#lip-references .caption-label')].every(
    (caption) => caption.getBoundingClientRect().bottom <= bottom + 1);
})()"""
COVERED_BY_NOTHING = """() => {
  const bar = document.querySelector('#time-bar'), box = bar.getBoundingClientRect();
  for (let y = box.top + 4; y < box.bottom - 4; y += 6)
    for (let x = box.left + 12; x < box.right - 12; x += 12)
      if (!bar.contains(document.elementFromPoint(x, y))) return false;
  return true;
}"""


@pytest.mark.weights
@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("desktop", "light")])
def test_every_panel_of_an_example_fits(visit, url, size, scheme):
    page = visit(url, size, scheme)
    assert_no_sideways_scrolling(page)
    page.locator("#examples button").first.click()
    wait_for_result(page, "75 frames at 25 fps")
    window = page.viewport_size["height"]
    for group, panel in PANELS:
        open_panel(page, group, panel)
        assert_shows_something(page.locator(PANELS[group, panel]).first)
        assert_no_sideways_scrolling(page)
        limits = {"html": 2} if size == "phone" else {"html": 2, "#workspace": 1}  # windows
        heights = {selector: height_of(page, selector) / window for selector in limits}
        assert all(heights[selector] <= limits[selector] for selector in limits), (group, panel, heights)
        page.screenshot(path=ARTIFACTS / f"{group}_{panel}_{size}.png", full_page=True)


@pytest.mark.weights
def test_a_link_leads_to_an_example_its_panel_and_its_frame(visit, url):
    page = visit(f"{url}?example=grid_speaker&panel=attention&frame=42", before="")
    page.wait_for_function("document.querySelector('#time-bar input').value === '42'", timeout=DUB_TIMEOUT_MS)
    assert_shows_something(page.locator("#attention-colours img"))
    page.wait_for_function("Math.abs(document.querySelector('#result video').currentTime - 42.5 / 25) < 0.02")
    open_panel(page, "style")
    move_bar(page, 50)
    page.wait_for_url("**panel=style&frame=50**")
