"""Verdicts on the disk as they come, so that a driver that is killed loses what was in flight and no more.

In: verdicts of programs by number. Out: OUTPUT.partial/ (megatron_codex/journals.py), shared by any number of drivers;
a line of verdicts-00003-of-00008.jsonl: {"program": ..., a Verdict's fields}. Memory: 12 bytes a program.
"""

from __future__ import annotations

import json
import logging

import numpy as np
import numpy.typing as npt

from megatron_codex.journals import Journal, LinePlaces
from megatron_codex.jsonl import dump_line
from megatron_codex.records import VERDICT_NAMES, Verdict

_logger = logging.getLogger(__name__)

FORMAT = "megatron_codex/verdicts/1"
JOURNAL = "verdicts"
NOT_JUDGED = 255
INFRA = VERDICT_NAMES.index("infra")


class KnownVerdicts:
    """What the journals say of each program; what the harness failed at counts only where nothing else is said."""

    def __init__(self, num_programs: int) -> None:
        self.codes: npt.NDArray[np.uint8] = np.full(num_programs, NOT_JUDGED, np.uint8)
        """[num_programs], places in VERDICT_NAMES, or NOT_JUDGED."""
        self.isolations: list[str] = []
        """The levels of isolation that were met."""
        self.cpu_factors: set[float] = set()
        """By how much limits were stretched, on one machine or another."""
        self._places = LinePlaces(num_programs)

    def read(self, journal: Journal) -> None:
        """Take in what all drivers have said so far. Broken lines are told of, and judged again; torn ends are not."""
        for path in journal.paths():
            broken = 0
            for begin, line in self._places.lines(path):
                entry = _parse(line, len(self.codes))
                if entry is None:
                    broken += 1
                else:
                    self._take(*entry, begin=begin)
            if broken:
                _logger.warning("%s: %d lines are broken; their programs are judged again", path, broken)

    def verdict(self, program: int) -> Verdict:
        """Read again from its journal."""
        entry = _parse(self._places.line(program), len(self.codes))
        assert entry is not None and entry[0] == program
        return entry[1]

    def pending(self) -> npt.NDArray[np.int64]:
        """Numbers of the programs that have no verdict yet, or only infra."""
        return np.flatnonzero((self.codes == NOT_JUDGED) | (self.codes == INFRA))

    @property
    def num_missing(self) -> int:
        return int((self.codes == NOT_JUDGED).sum())

    def close(self) -> None:
        self._places.close()

    def __enter__(self) -> KnownVerdicts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, program: int, verdict: Verdict, *, begin: int) -> None:
        if self.codes[program] not in (NOT_JUDGED, INFRA):
            return
        self.codes[program] = VERDICT_NAMES.index(verdict.verdict)
        self._places.put(program, begin)
        self.cpu_factors.add(verdict.cpu_factor)
        if verdict.isolation not in self.isolations:
            self.isolations.append(verdict.isolation)


def add_verdict(journal: Journal, program: int, verdict: Verdict) -> None:
    """Append a verdict."""
    journal.append(dump_line({"program": program, **verdict.to_json()}))


def known_verdicts(journal: Journal, num_programs: int) -> KnownVerdicts:
    """What all drivers have said so far."""
    known = KnownVerdicts(num_programs)
    known.read(journal)
    return known


def _parse(line: bytes, num_programs: int) -> tuple[int, Verdict] | None:
    """(program, its verdict); None for a broken line. Of a million lines Verdict.from_json would take minutes."""
    try:
        row = json.loads(line)
        program = row.pop("program")
        verdict = Verdict(**row)
    except (ValueError, LookupError, AttributeError, TypeError):
        return None
    if verdict.verdict not in VERDICT_NAMES or type(verdict.detail) is not str or type(verdict.isolation) is not str:
        return None
    return (program, verdict) if type(program) is int and 0 <= program < num_programs else None
