"""The page in a browser with pipelines that need no weights: refusals, stopping, choices, keyboard, visitors apart."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CopyPipeline, EndlessPipeline, PickyPipeline, write_clip, write_speech
from media_samples import ASSETS, write_two_faces, write_video
from PIL import Image
from tone_voice import SENTENCE_S, ToneVoice, write_voice

from browser.visiting import (
    IN_A_BROWSER,
    PANELS,
    assert_can_be_read,
    assert_no_sideways_scrolling,
    assert_shows_something,
    frame_shown,
    give,
    height_in_windows,
    move_bar,
    open_panel,
    wait_for_result,
)
from personatalk.media.still import first_frame
from personatalk.webapp import strings
from personatalk.webapp.jobs import RECORD
from personatalk.webapp.languages import KEYS, MARK, TRANSLATIONS
from personatalk.webapp.text_box import SOUND_NAME
from personatalk.webapp.text_to_speech import PiperVoice

pytestmark = IN_A_BROWSER


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
    page.wait_for_timeout(1000)
    assert page.locator("#status").inner_text() == strings.STOPPED  # nothing says otherwise afterwards
    assert pipeline.stopped and not pipeline.folder.exists()


def test_a_second_visitor_is_told_to_wait_and_may_give_up(visit, serve, clip, speech):
    pipeline = EndlessPipeline()
    url = serve(pipeline)
    pages = [visit(url), visit(url)]
    for page in pages:
        give(page, clip, speech)
        page.get_by_label(strings.CONSENT_LABEL).check()
        page.locator("#dub").click()
        page.wait_for_function("!document.querySelector('#stop').disabled")
        while not pipeline.started:
            page.wait_for_timeout(50)
    pages[1].locator("#status").get_by_text(strings.WAITING_ONE).wait_for()
    pages[1].locator("#stop").click()
    pages[1].locator("#status").get_by_text(strings.STOPPED).wait_for()
    assert not pipeline.stopped
    pages[0].locator("#stop").click()
    pages[0].locator("#status").get_by_text(strings.STOPPED).wait_for()


def test_the_face_that_is_clicked_is_the_one_that_is_dubbed(visit, serve, speech, tmp_path):
    pipeline = CopyPipeline()
    page = visit(serve(pipeline), "phone")
    clip, seam, width, height = write_two_faces(tmp_path / "two.mp4", 5)
    give(page, clip, speech)
    picture = page.locator("#face-picture img")
    picture.wait_for()
    box = picture.bounding_box()
    picture.click(position={"x": 0.75 * box["width"], "y": 0.4 * box["height"]})
    page.get_by_label(strings.FACE_CHOICE.format(number=2)).and_(page.locator(":checked")).wait_for()
    dub(page)
    x, y = pipeline.options.face_point
    assert seam < x < width and 0 < y < height
    page.locator("#show-steps").click()
    page.get_by_label(strings.FACE_CHOICE.format(number=1)).check()
    page.locator("#dub").click()
    wait_until(page, lambda: pipeline.options.face_point[0] < seam)


def test_a_picture_may_stand_in_for_the_clip(visit, serve, speech, tmp_path):
    pipeline = CopyPipeline()
    page = visit(serve(pipeline), "phone")
    clip, seam, _, _ = write_two_faces(tmp_path / "two.mp4", 5)
    broken, still = tmp_path / "broken.png", tmp_path / "two.png"
    broken.write_bytes(b"no image")
    Image.fromarray(first_frame(clip)).save(still)
    choose_file(page, "#still-upload", broken)
    page.locator(".toast-body").get_by_text("no image at all").wait_for()
    page.locator(".toast-title").get_by_text(strings.REFUSED_TITLE, exact=True).wait_for()
    assert strings.REFUSED_TITLE not in page.locator(".toast-message-text").inner_text()  # once is enough
    choose_file(page, "#still-upload", still)
    page.locator("#still img").wait_for()
    page.locator("#speech input[type=file]").set_input_files(speech)
    page.get_by_text("frames: an estimate").wait_for()
    page.get_by_label(strings.FACE_CHOICE.format(number=2)).check()
    dub(page)
    assert pipeline.options.face_point[0] > seam and pipeline.clip_frames == 51  # two seconds at least
    page.locator("#before video").wait_for()
    page.locator("#show-steps").click()
    page.locator("#still").get_by_label("Remove Image").click()
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#clip video").wait_for()
    page.locator("#dub").click()
    wait_until(page, lambda: pipeline.clip_frames == 5)


def test_options_of_the_page_reach_the_pipeline(visit, serve, clip, speech):
    pipeline = CopyPipeline()
    page = visit(serve(pipeline))
    give(page, clip, speech)
    page.locator("#options > button").click()
    page.wait_for_timeout(5000)  # Gradio takes back what is set before an opened accordion is complete
    for name, value in ((strings.STYLE_LABEL, "0.5"), (strings.AMPLITUDE_LABEL, "1.25")):
        number = page.get_by_label(f"number input for {name}")
        number.fill(value)
        number.press("Enter")
    page.get_by_label(strings.LENGTHS[2][0]).check()
    page.get_by_label(strings.STRATEGY_LABEL).click()
    page.get_by_role("option", name=strings.STRATEGIES[2][0]).click()
    for name in ("style-clip", "reference-clip"):
        page.locator(f"#{name} input[type=file]").set_input_files(clip)
        page.locator(f"#{name} video").wait_for()
    dub(page)
    options = pipeline.options
    assert (options.style_strength, options.mouth_amplitude) == (0.5, 1.25)
    assert (options.length, options.reference_strategy) == (strings.LENGTHS[2][1], strings.STRATEGIES[2][1])
    assert options.style_video.read_bytes() == options.reference_video.read_bytes() == clip.read_bytes()


def test_speech_may_come_from_a_video(visit, serve, clip):
    pipeline = CopyPipeline()
    page = visit(serve(pipeline))
    choose_file(page, "#speech-video", clip)  # has no sound
    page.locator(".toast-body").get_by_text("sound").wait_for()
    choose_file(page, "#speech-video", ASSETS / "grid_speaker.mp4")
    page.locator("#speech").get_by_text("0:03").wait_for()
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#clip video").wait_for()
    dub(page)
    assert abs(pipeline.speech_s - 3.0) < 0.1


def test_speech_may_be_typed_where_there_is_a_voice(visit, serve, clip, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    monkeypatch.setitem(sys.modules, "piper", SimpleNamespace(PiperVoice=ToneVoice))
    pipeline = CopyPipeline()
    page = visit(serve(pipeline, voice=PiperVoice(write_voice(tmp_path))))
    page.get_by_text(f"{strings.VOICE_NOTE} voice").wait_for()
    page.locator("#speak").click()
    page.locator(".toast-body").get_by_text(strings.TEXT_MISSING).wait_for()
    page.get_by_label(strings.TEXT_LABEL).fill("One. Two. Three. Four.")
    page.locator("#speak").click()
    page.locator("#speech").get_by_text("0:02").wait_for()
    assert_can_be_read(page)
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#clip video").wait_for()
    dub(page)
    assert abs(pipeline.speech_s - 4 * SENTENCE_S) < 0.01
    assert list((tmp_path / "served").rglob(SOUND_NAME))
    page.context.close()
    deadline = time.monotonic() + 60
    while list((tmp_path / "served").rglob(SOUND_NAME)):  # goes with the visitor
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_broken_clip_is_named_before_anything_runs(visit, serve, speech, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all " * 100)
    page = visit(serve(CopyPipeline()))
    page.locator("#clip input[type=file]").set_input_files(broken)
    page.locator("#estimate").get_by_text("broken.mp4 is a text file").wait_for()


def test_errors_stand_beside_the_buttons_without_folders(visit, serve, clip, speech):
    page = visit(serve(PickyPipeline()))
    give(page, clip, speech)
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#dub").click()
    page.locator("#status").get_by_text("The clip is too short to dub").wait_for()
    assert "/" not in page.locator("#status").inner_text()


@pytest.mark.parametrize(("locale", "language"), [("de-DE", "de"), ("zh-CN", "zh")])
def test_a_browser_sees_the_steps_in_its_language(visit, serve, clip, speech, locale, language):
    texts = TRANSLATIONS[language]
    page = visit(serve(CopyPipeline()), locale=locale)
    for key in ("CLIP_LABEL", "STILL_BUTTON", "DUB_BUTTON", "VIEWS.side", "EXAMPLE_NAMES.grid_speaker", MARK):
        page.get_by_text(texts[key]).first.wait_for()
    page.locator("#dub").click()
    page.locator("#status").get_by_text(texts["CLIP_MISSING"]).wait_for()
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#speech input[type=file]").set_input_files(speech)
    page.locator("#estimate").get_by_text(texts["ESTIMATE_BUILT_IN"].split()[0]).wait_for()
    page.get_by_label(texts["CONSENT_LABEL"]).check()
    page.locator("#dub").click()
    wait_for_result(page, texts["SUMMARY"].partition("{seconds}")[0].format(frames=5, fps=25))
    assert strings.SUMMARY_PASSED.partition(":")[0] not in page.locator("#summary textarea").input_value()
    assert all(page.locator(f"#{name}").evaluate(FITS) for name in ("preview", "dub", "stop"))


@pytest.mark.parametrize("locale", ["de-DE", "es-MX", "zh-CN"])
def test_errors_and_progress_are_read_in_the_language_of_the_browser(visit, serve, clip, speech, tmp_path, locale):
    texts, endless = TRANSLATIONS[locale.partition("-")[0]], EndlessPipeline()
    page = visit(serve(endless), locale=locale)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all " * 100)
    page.locator("#clip input[type=file]").set_input_files(broken)
    page.locator("#estimate").get_by_text(texts["PIPELINE_SAYS.text"].format(file="broken.mp4")).wait_for()
    page.locator("#clip").locator("button[aria-label]").last.click()
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#speech input[type=file]").set_input_files(speech)
    page.get_by_label(texts["CONSENT_LABEL"]).check()
    page.locator("#dub").click()
    page.locator("#status").get_by_text(texts["PIPELINE_SAYS.track"]).wait_for()
    page.locator("#stop").click()
    page.locator("#status").get_by_text(texts["STOPPED"]).wait_for()


@pytest.mark.parametrize("locale", ["de-DE", "zh-CN"])
def test_bar_charts_and_panels_are_read_in_the_language_of_the_browser(
    visit, serve, speech, tmp_path, recording, locale
):
    texts = TRANSLATIONS[locale.partition("-")[0]]
    page = visit(serve(RecordedPipeline(recording[0])), locale=locale)
    page.locator("#time-bar output").get_by_text(texts["NO_FRAMES"]).wait_for()
    page.locator("#clip input[type=file]").set_input_files(write_clip(tmp_path / "clip.mp4", 60))
    page.locator("#clip video").wait_for()
    page.locator("#speech input[type=file]").set_input_files(speech)
    page.get_by_label(texts["CONSENT_LABEL"]).check()
    page.locator("#dub").click()
    wait_for_result(page, texts["SUMMARY"].partition("{seconds}")[0].format(frames=60, fps=25))
    for name in ("FRAME_BACK", "FRAME_ON", "PLAY", "TIME_LABEL"):
        page.locator("#time-bar").get_by_label(texts[name], exact=True).wait_for()
    page.locator("#speech-chart").get_by_text(texts["CHART_APERTURE"]).wait_for()
    english = [text for text, key in KEYS.items() if len(text) > 4 and texts[key] != text]
    for (group, panel), shows in PANELS.items():
        open_panel(page, group, panel)
        page.locator(shows).first.wait_for()
        page.wait_for_timeout(500)
        left = page.evaluate(TEXTS_SHOWN, english)
        assert not left, (panel, left)


TEXTS_SHOWN = """(texts) => {
  const wanted = new Set(texts), found = [], workspace = document.querySelector("#workspace");
  const walker = document.createTreeWalker(workspace, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const {data, parentElement} = walker.currentNode;
    if (wanted.has(data.trim()) || / of | the /.test(data)) if (parentElement.checkVisibility()) found.push(data);
  }
  return found;
}"""
FITS = "button => button.scrollWidth <= button.clientWidth + 1"


def test_the_keyboard_alone_is_enough(visit, serve, clip, speech):
    page = visit(serve(CopyPipeline()))
    give(page, clip, speech)
    reached = []
    page.locator("#example-grid_speaker").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        inside = page.evaluate("document.activeElement.closest('#consent, #options, #preview, #dub')?.id")
        reached += [inside] if inside else []
        if inside == "consent":
            page.keyboard.press("Space")
        if inside == "dub":
            page.keyboard.press("Enter")
            break
    assert reached == ["consent", "options", "preview", "dub"]
    wait_for_result(page, "5 frames")


def test_bar_keys_and_videos_move_one_another(visit, serve, speech, tmp_path):
    page = visit(serve(CopyPipeline()))
    give(page, write_clip(tmp_path / "clip.mp4", 50), speech)
    page.locator("#time-bar .play").and_(page.locator(":disabled")).wait_for()  # there is nothing to play yet
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#dub").click()
    wait_for_result(page, "5 frames")  # says the pipeline, so the bar has five
    page.wait_for_function("!document.querySelector('#time-bar .play').disabled")
    move_bar(page, 3)
    page.wait_for_function(videos_are_at(3))
    page.locator("#summary textarea").evaluate("summary => summary.blur()")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(videos_are_at(2))
    page.locator("#time-bar .on").click()
    page.wait_for_function(videos_are_at(3))
    assert frame_shown(page) == 3
    page.locator("#before video").evaluate("video => { video.currentTime = 0.06; }")
    page.locator("#result video").evaluate("video => { video.currentTime = 0.06; }")
    page.wait_for_function("document.querySelector('#time-bar input').value === '1'")
    page.wait_for_url("**frame=1**")


def test_a_loop_plays_again(visit, serve, speech, tmp_path):
    page = visit(serve(LongCopyPipeline()))
    give(page, write_clip(tmp_path / "clip.mp4", 200), speech)
    dub(page, "200 frames")
    page.wait_for_function("!document.querySelector('#time-bar .play').disabled")
    move_bar(page, 12)
    page.locator("#time-bar .loop").click()  # a second around frame 12
    page.evaluate(RECORD_FRAMES)
    page.locator("#time-bar .play").click()
    page.wait_for_function("window.jumps.some(([from, to]) => from > 20 && to < 12)")
    assert page.evaluate("Math.max(...window.jumps.flat())") < 125  # it ends at 24; a busy machine may see it late
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('#time-bar input').value > 125")


RECORD_FRAMES = """() => {
  window.jumps = [];
  let last = 0;
  window.player.subscribe(({frame}) => { window.jumps.push([last, frame]); last = frame; });
}"""


def test_before_and_after_are_compared_in_three_ways(visit, serve, speech, tmp_path, recording):
    page = visit(serve(RecordedPipeline(recording[0])))
    lighter = [np.full((300, 300, 3), 20 + 3 * index, np.uint8) for index in range(60)]
    give(page, write_video(tmp_path / "clip.mp4", lighter), speech)
    dub(page, "60 frames")
    choose_view(page, "wipe")
    boxes = [page.locator(f"#{name}").bounding_box() for name in ("before", "result")]
    assert boxes[0] == boxes[1] and boxes[0]["width"] > 300  # one over the other
    page.get_by_label(strings.WIPE_LABEL).fill("20")
    assert page.locator("#result").evaluate("video => getComputedStyle(video).clipPath") == "inset(0px 0px 0px 20%)"
    page.mouse.move(boxes[0]["x"] + 10, boxes[0]["y"] + 30)
    page.mouse.down()
    page.mouse.move(boxes[0]["x"] + 0.7 * boxes[0]["width"], boxes[0]["y"] + 40)
    page.mouse.up()
    assert page.locator("#result").evaluate("video => getComputedStyle(video).clipPath").endswith("70%)")
    choose_view(page, "mouth")
    page.wait_for_function("document.querySelector('.mouth-after').width > 20")
    assert not page.locator("#before").is_visible()
    drawn = page.evaluate(MOUTH_PIXEL)
    move_bar(page, 55)
    page.wait_for_function(f"Math.abs(({MOUTH_PIXEL})() - {drawn}) > 20")


MOUTH_PIXEL = "() => document.querySelector('.mouth-after').getContext('2d').getImageData(2, 2, 1, 1).data[0]"


def choose_view(page, view: str) -> None:
    name = next(label for label, value in strings.VIEWS if value == view)
    page.get_by_label(name, exact=True).check()
    page.wait_for_function("view => document.querySelector('#pair').dataset.view === view", arg=view)


def test_a_chart_moves_the_video_and_sets_a_loop(visit, serve, speech, tmp_path, recording):
    page = visit(serve(RecordedPipeline(recording[0])), "desktop", "dark")
    give(page, write_clip(tmp_path / "clip.mp4", 60), speech)
    dub(page, "60 frames")
    chart = page.locator("#speech-chart svg").first
    chart.wait_for()
    box = chart.bounding_box()
    read = page.locator("#speech-chart .chart-key b").first
    before = read.inner_text()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 30)
    page.wait_for_function("old => document.querySelector('#speech-chart .chart-key b').innerText !== old", arg=before)
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 30)
    wait_until(page, lambda: 26 <= frame_shown(page) <= 32)
    page.wait_for_function(videos_are_at(frame_shown(page)))
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 30)
    page.mouse.up()
    first, last = page.evaluate("window.player.state.loop")
    assert 31 <= first <= 37 and 43 <= last <= 50 and frame_shown(page) == first
    cursor = page.locator("#speech-chart .chart-cursor").first
    at = float(cursor.get_attribute("x1"))
    page.locator("#time-bar .on").click()
    wait_until(page, lambda: float(cursor.get_attribute("x1")) > at)


def test_the_plane_of_styles_names_the_point_under_the_pointer(visit, serve, speech, tmp_path, recording):
    page = visit(serve(RecordedPipeline(recording[0])), "desktop", "dark")
    give(page, write_clip(tmp_path / "clip.mp4", 60), speech)
    dub(page, "60 frames")
    open_panel(page, "style", "speakers")
    driven = page.locator("#style-map .chart-dot").last
    driven.wait_for()
    below = page.locator("#style-map .chart").evaluate(TOP_OF_DRAWING)
    driven.hover()
    page.locator("#style-map .chart-read").get_by_text(f"{strings.CHART_DRIVEN}: ").wait_for()
    assert page.locator("#style-map .chart-ring").get_attribute("cx") == driven.get_attribute("cx")
    assert page.locator("#style-map .chart").evaluate(TOP_OF_DRAWING) == below  # the words move nothing


def test_the_planes_of_strategies_follow_the_bar_and_move_it(visit, serve, speech, tmp_path, recording):
    page = visit(serve(RecordedPipeline(recording[0])))
    give(page, write_clip(tmp_path / "clip.mp4", 60), speech)
    dub(page, "60 frames")
    open_panel(page, "references", "strategies-panel")
    now = page.locator("#strategies .chart-now")
    now.last.wait_for()
    assert now.count() == len(strings.STRATEGIES)
    places = {float(now.first.get_attribute("cx"))}
    for frame in (0, 20, 40):
        move_bar(page, frame)
        wait_until(page, lambda: float(now.first.get_attribute("cx")) not in places)
        places.add(float(now.first.get_attribute("cx")))
    move_bar(page, 33)
    page.wait_for_timeout(200)
    there = now.first.bounding_box()
    move_bar(page, 3)
    page.mouse.click(there["x"] + there["width"] / 2, there["y"] + there["height"] / 2)
    wait_until(page, lambda: frame_shown(page) == 33)


TOP_OF_DRAWING = """chart =>
  chart.querySelector("svg").getBoundingClientRect().top - chart.getBoundingClientRect().top"""


def videos_are_at(frame: int) -> str:
    return (
        "['before', 'result'].every((id) => Math.floor(document.querySelector(`#${id} video`).currentTime * 25 + 1e-3)"
        f" === {frame})"
    )


class LongCopyPipeline(CopyPipeline):
    """Says of every clip that it has two hundred frames, which it must have."""

    def dub(self, *args, **kwargs):
        return SimpleNamespace(**vars(super().dub(*args, **kwargs)) | {"num_frames": 200})


class RecordedPipeline(CopyPipeline):
    """Leaves a recording of a run of sixty frames beside the copy."""

    def __init__(self, recording: Path) -> None:
        self.recording = recording

    def dub(self, video, audio, output, *args, **kwargs):
        shutil.copytree(self.recording, output.parent / RECORD, dirs_exist_ok=True)
        return SimpleNamespace(**vars(super().dub(video, audio, output, *args, **kwargs)) | {"num_frames": 60})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_everything_can_be_read_and_fits(visit, serve, clip, speech, size, scheme):
    page = visit(serve(CopyPipeline()), size, scheme)
    assert_can_be_read(page)
    give(page, clip, speech)
    page.locator("#options > button").click()
    dub(page)
    for group in ("result", "geometry", "style", "references", "attention", "figures"):
        open_panel(page, group)
        assert_can_be_read(page)
        assert_no_sideways_scrolling(page)


def choose_file(page, button: str, path: Path) -> None:
    """Press a button that asks for a file, and give it one."""
    with page.expect_file_chooser() as chooser:
        page.locator(button).click()
    chooser.value.set_files(path)


def dub(page, summary: str = "5 frames") -> None:
    """Take step 3, dub, and wait for the result."""
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#dub").click()
    wait_for_result(page, summary)


def wait_until(page, happened, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        page.wait_for_timeout(50)


@pytest.mark.parametrize(
    ("has_webgl", "shown", "hidden"),
    [(False, strings.WEBGL_MISSING, strings.WEBGL_SOFTWARE), (True, strings.WEBGL_SOFTWARE, strings.WEBGL_MISSING)],
)
def test_the_3d_view_says_what_this_browser_cannot_draw(visit, serve, has_webgl, shown, hidden):
    page = visit(serve(CopyPipeline()), before="" if has_webgl else NO_WEBGL)  # the tests' browser has it in software
    open_panel(page, "geometry", "model")
    page.get_by_text(plain(shown)).wait_for()
    assert not page.get_by_text(plain(hidden)).is_visible()


NO_WEBGL = """
  const getContext = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return kind.includes("webgl") ? null : getContext.call(this, kind, ...rest);
  };
"""


# keeps the name of the renderer from the page, which takes it for a graphics card
NAMELESS = """
  const getExtension = WebGL2RenderingContext.prototype.getExtension;
  WebGL2RenderingContext.prototype.getExtension = function (name) {
    return name === "WEBGL_debug_renderer_info" ? null : getExtension.call(this, name);
  };
"""


@pytest.mark.parametrize(("before", "views"), [(NAMELESS, "model film model"), ("", "film model film model")])
def test_film_and_3d_view_come_and_go(visit, serve, speech, tmp_path, recording, before, views):
    page = visit(serve(RecordedPipeline(recording[0])), before=before)
    give(page, write_clip(tmp_path / "clip.mp4", 60), speech)
    dub(page, "60 frames")
    open_panel(page, "geometry", "model")
    shown = {"model": page.locator("#geometry-model canvas"), "film": page.locator("#turntable video")}
    for number, view in enumerate(views.split()):
        if number:
            name = next(label for label, value in strings.MODEL_VIEWS if value == view)
            page.locator("#model-view").get_by_label(name, exact=True).check()
        assert_shows_something(shown[view])
        shown["film" if view == "model" else "model"].wait_for(state="hidden")


def plain(markdown: str) -> str:
    """The beginning of a text, without what Markdown marks."""
    return markdown.partition(" *")[0]


def test_on_a_phone_the_steps_make_room_for_the_result(visit, serve, clip, speech):
    page = visit(serve(CopyPipeline()), "phone")
    steps, workspace = page.locator("#dub"), page.locator("#time-bar")
    assert steps.is_visible() and not workspace.is_visible() and not page.locator("#show-steps").is_visible()
    give(page, clip, speech)
    page.get_by_label(strings.CONSENT_LABEL).check()
    page.locator("#dub").press("Enter")
    wait_for_result(page, "5 frames")
    workspace.wait_for()
    steps.wait_for(state="hidden")
    page.locator("#show-steps").press("Enter")
    steps.wait_for()
    workspace.wait_for(state="hidden")
    assert height_in_windows(page) < 2
    page.locator("#options > button").click()
    page.get_by_label(strings.STRATEGY_LABEL).wait_for()
    page.wait_for_timeout(500)
    assert height_in_windows(page) < 2
    page.locator("#show-result").click()
    workspace.wait_for()
    assert page.evaluate("scrollY") < 20
