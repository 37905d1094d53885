"""A batch with what was found in it, and its positions one by one as a reader sees them: for terminal and page.

In: a SeenBatch, its checks, the tokenizer. Out: pieces of text with their kind; the whole as terminal text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from megatron_codex.data.batch_checks import BatchCheck
from megatron_codex.data.seen_batch import SeenBatch, Span
from megatron_codex.tokenizer.codex import CodexTokenizer

Kind = Literal["prompt", "completion", "padding"]
"""Of a token: given, learnt, or filling. A token is learnt where the label before it is trained on."""

_COLORS: dict[str, str] = {"prompt": "2", "completion": "32", "padding": "90", "end": "7", "failed": "31"}
_SHOWN_FAULTS = 3


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One position of a row. text: the token's, control characters but newlines and tabs escaped."""

    column: int
    text: str
    kind: Kind
    token: int
    label: int
    label_text: str
    position_id: int
    trained: bool
    """Whether its label, the next token, counts in the loss."""
    document: int | None
    """Number of the span in its row, from 0; None for padding."""


@dataclass(frozen=True, kw_only=True)
class InspectedBatch:
    """A global batch of G rows x S positions and what was found in it."""

    title: str
    """Task, split, step."""
    batch: SeenBatch
    spans: tuple[Span, ...]
    checks: tuple[BatchCheck, ...]
    tokenizer: CodexTokenizer

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def num_documents(self) -> int:
        return sum(not span.is_padding for span in self.spans)

    def shares(self) -> dict[str, float]:
        """Of all positions: those that are trained on, those that are masked (prompts), padding."""
        size = self.batch.trained.size
        trained = int(self.batch.trained.sum())
        padding = sum(span.stop - span.start for span in self.spans if span.is_padding)
        return {"trained": trained / size, "masked": (size - trained - padding) / size, "padding": padding / size}

    def pieces(self, row: int) -> Iterator[Piece]:
        """The positions of a row, in order."""
        batch, document = self.batch, -1
        for span in (span for span in self.spans if span.row == row):
            document += not span.is_padding
            for column in range(span.start, span.stop):
                learnt = column > span.start and bool(batch.trained[row, column - 1])
                yield Piece(
                    column=column,
                    text=self._text(int(batch.tokens[row, column])),
                    kind="padding" if span.is_padding else "completion" if learnt else "prompt",
                    token=int(batch.tokens[row, column]),
                    label=int(batch.labels[row, column]),
                    label_text=self._text(int(batch.labels[row, column])),
                    position_id=int(batch.position_ids[row, column]),
                    trained=bool(batch.trained[row, column]),
                    document=None if span.is_padding else document,
                )

    def summary(self) -> str:
        """Sizes and shares in one line."""
        rows, columns = self.batch.tokens.shape
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self.shares().items())
        return f"{rows} rows of {columns} positions, {self.num_documents} documents; {shares}"

    def _text(self, token: int) -> str:
        if not 0 <= token < self.tokenizer.vocab_size:
            return f"<id {token}>"
        text = self.tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
        return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def terminal_text(inspected: InspectedBatch, *, rows: int, ids: bool, color: bool) -> str:
    """Title, the first `rows` rows, the checks. ids: a line a position, in place of running text."""

    def paint(kind: str, text: str) -> str:
        return f"\x1b[{_COLORS[kind]}m{text}\x1b[0m" if color and text else text

    lines = [inspected.title, inspected.summary(), ""]
    for row in range(min(rows, len(inspected.batch.tokens))):
        lines.append(f"--- row {row}")
        pieces = list(inspected.pieces(row))
        lines += _id_lines(pieces, paint) if ids else [_running_text(pieces, paint)]
    for check in inspected.checks:
        lines.append(f"{'ok    ' if check.passed else paint('failed', 'FAILED')} {check.name}: {check.rule}")
        lines += [f"         {fault}" for fault in check.faults[:_SHOWN_FAULTS]]
        if len(check.faults) > _SHOWN_FAULTS:
            lines.append(f"         and {len(check.faults) - _SHOWN_FAULTS} more")
    return "\n".join(lines)


Paint = Callable[[str, str], str]


def _running_text(pieces: Sequence[Piece], paint: Paint) -> str:
    """The row's text: prompts dim, completions green, runs of padding as their length, ends of documents marked."""
    shown = []
    for (kind, document), group in itertools.groupby(pieces, key=lambda piece: (piece.kind, piece.document)):
        run = list(group)
        if kind == "padding":
            shown.append(paint("padding", f"[{len(run)} x padding]\n"))
            continue
        # Line by line: a pager loses a colour that goes on behind a newline.
        text = "".join(piece.text for piece in run)
        shown.append("\n".join(paint(kind, line) for line in text.split("\n")))
        last = run[-1]
        at_end = last.column + 1 == len(pieces) or pieces[last.column + 1].document != document
        if at_end:
            mark = f"[{last.label_text!r} {'trained' if last.trained else 'masked'}]"
            shown.append(paint("end", mark) + "\n")
    return "".join(shown)


def _id_lines(pieces: Sequence[Piece], paint: Paint) -> list[str]:
    head = f"{'column':>6} {'document':>8} {'position':>8} {'token':>6} {'label':>6} trained  text -> label"
    lines = [head]
    for piece in pieces:
        document = "-" if piece.document is None else str(piece.document)
        trained = "yes" if piece.trained else "no"
        numbers = f"{piece.column:6} {document:>8} {piece.position_id:8} {piece.token:6} {piece.label:6} {trained:7}"
        lines.append(paint(piece.kind, f"{numbers}  {piece.text!r} -> {piece.label_text!r}"))
    return lines
