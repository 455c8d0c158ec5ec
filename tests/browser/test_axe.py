"""What axe-core finds on the page: no serious or critical fault of accessibility, at both widths, in light and dark."""

from __future__ import annotations

import pytest
from conftest import write_clip
from media_samples import write_two_faces
from recorded_run import record_run

from browser.test_persons import SeeingPipeline
from browser.test_steps import RecordedPipeline, dub
from browser.visiting import IN_A_BROWSER, give, open_panel

pytestmark = IN_A_BROWSER
GRAVE, LOOKS = ("serious", "critical"), 8
GROUPS = ("result", "geometry", "style", "references", "attention", "figures")


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()


def faults(axe, page) -> list[str]:
    """The grave ones that last, each with the rule, the element and what is wrong: what is being filled is dimmed."""
    for _ in range(LOOKS):
        if not (found := faults_now(axe, page)):
            break
        page.wait_for_timeout(3000)
    return found


def faults_now(axe, page) -> list[str]:
    return [
        f"{found['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for found in axe.run(page).response["violations"]
        if found["impact"] in GRAVE
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_nothing_grave_is_found(axe, visit, serve, speech, tmp_path, size, scheme):
    record_run(tmp_path / "recording")
    page = visit(serve(RecordedPipeline(tmp_path / "recording")), size, scheme)
    page.locator("#dub").click()
    page.locator(".toast-body").wait_for()
    page.wait_for_timeout(1000)  # until it has faded in
    assert faults_now(axe, page) == []
    give(page, write_clip(tmp_path / "clip.mp4", 60), speech)
    page.locator("#options > button").click()
    dub(page, "60 frames")
    for group in GROUPS:
        open_panel(page, group)
        page.wait_for_timeout(1500)
        assert faults(axe, page) == [], group


@pytest.mark.weights
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_grave_is_found_where_persons_are_listed(axe, visit, serve, speech, tmp_path, scheme):
    page = visit(serve(SeeingPipeline()), "phone", scheme)
    give(page, write_two_faces(tmp_path / "two.mp4", 30)[0], speech)
    page.locator("#persons li").nth(1).wait_for()
    page.locator("#other-speeches > button").click()
    page.locator("#speech-1").wait_for()
    assert faults(axe, page) == []
