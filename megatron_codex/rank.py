"""Which rank of a run this process is, by its launcher's environment: before torch, and where there is none."""

from __future__ import annotations

import os


def launched_rank() -> str:
    """RANK, as torchrun and our launches set it; "0" for a process that nobody has launched as one of several."""
    return os.environ.get("RANK", "0")


def is_first_rank() -> bool:
    """Whether this process speaks for all of the run."""
    return launched_rank() == "0"
