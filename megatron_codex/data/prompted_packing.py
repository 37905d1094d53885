"""Which examples share a row: best fit, in the order given.

In: lengths in positions. Out: rows of example indices. The same lengths always give the same rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence


def pack_lengths(lengths: Sequence[int], *, capacity: int) -> list[list[int]]:
    """Put each example into the fullest row that still holds it (the oldest of equals), else into a new row.

    lengths: of each example, 1..capacity positions.

    >>> pack_lengths([5, 6, 3, 2], capacity=8)
    [[0, 2], [1, 3]]
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (positions left, row), sorted
    for index, length in enumerate(lengths):
        assert 0 < length <= capacity, f"example {index} has {length} positions, a row {capacity}"
        place = bisect_left(rooms, (length, 0))
        if place < len(rooms):
            room, row = rooms.pop(place)
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        if room > length:
            insort(rooms, (room - length, row))
    return rows
