"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
NEVER = 2**31 - 1  # bytes at the top of the heap before they go back to the kernel
LARGEST = 32 * 2**20  # bytes from which on a block is mapped by itself; glibc allows no more
OFF = "STANLEY_RETURN_MEMORY"


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed instead of giving it back to the kernel; whether it does.

    The activations of a network are freed after each gradient. By default glibc returns them, and
    the next gradient pays for clean pages again, thousands of times in a second. The command line
    calls this where it is one process; importing the library never does. Nothing is changed
    where another C library or allocator is in use, where MALLOC_TRIM_THRESHOLD_,
    MALLOC_MMAP_THRESHOLD_ or GLIBC_TUNABLES say otherwise, or where STANLEY_RETURN_MEMORY is set.
    """
    said = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", OFF)
    if any(os.environ.get(name) for name in said):
        return False
    try:
        c = ctypes.CDLL(None)
        if not hasattr(c, "gnu_get_libc_version"):
            return False
        return all((c.mallopt(M_TRIM_THRESHOLD, NEVER), c.mallopt(M_MMAP_THRESHOLD, LARGEST)))
    except (OSError, AttributeError, TypeError):  # Windows, macOS, a C library without mallopt
        return False
