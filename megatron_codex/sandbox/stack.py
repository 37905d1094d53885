"""Frames of our own below a program: they do not count against its recursion limit."""

from __future__ import annotations

import sys


def keep_recursion_limit() -> None:
    """Leave the caller the recursion that a script of its own would have: a program may go just to the limit."""
    depth = 0
    frame = sys._getframe().f_back
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(sys.getrecursionlimit() + depth)
