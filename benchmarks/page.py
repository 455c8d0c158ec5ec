"""Time of the page in Chromium: its own load, from opening it to an example's result, and a dub and its first picture.

python -m benchmarks.page [--chromium /usr/bin/chromium] [--seconds 5] [--json page.json]
python -m benchmarks.page --screenshots docs/page
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.samples import EXAMPLE_CLIP, EXAMPLE_SPEECH, build_clip, build_speech

FLAGS = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
TIMEOUT_MS = 300_000
CLIP_S = 5.0
WIDTH, HEIGHT = 1280, 720  # px
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SETTLE_MS = 4000  # until what an opened panel shows has come
WEBP_QUALITY = 80


@dataclass(frozen=True)
class Shot:
    """A picture of the page.

    Attributes:
        size: of the window, px.
        scheme: "light" or "dark".
        link: what is asked for behind the page's address.
        shows: selector of something that is seen once the page is complete.
    """

    size: dict[str, int]
    scheme: str
    link: str
    shows: str


SHOTS = {
    "desktop_light": Shot(DESKTOP, "light", "?example=rendered_head&panel=result&frame=30", "#speech-chart svg"),
    "desktop_dark": Shot(DESKTOP, "dark", "?example=rendered_head&panel=attention&frame=30", "#attention-colours img"),
    "phone_light": Shot(PHONE, "light", "", "#examples button"),
    "phone_dark": Shot(PHONE, "dark", "?example=rendered_head&panel=style&frame=30", "#style-curves svg"),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description="Times of the page in Chromium: load, first example, and a dub, all of it and to its first picture."
    )
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=CLIP_S, help="of the clip that is dubbed; default: %(default)s"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument(
        "--screenshots", type=Path, help="write pictures of the page to this folder, and measure nothing"
    )
    args = parser.parse_args(arguments)
    if args.screenshots:
        take_screenshots(args.chromium, args.screenshots)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args.chromium, Path(folder), args.seconds)
    for name, seconds in figures.items():
        print(f"{name:<34}{seconds:6.1f} s")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


@contextmanager
def serving(cache: Path) -> Iterator[str]:
    """Serve the page; its address."""
    import app
    from personatalk.webapp import build_demo
    from personatalk.webapp.jobs import open_workplaces

    demo = build_demo(open_workplaces(None), cache=cache)
    yield app.launch(demo, host="127.0.0.1", port=None, block=False)[1]
    demo.close()


def measure(chromium: str, folder: Path, seconds: float) -> dict[str, float]:
    """Serve the page from an empty cache and visit it as a new visitor each time; the clip lasts so many seconds."""
    from playwright.sync_api import sync_playwright

    started = time.perf_counter()
    with serving(folder / "cache") as url, sync_playwright() as playwright:
        figures = {"server_ready": time.perf_counter() - started}
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            for name in ("first", "again"):
                figures[f"page_load_{name}"] = visit(browser, url, load)
            for name in ("cold", "cached"):
                figures[f"open_to_example_{name}"] = visit(browser, url, see_example)
            clip = build_clip(EXAMPLE_CLIP, folder / "clip.mp4", seconds=seconds, width=WIDTH, height=HEIGHT)
            speech = build_speech(EXAMPLE_SPEECH, folder / "speech.wav", seconds=seconds)
            name = f"dub_of_{seconds:g}_s_720p"
            figures[name] = visit(browser, url, lambda page: dub(page, clip, speech, figures))
        finally:
            browser.close()
    return figures


def take_screenshots(chromium: str, folder: Path) -> None:
    """Write a picture of the page for each of SHOTS, WebP."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache, serving(Path(cache)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            for name, shot in SHOTS.items():
                take(browser, url, shot).save(folder / f"{name}.webp", quality=WEBP_QUALITY, method=6)
        finally:
            browser.close()


def take(browser, url: str, shot: Shot) -> Image.Image:
    """See the page as a new visitor: all of it where nothing is asked for, otherwise as much as the window shows."""
    context = browser.new_context(viewport=shot.size, color_scheme=shot.scheme)
    try:
        page = context.new_page()
        page.goto(url + shot.link)
        page.locator(shot.shows).first.wait_for(timeout=TIMEOUT_MS)
        page.wait_for_timeout(SETTLE_MS)
        return Image.open(io.BytesIO(page.screenshot(full_page=not shot.link)))
    finally:
        context.close()


def visit(browser, url: str, act) -> float:
    """Do something on a page that was just opened by a new visitor; returns the seconds since opening it.

    Where `act` returns a time, the seconds are counted from there.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        started = time.perf_counter()
        page.goto(url)
        load(page)
        began = act(page) or started
        return time.perf_counter() - began
    finally:
        context.close()


def load(page) -> None:
    """Wait until the page can be used."""
    page.locator("#dub").wait_for()


def see_example(page) -> None:
    """Press the first example and wait for its video."""
    page.locator("#examples button").first.click()
    wait_for_video(page)


def dub(page, clip: Path, speech: Path, figures: dict[str, float]) -> float:
    """Upload, consent and dub; returns the time at which Dub was pressed, and notes when its first picture played."""
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#speech input[type=file]").set_input_files(speech)
    page.locator("#clip video").wait_for(timeout=TIMEOUT_MS)
    page.locator("#consent input").check()
    page.get_by_text("frames: an estimate").wait_for(timeout=TIMEOUT_MS)
    pressed = time.perf_counter()
    page.locator("#dub").click()
    page.wait_for_function("document.querySelector('.growing video')?.currentTime > 0", timeout=TIMEOUT_MS)
    figures["first_picture_of_it_plays"] = time.perf_counter() - pressed
    wait_for_video(page)
    return pressed


def wait_for_video(page) -> None:
    """Wait until the result can be played."""
    video = "#result video:not(.growing *)"
    page.locator(video).wait_for(timeout=TIMEOUT_MS)
    page.wait_for_function("(video) => document.querySelector(video).readyState >= 2", arg=video, timeout=TIMEOUT_MS)


if __name__ == "__main__":
    sys.exit(main())
