"""The precision in which stage 2 computes: bfloat16 where the processor is faster at it, else float32.

Ours: a processor with bfloat16 instructions takes about three quarters of float32's time, one without emulates them
and takes two to eight times as long. So the processor is asked for the instructions, and timed if it has them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from personatalk.checkpoints import cache_folder
from personatalk.concurrency import one_thread
from personatalk.face_rendering.attention import References, Sample
from personatalk.face_rendering.inputs import device_of
from personatalk.face_rendering.mouth_interior import (
    COLUMNS,
    NUM_GAP_MAPS,
    ROWS,
    MouthGap,
    MouthInterior,
    paint_interior,
)
from personatalk.face_rendering.renderer import DualAttentionRenderer, Rendering, Target
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.mesh import MAP_STRIDE, NUM_MAP_CHANNELS

M = TypeVar("M", bound=nn.Module)
BFLOAT16_FEATURES = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, Arm
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # what oneDNN reads; the first that is set counts
ISAS_WITHOUT_BFLOAT16 = {
    "SSE41",
    "AVX",
    "AVX2",
    "AVX2_VNNI",
    "AVX2_VNNI_2",
    "AVX512_CORE",
    "AVX512_CORE_VNNI",
}
MIN_GAIN = 1.08  # how many times faster bfloat16 must be
MIN_PAIRS, MAX_PAIRS = 5, 15  # timings: enough where all agree, and the most
MAX_DIFFERENCE = 1.5 / 255  # in 999 of 1,000 pixels of a picture of noise; the largest depends on the processor


@lru_cache(maxsize=4)
def fastest_precision(renderer: DualAttentionRenderer) -> torch.dtype:
    """Choose a renderer's precision for its device.

    A processor's choice is measured in less than two seconds and kept in the user's cache, since the answer depends
    on the machine and on PyTorch alone. A GPU's follows from its generation.
    """
    device = device_of(renderer)
    if device.type == "cuda":
        return precision_of_gpu(torch.cuda.get_device_capability(device))
    if device.type != "cpu" or not has_bfloat16_instructions():
        return torch.float32
    key = _machine_key(renderer)
    is_reduced = _read_choices().get(key)
    if is_reduced is None:
        is_reduced = is_bfloat16_faster(renderer)
        _keep_choice(key, is_reduced)
    return torch.bfloat16 if is_reduced else torch.float32


def precision_of_gpu(capability: tuple[int, int]) -> torch.dtype:
    """Choose by CUDA's compute capability: bfloat16 from Ampere on, float16 where only it has tensor cores."""
    if capability >= (8, 0):
        return torch.bfloat16
    return torch.float16 if capability >= (7, 0) else torch.float32


def has_bfloat16_instructions() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself, and oneDNN is allowed to let it."""
    limit = next((os.environ[name] for name in ISA_LIMITS if name in os.environ), "")
    return limit.upper() not in ISAS_WITHOUT_BFLOAT16 and not BFLOAT16_FEATURES.isdisjoint(processor()[1])


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """Name and instruction sets of the processor, from Linux; elsewhere from PyTorch, if it tells them."""
    lines = {}
    with suppress(OSError):
        for line in cpuinfo.read_text().split("\n\n")[0].splitlines():  # the first core
            name, _, value = line.partition(":")
            lines[name.strip()] = value.strip()
    features = lines.get("flags") or lines.get("Features")  # x86, Arm
    if features:
        return lines.get("model name", platform.processor()), frozenset(features.split())
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # of PyTorch 2.10 and later
    return platform.processor(), frozenset(name for name, value in capabilities.items() if value is True)


@torch.inference_mode()
def is_bfloat16_faster(renderer: DualAttentionRenderer) -> bool:
    """Time a renderer in both precisions in turn, so that what else the machine does slows both alike.

    A pair of timings says one thing; as soon as enough pairs agree, or else by the median, it is decided.
    """
    inputs = _made_up_frame(renderer)
    renderers = {precision: prepare(renderer, precision) for precision in (torch.float32, torch.bfloat16)}
    with one_thread():
        expected, result = (render_in(precision, r, *inputs).faces for precision, r in renderers.items())  # warms up
        difference = (result - expected).abs().flatten()
        if not difference.quantile(0.999) <= MAX_DIFFERENCE:
            return False
        gains: list[float] = []
        while len(gains) < MAX_PAIRS:
            seconds, reduced_seconds = (_seconds(r, inputs, precision) for precision, r in renderers.items())
            gains.append(seconds / max(reduced_seconds, 1e-9))
            if len(gains) >= MIN_PAIRS and len({gain > MIN_GAIN for gain in gains}) == 1:
                break
    return median(gains) > MIN_GAIN


@torch.inference_mode()
def seconds_a_frame(renderer: DualAttentionRenderer, precision: torch.dtype) -> float:
    """Processor time of the networks for a made-up frame with all references on one thread, s: the least of five."""
    prepared, inputs = prepare(renderer, precision), _made_up_frame(renderer)
    with one_thread():
        render_in(precision, prepared, *inputs)
        return min(_seconds(prepared, inputs, precision) for _ in range(MIN_PAIRS))


@torch.inference_mode()
def seconds_a_mouth(interior: MouthInterior, precision: torch.dtype) -> float:
    """Processor time of the mouth interior for a made-up mouth on one thread, s: the least of five."""
    prepared, size = prepare(interior, precision), (ROWS.stop - ROWS.start, COLUMNS.stop - COLUMNS.start)
    image, maps = torch.rand(1, 3, *size), torch.rand(1, NUM_GAP_MAPS, *size)
    geometry = torch.rand(1, NUM_MAP_CHANNELS, size[0] // MAP_STRIDE, size[1] // MAP_STRIDE)
    seconds = []
    with one_thread(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        for _ in range(MIN_PAIRS + 1):
            start = time.thread_time()
            prepared(image, maps, geometry)
            seconds.append(time.thread_time() - start)
    return min(seconds[1:])


def _seconds(renderer: DualAttentionRenderer, inputs: tuple, precision: torch.dtype) -> float:
    """Time one pass on this thread's own clock: what other programs take from the processor does not count."""
    start = time.thread_time()
    render_in(precision, renderer, *inputs)
    return time.thread_time() - start


def _machine_key(renderer: DualAttentionRenderer) -> str:
    """Name everything that the choice depends on."""
    name, features = processor()
    limits = {key: os.environ.get(key) for key in (*ISA_LIMITS, "ATEN_CPU_CAPABILITY")}
    known = [name, sorted(features), torch.__version__, limits, asdict(renderer.config)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]


def _choices_file() -> Path:
    return cache_folder() / "bfloat16.json"


def _read_choices() -> dict[str, bool]:
    """Read what was chosen before, by machine; a file that is missing or damaged says nothing."""
    with suppress(OSError, ValueError):
        choices = json.loads(_choices_file().read_text())
        if isinstance(choices, dict):
            return {key: value for key, value in choices.items() if isinstance(value, bool)}
    return {}


def _keep_choice(key: str, is_reduced: bool) -> None:
    """Write a choice for the next process; where nothing can be written, that one measures again."""
    file = _choices_file()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")  # read by nobody until it is whole
        partial.write_text(json.dumps({**_read_choices(), key: is_reduced}, indent=2) + "\n")
        partial.replace(file)


def prepare(network: M, precision: torch.dtype) -> M:
    """Copy a network for many calls of `render_in` or `paint_in`: its weights are converted once, not for each frame.

    Weights are kept in the channels-last format, which CPUs convolve faster. A GPU's network is returned as it is.
    """
    if device_of(network).type != "cpu":
        return network
    prepared = copy.deepcopy(network)
    for module in prepared.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype=precision).to(memory_format=torch.channels_last)
    return prepared


def render_in(
    precision: torch.dtype, renderer: DualAttentionRenderer, target: Target, lip: References, face: References
) -> Rendering:
    """Call a renderer in a precision; the rendering comes back as float32 on the CPU."""
    device = target.image.device.type
    with torch.autocast(device, precision, enabled=precision != torch.float32):
        rendering = renderer(target, lip, face)
    return _plain(rendering)


def paint_in(
    precision: torch.dtype, interior: MouthInterior, rendering: Rendering, target: Target, gap: MouthGap
) -> Rendering:
    """Paint the inside of a mouth in a precision; the rendering is float32 on the CPU, and comes back so."""
    device = device_of(interior)
    moved = replace(rendering, faces=rendering.faces.to(device))
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        painted = paint_interior(interior, moved, target, gap)
    return _plain(painted)


def _plain(value: Any) -> Any:
    """Bring a tensor, or all tensors of a record, to float32 on the CPU."""
    if isinstance(value, Tensor):
        return value.float().cpu()
    if isinstance(value, (Rendering, Sample)):
        return replace(value, **{field.name: _plain(getattr(value, field.name)) for field in fields(value)})
    return value


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
