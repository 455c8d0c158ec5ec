"""The number format: measured, close to float32, and never emulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER, load_config, load_into
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.precision import _made_up_frame, fastest_precision, prepare, render_in
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.pipeline import load_pipeline


@pytest.fixture(scope="module")
def renderer() -> DualAttentionRenderer:
    model = DualAttentionRenderer(load_config(RendererConfig, DEFAULT_FOLDER / "renderer.json")).eval()
    load_into(model, DEFAULT_FOLDER / "renderer.safetensors")
    return model


@torch.inference_mode()
def test_reduced_precision_stays_within_half_a_level_on_average(renderer):
    inputs = _made_up_frame(renderer)
    exact, near = (render_in(dtype, renderer, *inputs) for dtype in (torch.float32, torch.bfloat16))
    assert all(part.dtype == torch.float32 for part in (near.faces, near.gate, near.residual, near.lip.offsets))
    difference = (near.faces - exact.faces).abs()
    assert 0 < difference.max() <= 2 / 255 and difference.mean() < 0.5 / 255


@pytest.mark.parametrize(("precision", "most"), [(torch.float32, 0.01), (torch.bfloat16, 2.0)])
@torch.inference_mode()
def test_a_prepared_renderer_renders_the_same_and_the_given_one_stays(renderer, precision, most):
    inputs, before = _made_up_frame(renderer), {k: v.clone() for k, v in renderer.state_dict().items()}
    expected = render_in(torch.float32, renderer, *inputs)
    result = render_in(precision, prepare(renderer, precision), *inputs)
    assert (result.faces - expected.faces).abs().max() <= most / 255
    for name, value in renderer.state_dict().items():
        assert value.is_contiguous() and value.dtype == torch.float32 and torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("float32_s", "bfloat16_s", "expected"),
    [(0.01, 0.002, torch.bfloat16), (0.005, 0.01, torch.float32), (0.005, 0.3, torch.float32)],
)
def test_the_faster_format_is_chosen_and_emulation_is_tried_once(
    renderer, monkeypatch, float32_s, bfloat16_s, expected
):
    passes, clock = {torch.float32: 0, torch.bfloat16: 0}, [0.0]

    def timed(precision, model, *inputs):
        passes[precision] += 1
        clock[0] += float32_s if precision == torch.float32 else bfloat16_s
        return type("Rendering", (), {"faces": torch.zeros(1)})

    monkeypatch.setattr("personatalk.face_rendering.precision.render_in", timed)
    monkeypatch.setattr("personatalk.face_rendering.precision.time.thread_time", lambda: clock[0])
    fastest_precision.cache_clear()
    assert fastest_precision(renderer) == expected
    assert passes[torch.bfloat16] == (1 if bfloat16_s > 0.1 else 4)


def test_a_format_that_changes_the_picture_is_refused(renderer, monkeypatch):
    clock = [0.0]

    def wrong(precision, model, *inputs):
        clock[0] += 0.01 if precision == torch.float32 else 0.001
        return type("Rendering", (), {"faces": torch.full((1,), 0.02 * (precision == torch.bfloat16))})

    monkeypatch.setattr("personatalk.face_rendering.precision.render_in", wrong)
    monkeypatch.setattr("personatalk.face_rendering.precision.time.thread_time", lambda: clock[0])
    fastest_precision.cache_clear()
    assert fastest_precision(renderer) == torch.float32


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ValueError, match="cuda"):
        load_pipeline(device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_a_gpu_renders_what_the_cpu_renders(renderer):
    from personatalk.face_rendering.inputs import device_of

    on_gpu = load_pipeline(device="cuda").renderer
    inputs = _made_up_frame(renderer)
    moved = [type(part)(**{name: value.to(device_of(on_gpu)) for name, value in vars(part).items()}) for part in inputs]
    expected, result = render_in(torch.float32, renderer, *inputs), render_in(torch.float32, on_gpu, *moved)
    np.testing.assert_allclose(result.faces.numpy(), expected.faces.numpy(), atol=5e-3)
