"""The persons of a clip on the page: all are listed, one is chosen, and others may speak too."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CopyPipeline
from media_samples import ASSETS, write_two_faces

from browser.visiting import (
    ARTIFACTS,
    IN_A_BROWSER,
    assert_can_be_read,
    assert_no_sideways_scrolling,
    give,
    height_in_windows,
    height_of,
    open_panel,
    wait_for_result,
)
from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel
from personatalk.media.excerpt import cut_video
from personatalk.persons.search import find_persons
from personatalk.webapp import strings

pytestmark = [*IN_A_BROWSER, pytest.mark.weights]
SPEECHES = [ASSETS / "speech_bridge.wav", ASSETS / "speech_garden.wav"]


class SeeingPipeline(CopyPipeline):
    """Finds who is seen, and hands the clip back with the first speech."""

    listener = None

    def __init__(self) -> None:
        self.searches = 0
        self.face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")

    def find_cast(self, video, tracker, run):
        self.searches += 1
        with run.stage("track", "looking"):
            return find_persons(video, self.face_model, step=run.step)

    def dub(self, video, audio, *arguments, **keywords):
        self.speeches = audio if isinstance(audio, dict) else None
        first = next(iter(audio.values())) if isinstance(audio, dict) else audio
        return super().dub(video, first, *arguments, **keywords)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_both_of_two_are_listed_and_each_gets_a_speech(visit, serve, tmp_path, size):
    pipeline = SeeingPipeline()
    page = visit(serve(pipeline), size)
    clip, *_ = write_two_faces(tmp_path / "two.mp4", 30)
    give(page, clip, SPEECHES[0])
    page.locator("#persons li").nth(1).wait_for()
    for number, row in enumerate(page.locator("#persons li").all(), start=1):
        assert f"{strings.PERSON.format(number=number)} seen for 1.2 s" in row.inner_text()
        assert row.locator("img").evaluate("image => image.naturalWidth") > 0
    assert not page.locator("#face-picture").is_visible()
    page.locator("#other-speeches > button").click()
    page.locator("#speech-1").wait_for()
    assert not page.locator("#speech-0").is_visible()  # step 2 gives it
    page.get_by_label(strings.PERSON.format(number=2)).check()
    page.locator("#speech-0").wait_for()
    page.locator("#speech-0 input[type=file]").set_input_files(SPEECHES[1])
    page.locator("#speech-0").get_by_text(strings.SPEECH_OF_PERSON.format(number=1)).wait_for()
    page.locator("#speech-0").get_by_text("0:0").first.wait_for()
    assert not page.locator("#speech-1").is_visible()
    page.wait_for_timeout(1500)  # until the colours of the choice have changed
    assert_can_be_read(page)
    assert_no_sideways_scrolling(page)
    assert height_in_windows(page) < 2
    page.screenshot(path=ARTIFACTS / f"persons_{size}.png", full_page=True)
    assert_all_can_be_asked_to_be_open(page, size)
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#dub").click()
    wait_for_result(page, "5 frames")
    assert {number: path.read_bytes() for number, path in pipeline.speeches.items()} == {
        1: SPEECHES[0].read_bytes(),
        0: SPEECHES[1].read_bytes(),
    }
    assert list(pipeline.speeches) == [1, 0]


def assert_all_can_be_asked_to_be_open(page, size: str) -> None:
    """With a long list of persons and an upload for each, whichever is opened last leaves the page below 2 windows."""
    row = page.locator("#persons li").first
    upload = page.locator("#speech-0")
    upload.evaluate("upload => upload.parentElement.append(upload.cloneNode(true))")  # of a third person
    row.evaluate("row => { for (let i = 0; i < 6; i++) row.parentElement.append(row.cloneNode(true)); }")
    for opened, other in (("options", "other-speeches"), ("other-speeches", "options")):
        page.locator(f"#{opened} > button").click()
        content = page.locator(f"#{opened} [data-testid=accordion-content]")
        content.wait_for()
        page.locator(f"#{other} [data-testid=accordion-content]").wait_for(state="hidden")
        page.wait_for_timeout(1000)  # until it has unfolded
        page.screenshot(path=ARTIFACTS / f"{opened}_{size}.png", full_page=True)
        assert height_in_windows(page) < 2, opened
    assert upload.first.is_visible()  # with what was given before
    upload.last.evaluate("upload => upload.remove()")
    page.evaluate("document.querySelectorAll('#persons li:nth-child(n + 3)').forEach((row) => row.remove())")


class RecordedSeeingPipeline(SeeingPipeline):
    """Leaves a recording of each person who speaks, that of the second silent."""

    def __init__(self, recording: Path) -> None:
        super().__init__()
        self.recording = recording

    def dub(self, video, audio, output, *arguments, **keywords):
        for observer, number in zip(keywords["record"], audio, strict=True):
            folder = observer._other.folder
            shutil.copytree(self.recording, folder, dirs_exist_ok=True)
            if number != next(iter(audio)):
                with np.load(folder / "scene.npz") as scene:
                    silent = {**scene, "waveform": np.zeros_like(scene["waveform"])}
                np.savez(folder / "scene.npz", **silent)
        return SimpleNamespace(**vars(super().dub(video, audio, output, *arguments, **keywords)) | {"num_frames": 60})


def test_the_visitor_chooses_whose_charts_and_panels_are_shown(visit, serve, tmp_path, recording):
    page = visit(serve(RecordedSeeingPipeline(recording[0])))
    give(page, write_two_faces(tmp_path / "two.mp4", 30)[0], SPEECHES[0])
    page.locator("#persons li").nth(1).wait_for()
    page.locator("#other-speeches > button").click()
    page.locator("#speech-1 input[type=file]").set_input_files(SPEECHES[1])
    page.locator("#speech-1").get_by_text("0:0").first.wait_for()
    page.get_by_label(strings.CONSENT_LABEL).check()
    assert not page.locator("#shown-person").is_visible()
    page.locator("#dub").click()
    wait_for_result(page, "60 frames")
    voice = page.locator("#speech-chart svg").last.locator(".chart-span")
    voice.first.wait_for()
    page.locator("#shown-person input").click()
    page.get_by_role("option", name=strings.PERSON.format(number=2)).click()
    voice.first.wait_for(state="detached")  # nothing is heard in what the second says
    open_panel(page, "style", "mouth")
    page.locator("#style-curves svg").last.wait_for()
    assert page.locator("#style-curves svg").last.locator(".chart-span").count() == 0
    open_panel(page, "result")
    page.locator("#shown-person input").click()
    page.get_by_role("option", name=strings.PERSON.format(number=1)).click()
    voice.first.wait_for()


def test_of_one_the_panel_is_shown_only_to_who_asks_and_goes_with_the_clip(visit, serve, tmp_path):
    pipeline = SeeingPipeline()
    page = visit(serve(pipeline))
    page.locator("#look").click()
    page.locator(".toast-body").get_by_text(strings.CLIP_MISSING).wait_for()
    give(page, cut_video(ASSETS / "grid_speaker.mp4", tmp_path / "one.mp4", 0.0, 1.2), SPEECHES[0])
    page.wait_for_timeout(1000)
    assert not page.locator("#faces").is_visible() and pipeline.searches == 0
    height = height_of(page, "#steps")
    page.locator("#look").click()
    page.locator("#persons li").first.wait_for()
    assert page.locator("#persons li").count() == 1 and not page.locator("#other-speeches").is_visible()
    assert height_of(page, "#steps") > height
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#dub").click()
    wait_for_result(page, "5 frames")
    assert pipeline.searches == 1
    assert pipeline.speeches is None and pipeline.options.face == 0
    page.locator("#clip").get_by_label("Clear").click()
    page.locator("#faces").wait_for(state="hidden")
