from __future__ import annotations

import numpy as np
import pytest

from personatalk.face_rendering.texture_prior import HEIGHT, WIDTH
from personatalk.geometry.mesh import NUM_PRIOR_CHANNELS
from personatalk.inspection.drawing import heat
from personatalk.inspection.prior import prior_picture
from personatalk.inspection.recording import Inspection


@pytest.fixture
def t(inspection) -> int:
    return int(inspection.kept[7])


def test_what_was_predicted_is_kept(inspection, recorded, t):
    kept, rendered = inspection.prior(t), recorded[1][t].rendering.prior[0].numpy()
    assert kept.shape == (NUM_PRIOR_CHANNELS, HEIGHT, WIDTH)
    np.testing.assert_allclose(kept, rendered, atol=1e-3)
    assert rendered[3].max() > 0.99


def test_the_picture_shows_the_prediction_and_how_uncertain_it_is(inspection, t):
    picture, prior = prior_picture(inspection, t), inspection.prior(t)
    row, column = 50, 48  # of the prior: the lips
    assert prior[3, row, column] > 0.99
    shown = picture[3 * row + 1, 288 + 6 + 3 * column + 1]
    np.testing.assert_allclose(shown, prior[:3, row, column] * 255, atol=40)  # between pixels of coloured blocks
    below = picture.shape[0] // 2 + 3
    uncertain = picture[below + 3 * row + 1, 3 * column + 1]
    np.testing.assert_allclose(uncertain, heat(np.array(2 * prior[4, row, column])[None])[0], atol=12)


def test_a_run_without_a_prior_says_so(inspection, t, monkeypatch):
    monkeypatch.setattr(Inspection, "prior", lambda self, t: None)
    with_words = prior_picture(inspection, t)
    assert with_words.ndim == 3 and with_words.shape[0] > 480
    monkeypatch.undo()
    assert not np.array_equal(prior_picture(inspection, t), with_words)
