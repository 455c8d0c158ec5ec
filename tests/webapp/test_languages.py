"""The translations of what a visitor reads: the same texts in all languages, with the same gaps to fill."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from conftest import CopyPipeline

from personatalk.speech.sync_network import Synchrony
from personatalk.webapp import build_demo, languages, strings
from personatalk.webapp.clip_judgement import ClipFacts
from personatalk.webapp.languages import ENGLISH, KEYS, MARK, TRANSLATIONS, dictionaries, english, follow, said
from personatalk.webapp.run_summary import summarise

PACKAGE = Path(languages.__file__).parents[1]
ENGLISH_ONLY = {
    *("FACE_X_LABEL", "FACE_Y_LABEL", "FACES_GIVEN_LABEL", "SPEECHES_GIVEN_LABEL", "FACES_AND_SPEECHES"),  # of programs
    *("STOP_NOT_BY_MCP", "FACE_NEEDS_BOTH", "REPORT_LABEL"),
    *("TITLE", "LIMITS_FORM", "DOWNLOAD_MADE", "OWN"),  # names and numbers
}


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.fixture(autouse=True)
def english_afterwards():
    yield
    languages._language.set(ENGLISH)


def test_all_languages_have_the_same_texts_with_the_same_gaps():
    assert set(TRANSLATIONS) == {"de", "es", "zh"}
    for name, texts in TRANSLATIONS.items():
        assert set(texts) == {*KEYS.values(), MARK}, name
        for key in KEYS.values():
            assert gaps(texts[key]) == gaps(english(key)), (name, key)
            assert not any(form for _, _, form, _ in string.Formatter().parse(texts[key])), (name, key)
            assert texts[key].count("**") == english(key).count("**"), (name, key)


def test_no_text_is_left_in_english_but_short_ones_that_are_the_same():
    for name, texts in TRANSLATIONS.items():
        same = [key for key in KEYS.values() if texts[key] == english(key)]
        assert all(len(english(key)) < 12 for key in same), (name, same)


def test_every_text_is_translated():
    for name, value in vars(strings).items():
        if name.isupper() and name not in ENGLISH_ONLY:
            labels = [label for label, _ in value] if isinstance(value, list) else [value]
            texts = list(value.values()) if isinstance(value, dict) else labels
            assert not [text for text in texts if text not in KEYS], name


def test_nothing_of_the_page_is_put_there_in_english():
    """All that has a translation is marked, so that the browser shows it in its language."""
    raw = {}
    blocks = build_demo(CopyPipeline()).blocks.values()
    for block in [block for block in blocks if not isinstance(block, gr.State)]:
        texts = [getattr(block, name, None) for name in ("label", "value", "info", "placeholder")]
        texts += [label for label, _ in getattr(block, "choices", None) or []]
        raw |= {text.strip("*"): block for text in texts if isinstance(text, str) and text.strip("*") in KEYS}
    assert not {text: block for text, block in raw.items() if getattr(block, "visible", True)}


def test_every_choice_is_translated():
    choices = {f"{name}.{value}" for name in ("LENGTHS", "STRATEGIES", "VIEWS") for _, value in getattr(strings, name)}
    choices |= {
        f"{name}.{key}" for name in ("EXAMPLE_NAMES", "MAKERS", "PIPELINE_SAYS") for key in getattr(strings, name)
    }
    assert choices <= set(KEYS.values())


@pytest.mark.parametrize(
    ("header", "language"),
    [("de-DE,de;q=0.9,en;q=0.8", "de"), ("fr,es;q=0.5,en;q=0.3", "es"), ("zh-CN", "zh"), ("en-GB,de;q=0.5", "en"),
     ("", "en"), ("tlh", "en")],
)  # fmt: skip
def test_the_first_language_that_is_known_is_spoken(header, language):
    follow(SimpleNamespace(headers={"accept-language": header}))
    expected = TRANSLATIONS.get(language, {}).get("STOPPED", strings.STOPPED)
    assert said(strings.STOPPED) == expected


def test_the_foot_of_a_translated_page_says_that_a_machine_translated():
    texts = dictionaries().translations_dict
    assert all(texts[name]["FOOTER"].endswith(TRANSLATIONS[name][MARK]) for name in TRANSLATIONS)
    assert texts[ENGLISH]["FOOTER"] == strings.FOOTER


def test_what_the_pipeline_says_is_translated_as_it_says_it():
    """A sentence that is changed there must be changed in `strings` too."""
    says = {text for path in PACKAGE.rglob("*.py") if path.parent.name != "webapp" for text in texts_of(path)}
    for told in (strings.PIPELINE_SAYS, strings.INSPECTION_SAYS):
        missing = {key for key, text in told.items() if without_names(text) not in says}
        assert not missing


def texts_of(path: Path) -> set[str]:
    """All texts of a module, with {} in the place of each gap."""
    texts = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            texts.add("".join(map(str, parts)).replace("\n", " "))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value.replace("\n", " "))
    return texts


def without_names(text: str) -> str:
    return "".join(literal + ("{}" if name else "") for literal, name, _, _ in string.Formatter().parse(text))


def speak(language: str) -> None:
    follow(SimpleNamespace(headers={"accept-language": language}))


@pytest.mark.parametrize("language", ["de", "es", "zh"])
def test_every_text_is_found_again_by_what_it_says_with_its_gaps_filled(language):
    speak(language)
    for key in set(KEYS.values()) - {"INTRO"}:  # of two lines, and never said by a run
        values = {name: f"<{name}>" for name in gaps(english(key))}
        filled = re.sub(r"{(\w+).*?}", r"<\1>", english(key))
        translated = TRANSLATIONS[language][key].format(**values)
        assert said(filled) in (translated, translated[:1].upper() + translated[1:]), key


@pytest.mark.parametrize("language", ["de", "es", "zh"])
@pytest.mark.parametrize("offset_s", [0.02, -0.2])
def test_a_whole_summary_is_translated(language, offset_s):
    report = {
        "options": {"style_strength": 1.0}, "speaker_calibration": {"calibrated_on_s": 2.8}, "num_occluded": 4,
        "painted_share": 0.26, "shots": [{"shows_the_person": False}], "num_passed_through": 2,
        "hints": ["Nothing is heard in the new speech, so the mouth stays at rest."],
    }  # fmt: skip
    faces = [{"face": face, "num_passed_through": 2} for face in (1, 0)]
    result = SimpleNamespace(num_frames=75, fps=25.0, num_passed_through=2, timings={"all": 5.26}, report=report)
    synchrony = Synchrony(offset_s=offset_s, confidence=12.0, log_odds=None)
    for result.report in (report, report | {"faces": faces}):
        summary = summarise(result, 2 * [synchrony], facts=2 * [ClipFacts(open_iod=0.01, turn_deg=41.2, face_px=48.7)])
        summary = "\n".join([strings.EXAMPLE_NOTE, summary, strings.SUMMARY_PREVIEW, strings.SUMMARY_PREVIEW_LONG])
        assert said(summary) == summary
        speak(language)
        for line, before in zip(said(summary).split("\n"), summary.split("\n"), strict=True):
            assert line != before and not {"the", "of", "is", "and"} & set(line.split()), line
        for value in ("75", "5.3", "12.0", "2.8 s", "26%", "41°", "49"):
            assert value in said(summary)
        speak("en")


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("tracking the faces; preparing kernels (first run after installation)",
         "Gesichter werden verfolgt; Rechenkerne werden vorbereitet (erster Lauf nach der Installation)"),
        ("The clip is too short to dub: 9 frames show the face, and one second is needed (24 frames or more); use a "
         "longer clip", "Der Clip ist zu kurz: das Gesicht ist in 9 Bildern zu sehen, und eine Sekunde ist nötig "
         "(mindestens 24 Bilder); verwenden Sie einen längeren Clip"),
        ("The style clip is 210 MB large; this page takes up to 200 MB. Export it smaller.",
         "Der Clip mit der Sprechweise ist 210 MB groß; diese Seite nimmt bis zu 200 MB. Exportieren Sie die Datei "
         "kleiner."),
        ("holiday.mp4 has no sound in it; give a file with an audio stream.",
         "holiday.mp4 enthält keinen Ton; verwenden Sie eine Datei mit Ton."),
        ("something that nobody has translated", "something that nobody has translated"),
    ],
)  # fmt: skip
def test_what_fills_a_gap_is_translated_too(english, german):
    assert said(english) == english
    speak("de")
    assert said(english) == german
