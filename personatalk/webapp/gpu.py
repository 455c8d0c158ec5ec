"""The GPU that a Space lends for the length of a call (ZeroGPU), where the package `spaces` finds one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from personatalk.errors import PersonaTalkError

Result = TypeVar("Result")
BOOKED_S = 120  # that a call may hold the GPU


def default_device() -> str:
    """Name the device that the page's pipeline is loaded to: "cuda" where there is one or one is lent, else "cpu".

    On ZeroGPU networks are loaded to "cuda" at the start, before any GPU is there, and `spaces` must be imported
    before CUDA is asked for.
    """
    try:
        import spaces  # noqa: F401 (its import makes PyTorch find the GPU that is lent)
    except ImportError:
        pass
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def lends_gpu() -> bool:
    """Whether a GPU is lent for calls marked by `on_gpu`, and is not there in between."""
    return on_gpu(default_device) is not default_device


def on_gpu(function: Callable[..., Result]) -> Callable[..., Result]:
    """Book the lent GPU for each call of a function; where none is lent, return the function itself.

    A lent GPU belongs to another process: arguments and results are pickled, changes of the caller's objects are lost,
    and of errors only the class's name would come back. Therefore PersonaTalkError returns as a value.
    """
    try:
        import spaces
    except ImportError:
        return function

    def attempt(*args: object, **kwargs: object) -> tuple[Result | None, PersonaTalkError | None]:
        try:
            return function(*args, **kwargs), None
        except PersonaTalkError as error:
            return None, error

    booked = spaces.GPU(duration=BOOKED_S)(attempt)
    if booked is attempt:  # the package is there, but not on ZeroGPU
        return function

    @wraps(function)
    def run(*args: object, **kwargs: object) -> Result:
        result, error = booked(*args, **kwargs)
        if error is not None:
            raise error
        return result

    return run
