"""What the C library does with memory that is freed.

The activations of a network are freed after each gradient. glibc gives freed memory back to the
kernel once more than a limit of it lies at the end of the heap, and the next gradient pays for
clean pages again, thousands of times in a second: a quarter of the time of a network on images. The
limit begins at 128 KiB and follows the largest block that the program has ever mapped and freed, up
to 64 MiB for one of 32 MiB (mallopt(3), M_MMAP_THRESHOLD). So how fast chains are depends on what
the program did before. `raise_limit` settles that, and `keep_freed_memory` does away with the
limit.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
NEVER = 2**31 - 1  # bytes at the top of the heap before they go back to the kernel
LARGEST = 32 * 2**20  # bytes from which on a block is mapped by itself; glibc allows no more
MARGIN = 2**16  # bytes for glibc's own, below the largest block that it learns from
OFF = "STANLEY_RETURN_MEMORY"


@lru_cache(maxsize=1)
def raise_limit() -> None:
    """Map and free one block of nearly 32 MiB, without touching it: glibc then keeps up to 64 MiB
    that are freed.

    A program that has freed a tensor of that size is as if it had called this. Nothing is done
    where STANLEY_RETURN_MEMORY is set; another allocator, or limits that were set otherwise
    (mallopt, GLIBC_TUNABLES), do not learn from it.
    """
    c = glibc()
    if c is not None and not os.environ.get(OFF):
        c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        c.free(c.malloc(ctypes.c_size_t(LARGEST - MARGIN)))


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed instead of giving it back to the kernel; whether it does.

    The command line calls this where it is one process; the library by itself never does. Nothing
    is changed where another C library or allocator is in use, where MALLOC_TRIM_THRESHOLD_,
    MALLOC_MMAP_THRESHOLD_ or GLIBC_TUNABLES say otherwise, or where STANLEY_RETURN_MEMORY is set.
    """
    said = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", OFF)
    if any(os.environ.get(name) for name in said):
        return False
    c = glibc()
    if c is None:
        return False
    return all((c.mallopt(M_TRIM_THRESHOLD, NEVER), c.mallopt(M_MMAP_THRESHOLD, LARGEST)))


def glibc() -> ctypes.CDLL | None:
    """None on Windows, macOS, and with another C library."""
    try:
        c = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return c if hasattr(c, "gnu_get_libc_version") else None
