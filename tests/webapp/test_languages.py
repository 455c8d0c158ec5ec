"""The translations of what a visitor reads: the same texts in all languages, with the same gaps to fill."""

from __future__ import annotations

import string
from types import SimpleNamespace

import pytest

from personatalk.webapp import languages, strings
from personatalk.webapp.languages import ENGLISH, KEYS, MARK, TRANSLATIONS, dictionaries, english, follow, said


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
            assert texts[key].count("**") == english(key).count("**"), (name, key)


def test_no_text_is_left_in_english_but_short_ones_that_are_the_same():
    for name, texts in TRANSLATIONS.items():
        same = [key for key in KEYS.values() if texts[key] == english(key)]
        assert all(len(english(key)) < 12 for key in same), (name, same)


def test_every_choice_is_translated():
    choices = {f"{name}.{value}" for name in ("LENGTHS", "STRATEGIES", "VIEWS") for _, value in getattr(strings, name)}
    choices |= {f"{name}.{key}" for name in ("EXAMPLE_NAMES", "MAKERS") for key in getattr(strings, name)}
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
