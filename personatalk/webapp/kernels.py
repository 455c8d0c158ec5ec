"""Whether Numba's kernels are compiled, which happens in the first run after installation and takes some 20 s."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

from personatalk.progress import Progress
from personatalk.webapp import strings


def are_compiled(kernel: Callable) -> bool:
    """Whether a function of `numba.njit(cache=True)` was compiled in this process or in an earlier one."""
    module = kernel.__module__.rpartition(".")[2]
    cached = Path(kernel.stats.cache_path).glob(f"{module}.{kernel.__name__}-*.nbi")
    return bool(kernel.signatures) or any(cached)


def with_kernel_note(progress: Progress) -> Progress:
    """Add to each message that kernels are being prepared."""

    @wraps(progress)
    def tell(share: float, message: str) -> None:
        progress(share, strings.PREPARING_KERNELS.format(stage=message))

    return tell
