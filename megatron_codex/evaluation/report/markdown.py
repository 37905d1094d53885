"""The page's numbers as Markdown tables, a column for each run: what goes into a document or a pull request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from megatron_codex.evaluation.pass_at_k import Estimate
from megatron_codex.evaluation.report.claims import seen_in
from megatron_codex.evaluation.report.json_file import read_json
from megatron_codex.evaluation.report.markup import interval
from megatron_codex.evaluation.report.results import ALL
from megatron_codex.evaluation.report.side_by_side import RunParts
from megatron_codex.evaluation.report.temperatures import best_temperatures
from megatron_codex.evaluation.reranking import FORMAT as RANKING_FORMAT
from megatron_codex.evaluation.round_trip import FORMAT as ROUND_TRIP_FORMAT

_Cells = dict[str, str]
"""What one run says: row -> cell."""


def markdown(runs: Sequence[RunParts]) -> str:
    """Tables of scores, best temperatures, choices, round trips, claims and losses; those without a row are left out.

    A row is there when one of the runs has it; the cell of a run that has not is empty.
    """
    tables = (
        _rows("pass@k (%)", runs, _scores),
        _rows("best temperature", runs, _temperatures),
        _rows("one of k samples, passes (%)", runs, _choices),
        _rows("docstring round trip, passes (%)", runs, _round_trips),
        _claim_rows(runs),
        _rows("best held-out loss (nats per token)", runs, _losses),
    )
    return "\n".join(_table(rows) for rows in tables if len(rows) > 1)


def _rows(
    head: str, runs: Sequence[RunParts], read: Callable[[RunParts], Iterable[tuple[str, str]]]
) -> list[list[str]]:
    """The head, and a row for each thing that one of the runs says."""
    columns: list[_Cells] = [dict(read(run)) for run in runs]
    names = dict.fromkeys(name for cells in columns for name in cells)
    rows = [[name, *(cells.get(name, "") for cells in columns)] for name in names]
    return [[head, *(run.name for run in runs)], *rows]


def _claim_rows(runs: Sequence[RunParts]) -> list[list[str]]:
    """With the number of runs that show each claim, where there are several."""
    head, *rows = _rows("claim", runs, _claims)
    if len(runs) == 1:
        return [head, *rows]
    tested = [run.tested for run in runs]
    return [[*head, "seen in"], *([*row, seen_in(claims.get(row[0]) for claims in tested)] for row in rows)]


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())


def _scores(run: RunParts) -> Iterable[tuple[str, str]]:
    for results in run.evaluations:
        for group in results.groups:
            name = results.label if group == ALL else f"{results.label}, {group}"
            for k in results.k:
                yield f"{name}, pass@{k}", _percent(results.pass_at_k(k, group))


def _temperatures(run: RunParts) -> Iterable[tuple[str, str]]:
    for best in best_temperatures(run.parts.evaluations, run.evaluations):
        yield f"{best.model}, pass@{best.k}", f"{best.temperature:g}: {_percent(best.there)}"


def _choices(run: RunParts) -> Iterable[tuple[str, str]]:
    for part in run.parts.rankings:
        report = read_json(part.path, RANKING_FORMAT, name="ranking.json")
        for curve in report["curves"]:
            for k, rate in zip(report["k"], curve["pass_rate"], strict=True):
                yield f"{part.label}: {curve['ranker']}, k = {k}", f"{100 * rate:.1f}"


def _round_trips(run: RunParts) -> Iterable[tuple[str, str]]:
    for part in run.parts.round_trips:
        for arm in read_json(part.path, ROUND_TRIP_FORMAT, name="round_trip.json")["arms"]:
            estimate = Estimate(value=arm["pass_rate"], low=arm["low"], high=arm["high"])
            yield f"{part.label}: {arm['arm']}", _percent(estimate)


def _claims(run: RunParts) -> Iterable[tuple[str, str]]:
    for finding in run.findings:
        yield finding.claim, f"{finding.difference}: {finding.outcome}"
    for convergence in run.convergences:
        yield convergence.claim, f"{convergence.steps}: {convergence.outcome}"


def _losses(run: RunParts) -> Iterable[tuple[str, str]]:
    for part in run.parts.training:
        if losses := run.metrics.held_out_losses(part.path):
            loss, step = min((loss, step) for step, loss in losses)
            yield part.label, f"{loss:.3f} at step {step:,}"


def _percent(estimate: Estimate) -> str:
    """As the page writes it, without the signs of per cent."""
    return interval(estimate.value, estimate.low, estimate.high).replace("%", "")
