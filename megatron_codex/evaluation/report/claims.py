"""What of the paper's claims a run shows.

A claim is "seen" when the 95 % interval of the difference lies above zero, "opposite" when it lies below, else "not
shown": at this size the run cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from megatron_codex.config.report import ComparisonPart, FilePart
from megatron_codex.errors import InputError
from megatron_codex.evaluation.intervals import draw_problems, mean_interval
from megatron_codex.evaluation.pass_at_k import pass_at_k
from megatron_codex.evaluation.report.json_file import read_json
from megatron_codex.evaluation.report.markup import Content, Html, table, tag
from megatron_codex.evaluation.report.results import Results
from megatron_codex.evaluation.reranking import FORMAT as RANKING_FORMAT
from megatron_codex.evaluation.reranking import RANDOM

_BOOTSTRAP_SEED = 0

_CLAIMED_RANKERS = ("mean log p", "back-translation")
"""Those that the paper says beat random choice (sections 3.3 and 5); of sum log p it says that it can be worse."""

_CLASSES = {"seen": "good", "opposite": "bad", "not shown": ""}


class Tested(Protocol):
    """A claim that one run tested."""

    @property
    def claim(self) -> str:
        """In words."""
        ...

    @property
    def outcome(self) -> str:
        """ "seen" where the run shows it."""
        ...


def seen_in(found: Iterable[Tested | None]) -> str:
    """Of one claim in several runs, "2 of 3": those that show it, of those that tested it (none: did not)."""
    outcomes = [tested.outcome for tested in found if tested is not None]
    return f"{outcomes.count('seen')} of {len(outcomes)}"


@dataclass(frozen=True)
class Finding:
    """A claim and the difference that tests it, in shares of problems."""

    claim: str
    value: float
    low: float
    high: float

    @property
    def outcome(self) -> str:
        """ "seen", "opposite" or "not shown"."""
        if self.low > 0:
            return "seen"
        return "opposite" if self.high < 0 else "not shown"

    @property
    def difference(self) -> str:
        """In percentage points, with its interval."""
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"

    def mark(self) -> Html:
        """The outcome in its colour."""
        return tag("mark", self.outcome, class_=_CLASSES[self.outcome])


def compare(parts: Sequence[ComparisonPart], evaluations: Sequence[Results]) -> list[Finding]:
    """pass@k of two models on the problems both were asked, paired by problem.

    Raises: InputError where they share no problem, or a problem has fewer than k samples.
    """
    by_label = {results.label: results for results in evaluations}
    findings = []
    for part in parts:
        better, worse = by_label[part.better].counts, by_label[part.worse].counts
        shared = sorted(set(better) & set(worse))
        if not shared:
            remedy = "compare models on the same problems file"
            raise InputError(part.claim, rule=f"{part.better} and {part.worse} share no problem", remedy=remedy)
        fewest = min(counts[task].num_samples for counts in (better, worse) for task in shared)
        if fewest < part.k:
            rule = f"pass@{part.k} needs as many samples of each problem, and one has {fewest}"
            raise InputError(part.claim, rule=rule, remedy="give a smaller k, or draw more samples")
        rates = [
            pass_at_k(a.num_samples, a.num_correct, part.k) - pass_at_k(b.num_samples, b.num_correct, part.k)
            for a, b in ((better[task], worse[task]) for task in shared)
        ]
        value, low, high = mean_interval(np.array(rates), draw_problems(len(rates), seed=_BOOTSTRAP_SEED))
        findings.append(
            Finding(f"{part.claim} (pass@{part.k}, {len(shared)} problems)", float(value), float(low), float(high))
        )
    return findings


def compare_rankings(parts: Sequence[FilePart]) -> list[Finding]:
    """The paper's claims on rankings, each at its ranking's largest k."""
    findings = []
    for part in parts:
        report = read_json(part.path, RANKING_FORMAT, name="ranking.json")
        for curve in report["curves"]:
            if curve["ranker"] in _CLAIMED_RANKERS:
                difference = {name: curve["minus_random"][name][-1] for name in ("pass_rate", "low", "high")}
                claim = f"{part.label}: {curve['ranker']} beats {RANDOM} choice of {report['k'][-1]} samples"
                findings.append(Finding(claim, difference["pass_rate"], difference["low"], difference["high"]))
    return findings


def findings_section(findings: Sequence[Finding], not_reproduced: Sequence[str]) -> list[Html]:
    """Claims with what was seen of them, then what the run does not show, in words."""
    shown = []
    if findings:
        rows: list[list[Content]] = [[finding.claim, finding.difference, finding.mark()] for finding in findings]
        shown.append(table(["claim", "difference, percentage points", "in this run"], rows))
    if not_reproduced:
        shown += [tag("h3", "What did not reproduce"), tag("ul", *(tag("li", line) for line in not_reproduced))]
    return shown
