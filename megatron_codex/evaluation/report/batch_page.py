"""A training batch as one HTML page: every row in colours, each token with its id, label, position and document.

In: an InspectedBatch. Out: the page; it needs no network and no script.
"""

from __future__ import annotations

from megatron_codex.data.batch_checks import BatchCheck
from megatron_codex.data.inspected_batch import InspectedBatch, Piece
from megatron_codex.evaluation.report.markup import Html, details, join, table, tag
from megatron_codex.evaluation.report.page import Section, render_page

_CSS = """
.batch { white-space: pre-wrap; overflow-wrap: anywhere; } .batch span { border-radius: 2px; }
.batch .prompt { color: var(--soft); }
.batch .completion { background: color-mix(in srgb, var(--good) 22%, transparent); }
.batch .padding { color: var(--line); } .batch .other { border-bottom: 1px dotted var(--accent); }
.batch span:hover { outline: 1px solid var(--accent); }
"""
_MAX_FAULTS = 20


def render_batch(inspected: InspectedBatch) -> str:
    """The whole HTML document."""
    rows = range(len(inspected.batch.tokens))
    sections = [
        Section("Checks", [_checks(inspected.checks)]),
        Section("Rows", [_legend(), *(_row(inspected, row) for row in rows)]),
    ]
    return render_page(inspected.title, [tag("p", inspected.summary())], sections, style=_CSS)


def _checks(checks: tuple[BatchCheck, ...]) -> Html:
    rows = [
        (
            check.name,
            tag("mark", "passed" if check.passed else f"failed {len(check.faults)} times", class_=_grade(check)),
            check.rule,
            join([tag("div", fault) for fault in check.faults[:_MAX_FAULTS]]),
        )
        for check in checks
    ]
    return table(["check", "", "rule", "where it fails"], rows, kind="text")


def _grade(check: BatchCheck) -> str:
    return "good" if check.passed else "bad"


def _legend() -> Html:
    words = [tag("span", "prompt, masked", class_="prompt"), Html(" · "), tag("span", "learnt", class_="completion")]
    words += [
        Html(" · "),
        tag("span", "padding", class_="padding"),
        Html(" · "),
        tag("span", "every second document", class_="other"),
    ]
    return tag("p", Html("".join(words)), class_="batch")


def _row(inspected: InspectedBatch, row: int) -> Html:
    pieces = list(inspected.pieces(row))
    text = tag("pre", Html("".join(_token(piece) for piece in pieces)), class_="batch")
    head = ["column", "document", "position", "token", "text", "label", "its text", "trained"]
    cells = [
        (
            p.column,
            p.document,
            p.position_id,
            p.token,
            repr(p.text),
            p.label,
            repr(p.label_text),
            "yes" if p.trained else "",
        )
        for p in pieces
    ]
    return join([tag("h3", f"row {row}"), text, details("its positions", table(head, cells, kind="text"))])


def _token(piece: Piece) -> Html:
    document = "padding" if piece.document is None else f"document {piece.document}"
    label = f"label {piece.label} {piece.label_text!r}, {'trained' if piece.trained else 'masked'}"
    title = f"{piece.column}: token {piece.token}, {label}; position {piece.position_id}, {document}"
    kinds = f"{piece.kind} other" if piece.document is not None and piece.document % 2 else piece.kind
    return tag("span", "·" if piece.kind == "padding" else piece.text, class_=kinds, title=title)
