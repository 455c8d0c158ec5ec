"""Stage 1: independent of frame rate and chunks, at rest outside speech, and every control has its effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk.geometry.face_model import NUM_VERTICES, FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.layers import LocalAttention, band
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.style import STYLE_VERTICES, Style, style_of
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.voice_activity import LEAD_S, speech_gate

CONFIG = GeometryModelConfig(
    audio_dim=8, expression_dim=4, dim=16, heads=2, depth=2, style_tokens=2, window_frames=2, context_frames=3
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GeometryModel(CONFIG).eval()
    torch.nn.init.normal_(model.head.weight)  # a fresh head is silent by design
    return model


def random_style(seed: int = 0) -> Style:
    random = torch.Generator().manual_seed(seed)
    points = (len(STYLE_VERTICES), 3)
    shapes = {"mean": (4,), "deviation": (4,), "rest": (4,)}
    shapes |= {"vertex_mean": points, "vertex_deviation": points, "template": points}
    values = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    return Style(**(values | {"deviation": values["deviation"].abs()}))


def speech(seconds: float, level_db: float = -20.0) -> SpeechFeatures:
    values = torch.randn(int(seconds * 50), 8, generator=torch.Generator().manual_seed(1))
    return SpeechFeatures(values=values, level_db=torch.full((len(values),), level_db))


def frame_times(seconds: float, fps: float) -> torch.Tensor:
    return torch.arange(int(seconds * fps), dtype=torch.float64) / fps


def toy_face_model() -> FaceModel:
    random = np.random.default_rng(0)
    return FaceModel(
        mean=random.normal(size=(NUM_VERTICES, 3)).astype(np.float32),
        shape_basis=np.zeros((1, NUM_VERTICES, 3), np.float32),
        expression_basis=random.normal(size=(6, NUM_VERTICES, 3)).astype(np.float32),
        triangles=np.zeros((1, 3), np.int32),
        num_speech=4,
    )


def test_chunks_do_not_matter(model):
    whole = predict_expression(model, speech(6), frame_times(6, 25), random_style())
    chunked = predict_expression(model, speech(6), frame_times(6, 25), random_style(), chunk_frames=17)
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-4)


def test_the_frame_rate_does_not_matter(model):
    slow = predict_expression(model, speech(4), frame_times(4, 25), random_style())
    fast = predict_expression(model, speech(4), frame_times(4, 50), random_style())
    torch.testing.assert_close(fast[::2], slow, atol=1e-5, rtol=1e-4)


def test_what_comes_much_later_does_not_matter(model):
    long = speech(8)
    short = SpeechFeatures(values=long.values[:250], level_db=long.level_db[:250])
    times = frame_times(5 - (model.reach + 2) / 25, 25)
    # the amplitude is told from all of the recording
    first, second = (
        predict_expression(model, sound, times, random_style(), matches_amplitude=False) for sound in (short, long)
    )
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_what_lies_outside_the_recording_is_without_effect(model):
    style, sound = random_style(), speech(2)
    with torch.no_grad():
        has_audio = torch.ones(1, 50, dtype=torch.bool)
        even, odd = (model(sound.values[None, start::2], has_audio, style.batched())[0] for start in (0, 1))
    odd_between = 0.5 * (odd[:-1] + odd[1:])  # the second phase lies half a frame later
    predicted = predict_expression(model, sound, frame_times(2, 25), style, matches_amplitude=False)
    torch.testing.assert_close(predicted[1:], 0.5 * (even[1:] + odd_between), atol=1e-5, rtol=1e-4)


def test_a_part_of_the_frames_is_predicted_as_in_the_whole(model):
    times = frame_times(4, 25)
    whole = predict_expression(model, speech(4), times, random_style())
    torch.testing.assert_close(
        predict_expression(model, speech(4), times[37:60], random_style()), whole[37:60], atol=1e-5, rtol=1e-4
    )


def test_padding_does_not_matter(model):
    style = random_style().batched()
    sound = torch.randn(1, 20, 8)
    padded = torch.cat([sound, 100 * torch.randn(1, 9, 8)], dim=1)
    has_audio = torch.arange(29)[None] < 20
    with torch.no_grad():
        alone = model(sound, has_audio[:, :20], style)
        torch.testing.assert_close(model(padded, has_audio, style)[:, :20], alone, atol=1e-5, rtol=1e-4)


def test_gradients_stay_within_reach(model):
    sound = torch.randn(1, 80, 8, requires_grad=True)
    model(sound, torch.ones(1, 80, dtype=torch.bool), random_style().batched())[0, 40].sum().backward()
    touched = sound.grad[0].abs().sum(1).nonzero().flatten()
    assert 40 - model.reach <= touched.min() < 40 < touched.max() <= 40 + model.reach


@pytest.mark.parametrize("features", [speech(3, -90.0), speech(0.5)], ids=["silent", "ended"])
def test_silence_is_rest(model, features):
    style = random_style()
    predicted = predict_expression(model, features, frame_times(3, 25)[50:], style)
    torch.testing.assert_close(predicted, style.rest.expand_as(predicted))


def test_speech_is_not_rest(model):
    predicted = predict_expression(model, speech(3), frame_times(3, 25), random_style())
    assert (predicted - random_style().rest).abs().mean() > 0.1


def test_the_gate_opens_before_the_sound_and_bridges_short_pauses():
    level = torch.full((300,), -90.0)
    level[100:150] = -20
    level[156:200] = -20  # after 0.12 s of pause
    features = SpeechFeatures(values=torch.zeros(300, 8), level_db=level)
    gate = speech_gate(features, torch.arange(300, dtype=torch.float64) / 50)
    assert gate[98] > 0.5 and gate[int(100 - 50 * LEAD_S)] > 0.5  # room for a breath
    assert gate[70] == 0
    assert gate[100:205].min() > 0.95
    assert gate[230:].max() == 0
    assert gate.diff().abs().max() < 0.4


def test_what_is_no_voice_is_rest_and_opens_no_gate(model):
    style, sound = random_style(), speech(3)
    torch.nn.init.constant_(model.voice.linear.bias, -20.0)
    predicted = predict_expression(model, sound, frame_times(3, 25), style)
    torch.testing.assert_close(predicted, style.rest.expand_as(predicted))


def test_the_voice_score_is_averaged_over_time(model):
    torch.nn.init.constant_(model.voice.linear.weight, 10.0)
    torch.nn.init.zeros_(model.voice.linear.bias)
    features = torch.ones(100, 8)
    features[50:] = -1.0
    share = model.voice(features)
    assert share[:40].min() == 1 and share[60:].max() == 0
    features[20:22] = -1.0  # a moment that is no voice, amid one
    assert model.voice(features)[:40].min() == 1


def test_amplitude_scales_the_way_from_rest(model):
    style, times = random_style(), frame_times(2, 25)
    once = predict_expression(model, speech(2), times, style) - style.rest
    twice = predict_expression(model, speech(2), times, style, mouth_amplitude=2.0) - style.rest
    torch.testing.assert_close(twice, 2 * once, atol=1e-4, rtol=1e-4)


def test_style_strength_goes_from_the_average_to_the_person(model):
    times, average = frame_times(2, 25), model.average_style
    off = [predict_expression(model, speech(2), times, random_style(seed), style_strength=0.0) for seed in (0, 1)]
    torch.testing.assert_close(off[0], off[1])
    torch.testing.assert_close(off[0], predict_expression(model, speech(2), times, average))
    on = [predict_expression(model, speech(2), times, random_style(seed)) for seed in (0, 1)]
    assert (on[0] - on[1]).abs().mean() > 0.1


def test_style_changes_the_motion_and_not_only_the_mean(model):
    times, style = frame_times(2, 25), random_style()
    other = replace(style, vertex_deviation=style.vertex_deviation * 2 + 1)
    first, second = (predict_expression(model, speech(2), times, s) for s in (style, other))
    assert (first - second).std(0).mean() > 1e-3


def test_local_attention_matches_torch_reference():
    torch.manual_seed(0)
    ours = LocalAttention(dim=16, heads=2, reach=3, dropout=0.0)
    torch.nn.init.normal_(ours.bias)
    reference = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([ours.to_q.weight, ours.to_k.weight, ours.to_v.weight]))
        reference.in_proj_bias.zero_()
        reference.out_proj.load_state_dict(ours.to_out.state_dict())
    query, memory = torch.randn(1, 9, 16), torch.randn(1, 9, 16)
    expected = reference(query, memory, memory, attn_mask=band(ours.bias, 9))[0]
    torch.testing.assert_close(ours(query, memory, torch.ones(1, 9, dtype=torch.bool)), expected)


def test_dimensions_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="dim=10.*heads=4"):
        GeometryModelConfig(dim=10, heads=4)


def test_style_is_mean_and_deviation_of_vertices():
    face_model, random = toy_face_model(), np.random.default_rng(1)
    expression, valid = random.normal(size=(40, 6)).astype(np.float32), np.ones(40, bool)
    valid[::7] = False
    style = style_of(expression, valid, face_model.mean, face_model)
    moved = (face_model.vertices(face_model.mean, expression[:, :4]) - face_model.mean)[:, list(STYLE_VERTICES)]
    np.testing.assert_allclose(style.vertex_mean, moved[valid].mean(0), atol=1e-4)
    np.testing.assert_allclose(style.vertex_deviation, moved[valid].std(0), atol=1e-4)
    np.testing.assert_allclose(style.mean, expression[valid, :4].mean(0), atol=1e-5)


def test_style_ignores_order_and_rest_is_the_closed_mouth():
    face_model, random = toy_face_model(), np.random.default_rng(1)
    expression, valid = random.normal(size=(40, 6)).astype(np.float32), np.ones(40, bool)
    style = style_of(expression, valid, face_model.mean, face_model)
    turned = style_of(expression[::-1], valid, face_model.mean, face_model)
    torch.testing.assert_close(style.vertex_deviation, turned.vertex_deviation)
    opening = driven_aperture(expression[:, :4], face_model.mean, face_model)
    lowest = expression[np.argsort(opening)[:4], :4]
    np.testing.assert_allclose(style.rest, lowest.mean(0), atol=1e-5)


def test_a_style_without_frames_is_refused():
    with pytest.raises(ValueError, match="got 1"):
        style_of(np.zeros((3, 6)), np.array([True, False, False]), toy_face_model().mean, toy_face_model())
