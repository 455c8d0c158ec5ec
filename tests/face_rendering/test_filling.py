"""Hidden places of references: filled from around them, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.face_rendering.filling import MARGIN_SHARE, fill_hidden

HEIGHT, WIDTH = 120, 150
ALL = np.ones((HEIGHT, WIDTH), bool)


@pytest.fixture
def skin():
    """A face that is darker to the right, with a black thing in front of it."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[...] = (np.linspace(200, 120, WIDTH)[:, None] * (1, 0.75, 0.6)).round()
    return image


def thing(*place):
    hidden = np.zeros((HEIGHT, WIDTH), np.float32)
    hidden[place] = 1
    return hidden


def test_what_is_hidden_comes_back_as_the_skin_around_it(skin):
    hidden = thing(slice(50, None), slice(60, 100))
    seen = np.where(hidden[..., None] > 0, 5, skin).astype(np.uint8)
    filled = fill_hidden(seen, hidden, ALL).astype(int)
    assert np.abs(filled - skin).max() < 25
    assert np.abs(filled - skin).mean() < 3


def test_what_is_shown_stays_bit_for_bit(skin):
    hidden = thing(slice(50, None), slice(60, 100))
    margin = round(MARGIN_SHARE * HEIGHT)
    filled = fill_hidden(skin, hidden, ALL)
    away = np.ones((HEIGHT, WIDTH), bool)
    away[50 - margin :, 60 - margin : 100 + margin] = False
    assert np.array_equal(filled[away], skin[away])


def test_colours_beside_the_face_are_not_drawn_into_it(skin):
    hidden, face = thing(slice(50, None), slice(60, 100)), ALL.copy()
    face[:, 80:] = False
    beside = np.where(face[..., None], skin, 0).astype(np.uint8)
    filled = fill_hidden(beside, hidden, face).astype(int)
    assert np.abs(filled - skin)[60:, 65:80].max() < 25


@pytest.mark.parametrize("hidden", [thing(slice(0), slice(0)), thing(slice(None), slice(None))])
def test_an_image_of_which_nothing_or_all_is_hidden_stays(skin, hidden):
    assert fill_hidden(skin, hidden, ALL) is skin
