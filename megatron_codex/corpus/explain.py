"""Why one file is kept or dropped: a path in, each rule's measured value, bound and verdict out, as they are tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from megatron_codex.config.corpus import CorpusConfig, FilterConfig
from megatron_codex.corpus import candidates
from megatron_codex.corpus.candidates import REASONS, Candidate
from megatron_codex.corpus.discover import find_units
from megatron_codex.corpus.filters import FILTERS, Decision, alphanumeric_share, examine_one
from megatron_codex.corpus.readers import read_unit
from megatron_codex.corpus.statistics import HEAD_CHARS, measure_documents
from megatron_codex.errors import InputError

PASSES, DROPS, NOT_TOLD = "passes", "drops it", "not told from one file"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one rule says."""

    reason: str
    """A key of candidates.REASONS."""
    measured: str
    bound: str
    verdict: str
    """PASSES, DROPS or NOT_TOLD."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What all rules say, those after the first that drops the file included, and what comes of it."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]
    decision: Decision

    def lines(self) -> list[str]:
        """A table for people: what the file is, a line a rule, the outcome."""
        file = self.candidate
        facts = [file.language, f"{file.size_bytes:,} bytes", file.licence and f"licence {file.licence}"]
        rows = [("rule", "measured", "bound", ""), *map(dataclasses.astuple, self.verdicts)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows]
        outcome = "kept, unless it is a duplicate" if self.decision.keep else f"dropped: {self.decision.reason}"
        if not self.decision.keep:
            outcome += f" ({REASONS[self.decision.reason]})"
        return [f"{file.path}: {', '.join(filter(None, facts))}", *(row.rstrip() for row in table), outcome]


def explain(target: str, config: CorpusConfig) -> Explanation:
    """Judge the file that `target` names: PATH, or CONTAINER:MEMBER in an archive, repository, table or directory.

    Raises: InputError when it is not there, or not of a kind that is read.
    """
    candidate = find_candidate(target, config)
    decision, text = examine_one(candidate, config.filters)
    return Explanation(candidate, tuple(_verdicts(candidate, decision, text, config.filters)), decision)


def find_candidate(target: str, config: CorpusConfig) -> Candidate:
    """The file as its reader gives it. Raises: InputError as explain."""
    path, member = Path(target), ""
    if not path.exists() and ":" in target:
        container, member = _split(target)
        path = Path(container)
    names = []
    for unit in find_units(dataclasses.replace(config, input=(path,))):
        if not member and unit.kind != "files":
            raise InputError(target, rule="holds many files", remedy=f"name one of them, as {target}:MEMBER")
        if not member and path.is_dir():
            raise InputError(target, rule="is a directory", remedy="name a file in it")
        for candidate in read_unit(unit, max_bytes=config.filters.max_file_bytes):
            if candidate.path == (member or path.name):
                return candidate
            names.append(candidate.path or f"({REASONS[candidate.fault]})")
    near = get_close_matches(member, names, n=1) or names[-1:]
    remedy = f"did you mean {path}:{near[0]}?" if near else "it holds no file of the chosen languages"
    raise InputError(target, rule=f"{path} has no such source file", remedy=remedy)


def _split(target: str) -> tuple[str, str]:
    """At the first colon before which there is something: names may have colons."""
    places = [place for place, character in enumerate(target) if character == ":"]
    place = next((place for place in places if Path(target[:place]).exists()), places[0])
    return target[:place], target[place + 1 :]


def _verdicts(candidate: Candidate, decision: Decision, text: str, config: FilterConfig) -> list[Verdict]:
    if candidate.fault and candidate.fault != candidates.TOO_LARGE:
        return [Verdict(candidate.fault, "", REASONS[candidate.fault], DROPS)]
    found = [
        Verdict(
            candidates.TOO_LARGE,
            f"{candidate.size_bytes:,} bytes",
            f"below {config.max_file_bytes:,}",
            DROPS if decision.reason == candidates.TOO_LARGE else PASSES,
        )
    ]
    if decision.reason == candidates.TOO_LARGE:
        return found
    undecodable = decision.reason == candidates.UNDECODABLE
    measured = "bytes that are not of it" if undecodable else f"{len(text):,} characters"
    found.append(Verdict(candidates.UNDECODABLE, measured, "text in its encoding", DROPS if undecodable else PASSES))
    if undecodable:
        return found
    facts = measure_documents(text.encode(), np.array([0, len(text.encode())]))[0]
    for rule in FILTERS:
        answer = rule(text, config, candidate.language)
        value, bound = _MEASURES[rule.__name__](facts, text, answer, config)
        found.append(Verdict(rule.__name__, value, bound, PASSES if answer.keep else DROPS))
    return [*found, Verdict(candidates.DUPLICATE, "", "no equal text before it", NOT_TOLD)]


def _empty(facts: Any, text: str, answer: Decision, config: FilterConfig) -> tuple[str, str]:
    return f"{sum(not character.isspace() for character in text):,} characters that are no white space", "at least 1"


def _nul_bytes(facts: Any, text: str, answer: Decision, config: FilterConfig) -> tuple[str, str]:
    return f"{facts['num_nul']:,} NUL", "none"


def _auto_generated(facts: Any, text: str, answer: Decision, config: FilterConfig) -> tuple[str, str]:
    if not config.auto_generated:
        return "", "not looked for"
    return "no stamp" if answer.keep else "a stamp", f"no generator's stamp in {HEAD_CHARS:,} characters"


def _average_line_length(facts: Any, text: str, answer: Decision, config: FilterConfig) -> tuple[str, str]:
    average = facts["num_line_chars"] / max(1, facts["num_lines"])
    return f"{average:.2f} over {facts['num_lines']:,} lines", f"at most {config.max_average_line_length:g}"


def _maximum_line_length(facts: Any, text: str, answer: Decision, config: FilterConfig) -> tuple[str, str]:
    return f"{facts['max_line_chars']:,}", f"at most {config.max_line_length:,}"


def _low_alphanumeric(facts: Any, text: str, answer: Decision, config: FilterConfig) -> tuple[str, str]:
    return f"{alphanumeric_share(text):.4f}", f"at least {config.min_alphanumeric_share:g}"


_MEASURES: dict[str, Callable[[Any, str, Decision, FilterConfig], tuple[str, str]]] = {
    candidates.EMPTY: _empty,
    candidates.NUL_BYTES: _nul_bytes,
    candidates.AUTO_GENERATED: _auto_generated,
    candidates.AVERAGE_LINE_LENGTH: _average_line_length,
    candidates.MAXIMUM_LINE_LENGTH: _maximum_line_length,
    candidates.LOW_ALPHANUMERIC: _low_alphanumeric,
}
