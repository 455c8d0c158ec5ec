"""The language of a visitor: that of the browser, where there is a translation; programs are answered in English.

The translations lie beside this module, made by machine. Their keys are names of `strings`, and after a dot the key or
the value of a choice. What a run says, it says in English: where it works nobody knows who will read it, and an example
is shown to many. Its sentences are translated where they are shown, by the text they were made from; so is what the
research panels say. What is drawn into pictures and written into files stays English.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from personatalk.webapp import strings

FOLDER = Path(__file__).parent / "translations"
ENGLISH, FOOT, MARK = "en", "FOOTER", "MARK"  # MARK is said at the foot: that a machine translated
TRANSLATIONS: dict[str, dict[str, str]] = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.iterdir()}
_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


def english(key: str) -> str:
    """The text of `strings` that a key of the translations means."""
    name, _, choice = key.partition(".")
    texts: Any = getattr(strings, name)
    if isinstance(texts, list):
        texts = {value: label for label, value in texts}
    return texts[choice] if choice else texts


def _pattern(text: str) -> re.Pattern[str]:
    """What a text looks like once its gaps are filled."""
    parts = [
        re.escape(literal) + (f"(?P<{name}>.+?)" if name else "")
        for literal, name, _, _ in string.Formatter().parse(text)
    ]
    return re.compile("".join(parts), re.IGNORECASE)  # a sentence may begin with a small letter


KEYS = {english(key): key for texts in TRANSLATIONS.values() for key in texts if key != MARK}
PATTERNS = {key: _pattern(text) for text, key in sorted(KEYS.items(), key=lambda item: -len(item[0]))}


def dictionaries() -> gr.I18n:
    """All texts that the browser chooses from."""
    ours = {key: text for text, key in KEYS.items()}
    marked = {name: texts | {FOOT: f"{texts[FOOT]} {texts[MARK]}"} for name, texts in TRANSLATIONS.items()}
    return gr.I18n(**{ENGLISH: ours}, **marked)


def on_page(text: str) -> str:
    """Mark a text of `strings` that stands on the page from the start: the browser shows it in its language."""
    return str(I18nData(KEYS[text]))


def choices_on_page(choices: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Choices with their values, likewise."""
    return [(on_page(label), value) for label, value in choices]


def translations_of(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Some texts of `strings` in every language, by language and from English."""
    return {name: {text: known[KEYS[text]] for text in texts} for name, known in TRANSLATIONS.items()}


def follow(request: gr.Request) -> None:
    """Speak the language of this visitor's browser until the event is handled."""
    wishes = request.headers.get("accept-language", "").split(",")
    asked = [wish.partition(";")[0].partition("-")[0].strip().lower() for wish in wishes]
    _language.set(next((name for name in asked if name == ENGLISH or name in TRANSLATIONS), ENGLISH))


def said(text: str) -> str:
    """A text of `strings`, its gaps filled or not, in the language of the visitor whose event is handled.

    Of several lines each is a text; one that is unknown stays as it is.
    """
    language = _language.get()
    if language == ENGLISH:
        return text
    return "\n".join(_translated(line, language) for line in text.split("\n"))


@lru_cache(maxsize=1024)
def _translated(text: str, language: str) -> str:
    texts = TRANSLATIONS[language]
    if text in KEYS:
        return texts[KEYS[text]]
    for key, pattern in PATTERNS.items():
        if found := pattern.fullmatch(text):
            values = {name: _translated(value, language) for name, value in found.groupdict().items()}
            filled = texts[key].format(**values)
            return filled[:1].upper() + filled[1:] if text[:1].isupper() else filled
    return text
