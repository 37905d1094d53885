"""Logging and progress bars: rank 0 speaks, both go to stderr, stdout stays for results."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from megatron_codex.rank import is_first_rank, launched_rank

T = TypeVar("T")

_LINE = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f} %), {rate_noinv_fmt}, {elapsed} gone, {remaining} to go"


def configure_logging(level: int = logging.INFO) -> None:
    """Send the library's log lines to stderr; other ranks than 0 speak only from WARNING up, with their rank."""
    form = "%(asctime)s %(name)s: %(message)s"
    if not is_first_rank():
        form = f"%(asctime)s rank {launched_rank()} %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, format=form, datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("megatron_codex").setLevel(level if is_first_rank() else logging.WARNING)


def progress(iterable: Iterable[T], *, total: int | None, description: str, unit: str) -> Iterator[T]:
    """Iterate with a bar that shows rate and ETA on stderr (rank 0 only); a line every 10 s when not a terminal."""
    # MCX_PROGRESS=bar: stderr goes through a pipe to a terminal (examples/stages.sh).
    terminal = sys.stderr.isatty() or os.environ.get("MCX_PROGRESS") == "bar"
    yield from tqdm(
        iterable,
        total=total,
        desc=description,
        unit=f" {unit}",
        file=sys.stderr if terminal else _Lines(),
        disable=not is_first_rank(),
        mininterval=0.2 if terminal else 10.0,
        dynamic_ncols=terminal,
        bar_format=None if terminal or total is None else _LINE,
    )


class _Lines(io.StringIO):
    """Stderr for a bar in a log: each state is a line, where a terminal would go back to the line's beginning."""

    def write(self, text: str) -> int:
        if text.strip():
            sys.stderr.write(text.strip() + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()
