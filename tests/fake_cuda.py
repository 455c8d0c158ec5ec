"""Tensors that say they are on a GPU: they compute nothing, and refuse to meet a tensor on the CPU, as real ones do."""

from __future__ import annotations

from torch._subclasses.fake_tensor import FakeTensorMode


def fake_cuda() -> FakeTensorMode:
    """Within it, `.to("cuda")` works on a machine without CUDA; values are not known, gradients not to be had."""
    return FakeTensorMode(allow_non_fake_inputs=True)
