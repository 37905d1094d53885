"""Keep freed memory in the process: on a CPU this alone can halve the time of a training step."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_MAX_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks of any size; False where the C library is another one.

    By default it gives large blocks back to the kernel, and each new activation tensor is faulted in page by page
    again: 1.5 GB/s, where reuse runs at 23 GB/s.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _MAX_INT))
