"""The number format in which the renderer computes: bfloat16 where the processor is faster at it, else float32.

Ours: some processors compute twice as fast in bfloat16, others emulate it, twenty times slower. So it is measured.
"""

from __future__ import annotations

import copy
import time
from dataclasses import fields, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from personatalk.face_rendering.attention import References, Sample
from personatalk.face_rendering.inputs import device_of
from personatalk.face_rendering.renderer import DualAttentionRenderer, Rendering, Target
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.mesh import MAP_STRIDE, NUM_MAP_CHANNELS

MIN_GAIN = 1.08  # how many times faster bfloat16 must be
MAX_DIFFERENCE = 2 / 255  # of a pixel, in a picture of noise
REPEATS = 3
PATIENCE = 3.0  # a first pass so many times slower than float32's is emulation, and the last one


@lru_cache(maxsize=4)
@torch.inference_mode()
def fastest_precision(renderer: DualAttentionRenderer) -> torch.dtype:
    """Time a renderer in both formats on a made-up frame, once: less than half a second."""
    if device_of(renderer).type != "cpu":
        return torch.float32
    inputs = _made_up_frame(renderer)
    expected, seconds = _timed(prepare(renderer, torch.float32), inputs, torch.float32, float("inf"))
    reduced = prepare(renderer, torch.bfloat16)
    result, reduced_seconds = _timed(reduced, inputs, torch.bfloat16, PATIENCE * seconds)
    is_faster = reduced_seconds * MIN_GAIN < seconds
    return torch.bfloat16 if is_faster and (result - expected).abs().max() <= MAX_DIFFERENCE else torch.float32


@torch.inference_mode()
def seconds_a_frame(renderer: DualAttentionRenderer, precision: torch.dtype) -> float:
    """Processor time of the networks for a made-up frame with all references, s: the least of three passes.

    It is the calling thread's; with one thread, the whole.
    """
    prepared = prepare(renderer, precision)
    return _timed(prepared, _made_up_frame(renderer), precision, float("inf"))[1]


def prepare(renderer: DualAttentionRenderer, precision: torch.dtype) -> DualAttentionRenderer:
    """Copy a renderer for many calls of `render_in`: its weights are converted once, not for each frame.

    The channels of a place lie side by side, which CPUs convolve faster. A GPU's renderer comes back as it is.
    """
    if device_of(renderer).type != "cpu":
        return renderer
    prepared = copy.deepcopy(renderer)
    for module in prepared.modules():
        if isinstance(module, nn.Conv2d):
            module.to(precision, memory_format=torch.channels_last)
    return prepared


def render_in(
    precision: torch.dtype, renderer: DualAttentionRenderer, target: Target, lip: References, face: References
) -> Rendering:
    """Call a renderer in a number format; what comes back is float32, on the CPU."""
    device = target.image.device.type
    with torch.autocast(device, precision, enabled=precision != torch.float32):
        rendering = renderer(target, lip, face)
    return _plain(rendering)


def _plain(record: Rendering | Sample | None) -> Rendering | Sample | None:
    if record is None:
        return None
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return replace(record, **{k: v.float().cpu() if isinstance(v, Tensor) else _plain(v) for k, v in values.items()})


def _timed(
    renderer: DualAttentionRenderer, inputs: tuple, precision: torch.dtype, patience: float
) -> tuple[Tensor, float]:
    """Return the faces and the processor's seconds of the fastest pass, so that other programs hardly matter.

    The first pass only warms up, if it does not take long.
    """
    passes = []
    for _ in range(REPEATS + 1):
        start = time.thread_time()
        faces = render_in(precision, renderer, *inputs).faces
        passes.append(time.thread_time() - start)
        if passes[0] > patience:
            return faces, passes[0]
    return faces, min(passes[1:])


def _made_up_frame(renderer: DualAttentionRenderer) -> tuple[Target, References, References]:
    config, generator = renderer.config, torch.Generator().manual_seed(0)
    height, width = WINDOW_HEIGHT // MAP_STRIDE, WINDOW_WIDTH // MAP_STRIDE
    x, y = torch.meshgrid(torch.arange(WINDOW_WIDTH) + 0.5, torch.arange(WINDOW_HEIGHT) + 0.5, indexing="xy")

    def noise(*shape: int) -> Tensor:
        return torch.rand(1, *shape, generator=generator)

    def references(count: int) -> References:
        return References(
            features=noise(count, config.dim, height, width) - 0.5,
            images=noise(count, 3, WINDOW_HEIGHT, WINDOW_WIDTH),
            grids=torch.stack([x, y], -1) + 3 * noise(count, 1, 1, 2),
            log_weights=-noise(count),
        )

    mask = torch.zeros(1, 1, WINDOW_HEIGHT, WINDOW_WIDTH)
    mask[..., height : 3 * height, width : 3 * width] = 1
    target = Target(
        image=noise(3, WINDOW_HEIGHT, WINDOW_WIDTH) * (1 - mask),
        mask=mask,
        geometry=noise(NUM_MAP_CHANNELS, height, width),
    )
    return target, references(config.num_lip_references), references(config.num_face_references)
