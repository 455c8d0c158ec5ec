"""Functions that Numba compiles in the first run after installation, and keeps for all later ones.

Each names the types that a dub calls it with, so that all can be compiled while the first dub still reads its clip.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.sigutils import normalize_signature

Function = TypeVar("Function", bound=Callable)

_signatures: dict[Any, str] = {}


def kernel(signature: str, **options: Any) -> Callable[[Function], Function]:
    """Decorate a function to be compiled without the interpreter's lock, and kept.

    Args:
        signature: types of the arguments as a dub gives them, in Numba's notation. Others are compiled when they come.
        options: further ones of `numba.njit`.
    """

    def decorate(function: Function) -> Function:
        compiled: Any = numba.njit(cache=True, nogil=True, **options)(function)
        _signatures[compiled] = f"({signature},)"
        return compiled

    return decorate


def is_compiled(function: Any) -> bool:
    """Whether a kernel was compiled in this process or in an earlier one."""
    module = function.__module__.rpartition(".")[2]
    cached = Path(function.stats.cache_path).glob(f"{module}.{function.__name__}-*.nbi")
    return bool(function.signatures) or any(cached)


def are_compiled() -> bool:
    """Whether all kernels of the modules that are imported were compiled, now or in an earlier process."""
    return all(map(is_compiled, _signatures))


@contextmanager
def compiling_ahead() -> Iterator[None]:
    """Compile all kernels that never were, on a thread of their own; what is begun at the end is waited for."""
    if are_compiled():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=compile_all, args=(ended.is_set,), name="kernels")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def compile_all(should_stop: Callable[[], bool] = lambda: False) -> None:
    """Compile all kernels of the modules that are imported, until told to stop."""
    for function, signature in list(_signatures.items()):
        if should_stop():
            return
        function.compile(normalize_signature(signature)[0])  # kept by the types: a text would be another key
