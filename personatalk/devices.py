"""Where networks compute: a name of the command line to a device that the machine has."""

from __future__ import annotations

import torch


def resolve_device(name: str | None) -> torch.device:
    """Choose a device.

    Args:
        name: "cpu", "cuda", "cuda:1" ...; "auto" takes CUDA where there is some; None is "cpu".

    Raises:
        ValueError: the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name or "cpu")
    except RuntimeError as error:
        raise ValueError(f"device={name!r} is none: use cpu, cuda, cuda:1 or auto") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name!r}: PyTorch finds {torch.cuda.device_count()} CUDA devices here")
    return device
