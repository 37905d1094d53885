"""Whether a batch is what it should be: shift by one, mask, positions, documents, ends, padding.

In: a SeenBatch and the examples that the data has. Out: BatchChecks, each with the first place where it fails.
The rules (Codex paper, section 4.4, and docs/formats.md):
* a position's label is the token that follows it in its own document;
* the loss counts the completion's labels, from its first token to the end of document, and nothing else;
* positions count from 0 in each document; a position attends to its own document only, up to itself;
* padding is not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from megatron_codex.data.seen_batch import ExpectedExamples, SeenBatch, Span, common_length


@dataclass(frozen=True, kw_only=True)
class BatchCheck:
    """One rule. faults: the places that break it, described."""

    name: str
    rule: str
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.faults


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a task's batches must be like."""

    eod: int
    vocab_size: int
    examples: ExpectedExamples | None
    """None: windows of documents laid end to end, every label of which is trained on."""
    trains_end_of_text: bool = True
    """Whether the end of document after a completion counts in the loss."""


def check_batch(batch: SeenBatch, expected: Expectation) -> list[BatchCheck]:
    """All rules that hold for the task, in the order in which a reader looks for a fault."""
    spans = list(batch.spans(padding=expected.eod))
    checks = _WINDOW_RULES if expected.examples is None else _RULES
    return [
        BatchCheck(name=name, rule=rule, faults=tuple(find(batch, spans, expected)))
        for name, (rule, find) in checks.items()
    ]


Faults = Iterator[str]
Find = Callable[[SeenBatch, Sequence[Span], Expectation], Faults]


def _vocabulary(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    for name in ("tokens", "labels"):
        ids = getattr(batch, name)
        for row, column in np.argwhere((ids < 0) | (ids >= expected.vocab_size)).tolist():
            yield f"row {row}, position {column}: {name} has {ids[row, column]} of {expected.vocab_size}"


def _attention(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    for row, column in np.argwhere(~batch.sees_a_span).tolist():
        yield f"row {row}, position {column} does not see just what lies between {batch.first_seen[row, column]} and it"
    for span in spans:
        first = batch.first_seen[span.row, span.start]
        if first != span.start:
            yield f"{span} see back to position {first}, which is in another document"


def _examples(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    assert expected.examples is not None
    for span in _documents(spans):
        tokens = batch.tokens[span.row, span.columns]
        if expected.examples.prompt_lengths(tokens):
            continue
        nearest = expected.examples.nearest(tokens)
        if nearest is None:
            yield f"{span} start as no example of the data does"
            continue
        agrees = common_length(nearest, tokens)
        if agrees == len(nearest) - 1:
            yield f"{span} go on behind the example's end at {span.start + agrees}: the next document leaks in"
        elif agrees == len(tokens):
            yield f"{span} end {len(nearest) - 1 - agrees} tokens before the example and its end of text do"
        else:
            yield f"{span} leave the example at position {span.start + agrees}"


def _labels(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    for span in _documents(spans):
        wrong = batch.labels[span.row, span.start : span.stop - 1] != batch.tokens[span.row, span.start + 1 : span.stop]
        for column in (np.flatnonzero(wrong) + span.start).tolist():
            label, following = batch.labels[span.row, column], batch.tokens[span.row, column + 1]
            yield f"row {span.row}, position {column}: label {label}, but the token that follows is {following}"


def _window_labels(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    wrong = batch.labels[:, :-1] != batch.tokens[:, 1:]
    for row, column in np.argwhere(wrong & batch.trained[:, :-1]).tolist():
        label, following = batch.labels[row, column], batch.tokens[row, column + 1]
        yield f"row {row}, position {column}: label {label}, but the token that follows is {following}"


def _first_trained(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    for span, prompt_lengths in _known_documents(batch, spans, expected):
        trained = np.flatnonzero(batch.trained[span.row, span.columns])
        if len(trained) and int(trained[0]) + 1 not in prompt_lengths:
            prompt = min(prompt_lengths, key=lambda length: abs(length - int(trained[0]) - 1))
            off = int(trained[0]) + 1 - prompt
            side = f"{off} tokens of the completion are masked" if off > 0 else f"{-off} tokens of the prompt are not"
            yield f"{span}: the completion begins with the label at {span.start + prompt - 1}; {side}"


def _all_trained(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    for span, _ in _known_documents(batch, spans, expected):
        trained = np.flatnonzero(batch.trained[span.row, span.columns])
        if not len(trained):
            yield f"{span}: no label is trained on"
            continue
        last = span.stop - span.start - 1
        missing = set(range(int(trained[0]), last)) - set(trained.tolist())
        if missing:
            first = span.start + min(missing)
            yield f"{span}: {len(missing)} labels of the completion are masked, the first at {first}"


def _ends(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    for span in _documents(spans):
        place = (span.row, span.stop - 1)
        if batch.labels[place] != expected.eod:
            yield f"{span}: the last label is {batch.labels[place]}, not the end of text {expected.eod}"
        elif bool(batch.trained[place]) != expected.trains_end_of_text:
            yield f"{span}: the end of text is {'masked' if expected.trains_end_of_text else 'trained on'}"


def _window_ends(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    num_positions = batch.tokens.shape[1]
    for span in spans:
        token = batch.tokens[span.row, span.stop - 1]
        if span.stop < num_positions and token != expected.eod and not span.is_padding:
            yield f"{span}: the document ends with {token}, not with the end of text {expected.eod}"


def _positions(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    for span in _documents(spans):
        positions = batch.position_ids[span.row, span.columns]
        wrong = np.flatnonzero(positions != np.arange(len(positions)))
        if len(wrong):
            column = int(wrong[0])
            yield f"{span}: position id {positions[column]} at {span.start + column}, must be {column}"


def _padding(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    """Filling tokens inside a row that are trained on: a position alone with itself is no example."""
    for span in spans:
        token = batch.tokens[span.row, span.start]
        if not span.is_padding and span.stop - span.start == 1 and token == expected.eod:
            yield f"row {span.row}, position {span.start}: padding is trained on"


def _something(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Faults:
    if not batch.trained.any():
        yield f"none of {batch.trained.size} positions of {len(batch.trained)} rows"
        return
    rows = {span.row for span in _documents(spans)}
    for row in sorted(rows - set(np.flatnonzero(batch.trained.any(axis=1)).tolist())):
        yield f"row {row} has documents, and no label that is trained on"


def _documents(spans: Sequence[Span]) -> Iterator[Span]:
    return (span for span in spans if not span.is_padding)


def _known_documents(batch: SeenBatch, spans: Sequence[Span], expected: Expectation) -> Iterator[tuple[Span, set[int]]]:
    """Those that are examples of the data, with the lengths that their prompts may have."""
    assert expected.examples is not None
    for span in _documents(spans):
        prompt_lengths = expected.examples.prompt_lengths(batch.tokens[span.row, span.columns])
        if prompt_lengths:
            yield span, prompt_lengths


_SHARED: dict[str, tuple[str, Find]] = {
    "vocabulary": ("every id is one of the tokenizer's", _vocabulary),
    "attention": ("a position sees its own document up to itself, and nothing else", _attention),
}
_LAST: dict[str, tuple[str, Find]] = {
    "positions": ("position ids count from 0 in each document", _positions),
    "trained": ("there is something to train on", _something),
}
_RULES: dict[str, tuple[str, Find]] = {
    **_SHARED,
    "examples": ("what sees each other is one whole example of the data", _examples),
    "labels": ("a label is the token that follows", _labels),
    "first token": ("the first trained label is the completion's first token", _first_trained),
    "completion": ("every label of the completion is trained on", _all_trained),
    "end of text": ("the last label is the end of text, trained on as the configuration says", _ends),
    "padding": ("padding is not trained on", _padding),
    **_LAST,
}
_WINDOW_RULES: dict[str, tuple[str, Find]] = {
    **_SHARED,
    "labels": ("a label is the token that follows", _window_labels),
    "end of text": ("a document that is told apart ends with the end of text", _window_ends),
    **_LAST,
}
