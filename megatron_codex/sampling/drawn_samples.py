"""The samples that a run's journals hold, by number.

In: journals of any number of processes (megatron_codex/journals.py), of which a line is {"sample": number, a
Completion's fields}. Out: which samples are missing, and all rows in order. A sample that stands there twice is the
same: it depends on its number only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from megatron_codex.journals import Journal, LinePlaces
from megatron_codex.jsonl import Row, dump_line
from megatron_codex.records import Completion

JOURNAL = "samples"

_logger = logging.getLogger(__name__)


def add_sample(journal: Journal, number: int, sample: Completion) -> None:
    """Append a sample."""
    journal.append(dump_line({"sample": number, **sample.to_json()}))


class DrawnSamples:
    """What all processes have drawn so far. Broken lines are told of, and count as not written."""

    def __init__(self, journal: Journal, total: int) -> None:
        self._drawn: npt.NDArray[np.bool_] = np.zeros(total, np.bool_)
        self._places = LinePlaces(total)
        for path in journal.paths():
            broken = 0
            for begin, line in self._places.lines(path):
                entry = _parse(line, total)
                if entry is None:
                    broken += 1
                elif not self._drawn[entry[0]]:
                    self._drawn[entry[0]] = True
                    self._places.put(entry[0], begin)
            if broken:
                _logger.warning("%s: %d lines are broken; their samples are drawn again", path, broken)

    def missing(self) -> npt.NDArray[np.int64]:
        """Numbers of the samples that nobody has drawn."""
        return np.flatnonzero(~self._drawn)

    def rows(self) -> Iterator[Row]:
        """All samples, in order; none may be missing."""
        for number in range(len(self._drawn)):
            entry = _parse(self._places.line(number), len(self._drawn))
            assert entry is not None and entry[0] == number
            yield entry[1]

    def __enter__(self) -> DrawnSamples:
        return self

    def __exit__(self, *_: object) -> None:
        self._places.close()


def _parse(line: bytes, total: int) -> tuple[int, Row] | None:
    """(number, row); None for a broken line."""
    try:
        row = json.loads(line)
        number = row.pop("sample")
    except (ValueError, LookupError, AttributeError, TypeError):
        return None
    whole = type(number) is int and 0 <= number < total and {"task_id", "completion", "finish_reason"} <= row.keys()
    return (number, row) if whole else None
