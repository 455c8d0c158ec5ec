"""The memory of this process: its peak, and giving back what is free."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path


def release_free_memory() -> None:
    """Give memory that was freed back to the system, where the C library keeps it and can (glibc).

    What a stage held and freed would otherwise stay with the process, beside what the next stage needs: some 100 MiB.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def reset_peak_memory() -> None:
    """Count the process's peak memory from now on; where the system does not allow it, it counts from the start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> int | None:
    """Peak memory of the process since the reset, MB; None where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return None
