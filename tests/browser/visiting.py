"""What a visitor does on the page, and what is looked for on it."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personatalk.webapp import strings

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
DUB_TIMEOUT_MS = 300_000
IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the Debian package chromium is not installed"),
]


def give(page, clip: Path, speech: Path) -> None:
    """Take steps 1 and 2."""
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#clip video").wait_for()
    page.locator("#speech input[type=file]").set_input_files(speech)
    page.get_by_text("frames: an estimate").wait_for()


def wait_for_result(page, summary: str) -> None:
    """Wait until a result with this in its summary can be played; an internal error ends the wait."""
    page.wait_for_function(
        """([text, failed]) => {
          if (document.querySelector("#status").innerText === failed) throw new Error(failed);
          return document.querySelector("#summary textarea").value.includes(text)
            && document.querySelector("#result video:not(.growing *)")?.readyState >= 2;
        }""",
        arg=[summary, strings.FAILED],
        timeout=DUB_TIMEOUT_MS,
    )


MENU = "#tabs > .tab-wrapper .overflow-menu > button"


def open_panel(page, group: str, panel: str | None = None) -> None:
    """Open a tab of the workspace, and a panel in it; on a phone some tabs lie in a menu, so they are not clicked."""
    for name in filter(None, (group, panel)):
        tab = page.locator(f"[role=tab][data-tab-id={name}]")
        # a fresh page has neither yet
        tab.or_(page.locator(MENU).filter(visible=True)).first.wait_for(state="attached")
        if tab.count():
            tab.evaluate("tab => tab.click()")
        else:
            open_from_menu(page, name)
        page.wait_for_function(
            "name => document.querySelector(`[role=tab][data-tab-id=${name}]`).ariaSelected === 'true'", arg=name
        )


def open_from_menu(page, name: str) -> None:
    """Choose a tab that has no place in its row from the menu beside the row."""
    labels = {
        "style": strings.STYLE_TAB, "references": strings.REFERENCES_LABEL, "attention": strings.ATTENTION_LABEL,
        "figures": strings.FIGURES_LABEL, "geometry": strings.GEOMETRY_LABEL, "result": strings.RESULT_LABEL,
    }  # fmt: skip
    page.locator(MENU).click()
    page.locator("#tabs > .tab-wrapper .overflow-dropdown button").get_by_text(labels[name], exact=True).click()


PANELS = {  # what each shows
    ("geometry", "meshes"): "#geometry-pictures img",
    ("geometry", "curves"): "#geometry-curves svg",
    ("style", "mouth"): "#style-curves svg",
    ("style", "speakers"): "#style-map svg",
    ("style", "onface"): "#style-face img",
    ("references", "lips"): "#lip-references img",
    ("references", "skin"): "#face-references img",
    ("references", "timeline"): "#references-timeline svg",
    ("references", "strategies-panel"): "#strategies svg",
    ("attention", "trace"): "#attention-colours img",
    ("attention", "attention-lip"): "#lip-weights img",
    ("attention", "attention-face"): "#face-weights img",
    ("attention", "prior"): "#attention-prior img",
    ("attention", "shares"): "#attention-time svg",
    ("figures", "pictures"): "#stage-pictures img",
    ("figures", "stages"): "#stage-table table",
    ("figures", "merits"): "#merit-table table",
}


def move_bar(page, frame: int) -> None:
    """Choose a frame."""
    page.locator("#time-bar input").fill(str(frame))


def frame_shown(page) -> int:
    return int(page.locator("#time-bar input").input_value())


def height_of(page, selector: str) -> float:
    return page.locator(selector).bounding_box()["height"]


def assert_no_sideways_scrolling(page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


WEAK_TEXT = """() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const weak = [];
  const shown = "button:not(:disabled), [data-testid=block-label], [data-testid=block-info], [data-testid=upload-text],"
    + " .or, p, th, td, label";
  for (const element of document.querySelectorAll(shown)) {
    if (!element.checkVisibility() || !element.innerText?.trim()) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) weak.push(`${contrast.toFixed(1)} ${element.innerText.slice(0, 40)}`);
  }
  return weak;
}"""


def assert_can_be_read(page) -> None:
    """Text must stand out from what is behind it by 4.5 to 1, as WCAG 2 asks for."""
    assert page.evaluate(WEAK_TEXT) == []


def assert_shows_something(locator) -> None:
    """Scroll there, and wait until what is drawn has light and dark in it; pictures load when they come into sight."""
    locator.evaluate("element => element.scrollIntoView({block: 'center'})")
    locator.wait_for()
    deadline = time.monotonic() + 60
    while np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L"), float).std() < 12:
        assert time.monotonic() < deadline, f"{locator} stays blank"
        time.sleep(0.5)


def height_in_windows(page) -> float:
    """The page's height, in heights of its window."""
    return height_of(page, "html") / page.viewport_size["height"]
