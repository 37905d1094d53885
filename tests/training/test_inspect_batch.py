"""inspect_batch: a sound batch passes every check, and each planted fault fails the check that is named for it.

The faults are planted where a data set makes its rows, so that all that follows is the product's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_codex.config.inspect_batch import InspectBatchConfig
from megatron_codex.config.load import build_config
from megatron_codex.data.batch import PADDING_DOCUMENT, Batch
from megatron_codex.data.family_split import Pairs
from megatron_codex.data.inspected_batch import InspectedBatch, terminal_text
from megatron_codex.data.pretraining import PretrainingDataset
from megatron_codex.data.prompted import PromptedDataset
from megatron_codex.errors import InputError
from megatron_codex.evaluation.report.batch_page import render_batch
from megatron_codex.tokenizer.codex import CodexTokenizer
from megatron_codex.training.datasets import ReadPairs
from megatron_codex.training.inspect_batch import inspect_batch
from tests.data.datasets import write

VOCABULARY = {"vocab_size": 400}
EOD = CodexTokenizer(vocab_size=400).eod
PAIRS = [
    ("def f(x):\n", "    return x\n"),
    ('def longer(values):\n    """Sum."""\n', "    return sum(values)\n"),
    ("def g():\n", "    pass\n"),
    ("def f(x):\n", "    return x\n\n\n"),
]
LAYOUTS = ["left_padded", "packed"]

Fault = Callable[[Batch], Batch]


def _reader(texts: list[tuple[str, str]]) -> ReadPairs:
    return lambda path, *, families=False: Pairs.of_texts(texts)


def _config(tree: dict[str, Any]) -> InspectBatchConfig:
    model = {"num_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "seq_length": 128}
    training = {"train_iters": 4, "global_batch_size": 4, "micro_batch_size": 4}
    whole = {"model": model, "tokenizer": VOCABULARY, "optimizer": {"lr": 1e-3}, **tree}
    return build_config(InspectBatchConfig, {**whole, "training": {**training, **tree.get("training", {})}}, source="")


def _inspect(layout: str, **changes: Any) -> InspectedBatch:
    tree = {"task": "codex_s", "data": {"layout": layout, "problems": "any.jsonl", "valid_problems": "any.jsonl"}}
    return inspect_batch(_config({**tree, **changes}), read_pairs=_reader(PAIRS))


def _failed(inspected: InspectedBatch) -> set[str]:
    return {check.name for check in inspected.checks if not check.passed}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_every_batch_of_a_run_passes(layout: str, step: int) -> None:
    inspected = _inspect(layout, step=step)
    assert _failed(inspected) == set()
    assert inspected.num_documents >= 2
    assert sum(inspected.shares().values()) == pytest.approx(1)


def _without(batch: Batch, *, row: int, column: int) -> Batch:
    mask = batch.loss_mask.copy()
    mask[row, column] = 0
    return replace(batch, loss_mask=mask)


def _documents(batch: Batch) -> np.ndarray:
    assert batch.document_ids is not None
    return batch.document_ids


def _shift_labels(batch: Batch) -> Batch:
    return replace(batch, labels=np.roll(batch.labels, -1, axis=1))


def _labels_not_shifted(batch: Batch) -> Batch:
    return replace(batch, labels=batch.tokens)


def _mask_begins_late(batch: Batch) -> Batch:
    row, column = np.argwhere(batch.loss_mask)[0]
    return _without(batch, row=row, column=column)


def _mask_begins_early(batch: Batch) -> Batch:
    row, column = np.argwhere(batch.loss_mask)[0]
    mask = batch.loss_mask.copy()
    mask[row, column - 1] = 1
    return replace(batch, loss_mask=mask)


def _drop_a_documents_mask(batch: Batch) -> Batch:
    last = _documents(batch)[0].max()
    return replace(batch, loss_mask=np.where(_documents(batch) == last, 0, batch.loss_mask).astype(np.float32))


def _hole_in_the_completion(batch: Batch) -> Batch:
    row, column = np.argwhere(batch.loss_mask)[1]
    return _without(batch, row=row, column=column)


def _train_padding(batch: Batch) -> Batch:
    row, column = np.argwhere(_documents(batch) == PADDING_DOCUMENT)[0]
    mask = batch.loss_mask.copy()
    mask[row, column] = 1
    return replace(batch, loss_mask=mask)


def _count_positions_through_the_row(batch: Batch) -> Batch:
    return replace(batch, position_ids=np.broadcast_to(np.arange(batch.tokens.shape[1]), batch.tokens.shape))


def _one_document_a_row(batch: Batch) -> Batch:
    return replace(batch, document_ids=np.minimum(_documents(batch), 0))


def _no_documents(batch: Batch) -> Batch:
    return replace(batch, document_ids=None)


def _documents_far_apart_see_each_other(batch: Batch) -> Batch:
    return replace(batch, document_ids=np.where(_documents(batch) == 2, 0, _documents(batch)))


def _mask_the_end_of_text(batch: Batch) -> Batch:
    row, column = np.argwhere((batch.labels == EOD) & (batch.loss_mask != 0))[0]
    return _without(batch, row=row, column=column)


def _another_end_of_text(batch: Batch) -> Batch:
    return replace(batch, labels=np.where((batch.labels == EOD) & (batch.loss_mask != 0), 5, batch.labels))


def _end_of_text_left_out(batch: Batch) -> Batch:
    """As if completions had no end of document: the last label is the completion's last token."""
    gone = (batch.labels == EOD) & (batch.loss_mask != 0)
    return replace(
        batch,
        tokens=np.where(gone, EOD, batch.tokens),
        loss_mask=np.where(gone, 0, batch.loss_mask).astype(np.float32),
        document_ids=np.where(gone, PADDING_DOCUMENT, _documents(batch)),
    )


def _nothing_trained(batch: Batch) -> Batch:
    return replace(batch, loss_mask=np.zeros_like(batch.loss_mask))


def _foreign_token(batch: Batch) -> Batch:
    tokens = batch.tokens.copy()
    tokens[0, int(np.argmax(batch.loss_mask[0]))] = CodexTokenizer(vocab_size=400).vocab_size
    return replace(batch, tokens=tokens)


BOTH: dict[str, tuple[Fault, str]] = {
    "labels shifted twice": (_shift_labels, "labels"),
    "labels not shifted": (_labels_not_shifted, "labels"),
    "border one token late": (_mask_begins_late, "first token"),
    "border one token early": (_mask_begins_early, "first token"),
    "a document without mask": (_drop_a_documents_mask, "completion"),
    "a hole in the completion": (_hole_in_the_completion, "completion"),
    "padding trained": (_train_padding, "padding"),
    "end of text masked": (_mask_the_end_of_text, "end of text"),
    "another end of text": (_another_end_of_text, "end of text"),
    "end of text left out": (_end_of_text_left_out, "examples"),
    "nothing trained": (_nothing_trained, "trained"),
    "a token beyond the vocabulary": (_foreign_token, "vocabulary"),
    "positions not reset": (_count_positions_through_the_row, "positions"),
    "no attention mask": (_no_documents, "examples"),
}
PACKED: dict[str, tuple[Fault, str]] = {
    "documents joined": (_one_document_a_row, "examples"),
    "the third document sees the first": (_documents_far_apart_see_each_other, "attention"),
}


@pytest.mark.parametrize(
    ("layout", "fault"),
    [*((layout, fault) for layout in LAYOUTS for fault in BOTH), *(("packed", fault) for fault in PACKED)],
)
def test_each_planted_fault_fails_its_check(layout: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, check = {**BOTH, **PACKED}[fault]
    make = PromptedDataset.batch
    monkeypatch.setattr(PromptedDataset, "batch", lambda *args, **shape: plant(make(*args, **shape)))
    inspected = _inspect(layout)
    assert check in _failed(inspected)
    assert "FAILED" in terminal_text(inspected, rows=9, ids=False, color=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_end_of_text_is_trained_on_as_configured(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"layout": layout, "problems": "any.jsonl", "train_end_of_text": False}
    inspected = _inspect(layout, data=data)
    assert _failed(inspected) == set()
    assert not inspected.batch.trained[inspected.batch.labels == EOD].any()
    assert inspected.batch.trained.any()
    make = PromptedDataset.batch
    monkeypatch.setattr(PromptedDataset, "batch", lambda *args, **shape: _train_ends(make(*args, **shape)))
    assert _failed(_inspect(layout, data=data)) == {"end of text"}


def _train_ends(batch: Batch) -> Batch:
    ends = (batch.labels == EOD) & (_documents(batch) != PADDING_DOCUMENT)
    return replace(batch, loss_mask=np.where(ends, 1, batch.loss_mask).astype(np.float32))


def test_another_border_of_the_tokenizer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompt and completion encoded as one text: what the tokenizer merges across the border moves it."""
    pairs = [("def f(x):\n    return", " x + 1\n"), ("def g(x):\n ", "   return x\n")]
    make = PromptedDataset._make

    def encode_as_one_text(self: PromptedDataset, pair: tuple[str, str], tokenizer: CodexTokenizer) -> Any:
        example = make(self, pair, tokenizer)
        assert example is not None
        whole = tokenizer.encode("".join(pair)).astype(np.int64)
        return replace(example, tokens=np.concatenate([whole, [tokenizer.eod]]))

    tree = {"task": "codex_s", "data": {"problems": "any.jsonl"}}
    assert _failed(inspect_batch(_config(tree), read_pairs=_reader(pairs))) == set()
    monkeypatch.setattr(PromptedDataset, "_make", encode_as_one_text)
    assert "examples" in _failed(inspect_batch(_config(tree), read_pairs=_reader(pairs)))


@pytest.mark.parametrize("step", [1, 2])
def test_an_evaluations_batches_are_those_of_the_run(step: int) -> None:
    training = {"eval_interval": 1, "global_batch_size": 3, "micro_batch_size": 3}
    inspected = _inspect("left_padded", split="valid", step=step, training=training)
    assert _failed(inspected) == set()
    assert len(inspected.batch.tokens) == {1: 3, 2: 1}[step]  # four samples: two rows only fill up


def test_a_step_behind_the_evaluations_end_is_refused() -> None:
    with pytest.raises(InputError, match="step: got 3; an evaluation has 2 batches"):
        _inspect(
            "left_padded",
            split="valid",
            step=3,
            training={"eval_interval": 1, "global_batch_size": 3, "micro_batch_size": 3},
        )


def _base(tmp_path: Path, *, reset: bool) -> InspectedBatch:
    random = np.random.default_rng(1)
    documents = [[*random.integers(0, EOD, length).tolist(), EOD] for length in (5, 40, 1, 30, 7, 90, 0, 60)]
    write(tmp_path / "corpus", documents)
    data = {"data_prefix": str(tmp_path / "corpus"), "split": "100,0,0", "reset_attention_at_documents": reset}
    tree = {"task": "base", "data": data, "model": {"num_layers": 1, "hidden_size": 8, "num_attention_heads": 1}}
    tree["model"]["seq_length"] = 32
    return inspect_batch(_config(tree), read_pairs=None)


@pytest.mark.parametrize("reset", [False, True])
def test_windows_of_documents_pass(tmp_path: Path, reset: bool) -> None:
    inspected = _base(tmp_path, reset=reset)
    assert _failed(inspected) == set()
    assert inspected.shares()["trained"] == 1


WINDOW_FAULTS: dict[str, tuple[Fault, str]] = {
    "labels not shifted": (_labels_not_shifted, "labels"),
    "positions not reset": (_count_positions_through_the_row, "positions"),
    "documents begin late": (lambda b: replace(b, document_ids=np.roll(_documents(b), 1, axis=1)), "end of text"),
    "nothing trained": (_nothing_trained, "trained"),
}


@pytest.mark.parametrize("fault", list(WINDOW_FAULTS))
def test_each_planted_fault_of_windows_fails_its_check(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, check = WINDOW_FAULTS[fault]
    make = PretrainingDataset.batch
    monkeypatch.setattr(PretrainingDataset, "batch", lambda *args, **shape: plant(make(*args, **shape)))
    assert check in _failed(_base(tmp_path, reset=True))


def test_terminal_and_page_show_every_kind_of_position() -> None:
    inspected = _inspect("left_padded", training={"global_batch_size": 4})
    text = terminal_text(inspected, rows=4, ids=False, color=True)
    assert "\x1b[32m    return x\x1b[0m" in text
    assert "x padding]" in text
    assert "['<|endoftext|>' trained]" in text
    lines = terminal_text(inspected, rows=1, ids=True, color=False).splitlines()
    assert sum(line.split()[5:6] == ["yes"] for line in lines) == inspected.batch.trained[0].sum()
    page = render_batch(inspected)
    for kind in ("prompt", "completion", "padding"):
        assert f'<span class="{kind}' in page
    assert "<script" not in page


def test_a_samples_text_is_no_markup_and_no_control_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = [("def f():\n", "    return '<script>alert(1)</script>\x1b[2J'\n")]
    tree = {"task": "codex_s", "data": {"problems": "any.jsonl"}}
    inspected = inspect_batch(_config(tree), read_pairs=_reader(hostile))
    assert "<script>" not in render_batch(inspected)
    assert "\x1b" not in terminal_text(inspected, rows=2, ids=False, color=False)
