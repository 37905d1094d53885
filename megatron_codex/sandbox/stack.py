"""Frames of our own below a program: they do not count against its recursion limit."""

from __future__ import annotations

import sys


def keep_recursion_limit(*, num_calls: int) -> None:
    """Leave a program the recursion that a script of its own would have: it may go just to the limit.

    num_calls: from the caller's to that of the role (roles.py), which is not entered yet. Before a worker forks, since
    the walk over the frames would cost each child a dozen copied pages.
    """
    depth = num_calls
    frame = sys._getframe().f_back
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(sys.getrecursionlimit() + depth)
