"""A worker's heap, without free places between its objects.

A forked child writes its own objects into whatever is free, and each hole in a page that the worker wrote to costs it
the copy of that page. With the holes taken, its objects lie together in pages that are empty.
"""

from __future__ import annotations

# Of CPython's allocator for small objects (Objects/obmalloc.c). Were they others, nothing would be gained, or lost.
_SIZES = range(16, 513, 16)
_POOL_BYTES, _POOL_HEADER_BYTES = 1 << 14, 48
_MAX_BLOCKS = 4096


def fill_holes() -> list[object]:
    """Allocate blocks of each size until one is the first of an empty pool. To be kept as long as the worker lives."""
    taken: list[object] = []
    for size in _SIZES:
        for _ in range(_MAX_BLOCKS):
            block = _block(size)
            taken.append(block)
            if id(block) % _POOL_BYTES == _POOL_HEADER_BYTES:
                break
    return taken


def _block(size: int) -> object:
    empty = b"".__sizeof__()
    if size >= empty:
        return bytes(size - empty)
    return object() if size == object().__sizeof__() else float(size)
