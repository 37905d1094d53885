"""Prompted examples: where the loss mask starts and ends, equal layouts, nothing cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.data.batch import Batch
from megatron_codex.data.prompted import Layout, PromptedDataset
from megatron_codex.data.prompted_packing import pack_lengths
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.codex import CodexTokenizer

TOKENIZER = CodexTokenizer(vocab_size=300)
PAIRS = [
    ("def f(x):\n", "    return x\n"),
    ("a", "b"),
    ('def longer(values):\n    """Sum."""\n', "    return sum(values)\n"),
    ("def g():\n", "    pass\n"),
]


def _dataset(layout: Layout, *, seq_length: int = 64, pairs: list[tuple[str, str]] = PAIRS) -> PromptedDataset:
    return PromptedDataset(pairs, tokenizer=TOKENIZER, seq_length=seq_length, layout=layout)


def _whole(dataset: PromptedDataset) -> Batch:
    indices = range(len(dataset))
    return dataset.batch(indices, seq_length=dataset.sequence_length(indices))


def _ids(text: str) -> list[int]:
    return [int(token) for token in TOKENIZER.encode(text)]


def _predictions(batch: Batch) -> list[tuple[tuple[int, ...], int]]:
    """Every (context the position may attend to, label) that counts in the loss, sorted."""
    found = []
    assert batch.document_ids is not None
    for row, column in zip(*np.nonzero(batch.loss_mask), strict=True):
        same = batch.document_ids[row, : column + 1] == batch.document_ids[row, column]
        assert batch.document_ids[row, column] >= 0
        found.append((tuple(batch.tokens[row, : column + 1][same].tolist()), int(batch.labels[row, column])))
    return sorted(found)


@pytest.mark.parametrize("layout", ["left_padded", "packed"])
def test_mask_covers_the_completion_and_the_end_of_document_token_by_token(layout: Layout) -> None:
    expected = []
    for prompt, completion in PAIRS:
        tokens, start = _ids(prompt) + _ids(completion) + [TOKENIZER.eod], len(_ids(prompt))
        expected += [(tuple(tokens[:place]), tokens[place]) for place in range(start, len(tokens))]
    assert _predictions(_whole(_dataset(layout))) == sorted(expected)


def test_completions_of_a_left_padded_batch_start_in_one_column() -> None:
    dataset = _dataset("left_padded")
    batch = _whole(dataset)
    first_masked = batch.loss_mask.argmax(axis=1)
    longest_prompt = max(len(_ids(prompt)) for prompt, _ in PAIRS)
    assert set(first_masked.tolist()) == {longest_prompt - 1}
    assert batch.tokens.shape[1] == longest_prompt + max(len(_ids(completion)) for _, completion in PAIRS)
    for row, (prompt, completion) in enumerate(PAIRS):
        tokens = _ids(prompt) + _ids(completion)
        start = longest_prompt - len(_ids(prompt))
        assert batch.tokens[row, start : start + len(tokens)].tolist() == tokens
        assert batch.position_ids[row, start : start + len(tokens)].tolist() == list(range(len(tokens)))
        assert batch.document_ids is not None
        assert (batch.document_ids[row] == -1).sum() == batch.tokens.shape[1] - len(tokens)
        assert (batch.document_ids[row, :start] == -1).all()


def test_packed_rows_restart_positions_and_are_wholly_used() -> None:
    batch = _whole(_dataset("packed", seq_length=64))
    assert batch.document_ids is not None
    assert batch.tokens.shape[0] < len(PAIRS)
    starts = np.flatnonzero(np.diff(batch.document_ids[0], prepend=-2) != 0)
    for start in starts:
        assert batch.position_ids[0, start] == 0


def test_wider_rows_only_gain_padding() -> None:
    dataset = _dataset("left_padded")
    narrow = _whole(dataset)
    wide = dataset.batch(range(len(dataset)), seq_length=narrow.tokens.shape[1] + 5)
    assert _predictions(wide) == _predictions(narrow)
    assert wide.document_ids is not None and (wide.document_ids[:, -5:] == -1).all()


def test_examples_that_do_not_fit_are_dropped_whole_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    prompt, completion = "def f(x):\n", "    return x\n"
    needed = len(_ids(prompt)) + len(_ids(completion))  # the end of document is only a label
    pairs = [(prompt, completion), ("", completion), (prompt, ""), (prompt + "#" * 50, completion)]
    exact = _dataset("packed", seq_length=needed, pairs=pairs)
    assert exact.counts == {"pairs": 4, "kept": 1, "too_long": 1, "empty_prompt": 1, "empty_completion": 1}
    assert "1 of 4 prompted examples kept, dropped: {'too_long': 1" in caplog.text
    assert _whole(exact).num_loss_tokens == len(_ids(completion)) + 1
    with pytest.raises(InputError, match=f"none is left that fits {needed - 1} positions"):
        _dataset("packed", seq_length=needed - 1, pairs=pairs)


def test_fingerprint_changes_with_what_the_model_sees() -> None:
    same, other = _dataset("packed"), _dataset("packed", pairs=[*PAIRS[:-1], ("def g():\n", "    ...\n")])
    assert same.fingerprint() == _dataset("packed").fingerprint()
    moved = _dataset("packed", pairs=[("ab", "c"), *PAIRS]), _dataset("packed", pairs=[("a", "bc"), *PAIRS])
    prints = {data.fingerprint() for data in (same, other, _dataset("left_padded"), _dataset("packed", seq_length=65))}
    assert len(prints | {data.fingerprint() for data in moved}) == 6


@given(st.lists(st.tuples(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12)), min_size=1, max_size=8))
def test_both_layouts_make_the_same_predictions(pairs: list[tuple[str, str]]) -> None:
    layouts: tuple[Layout, Layout] = ("left_padded", "packed")
    left, packed = (_dataset(layout, seq_length=120, pairs=pairs) for layout in layouts)
    assert _predictions(_whole(left)) == _predictions(_whole(packed))


@given(st.lists(st.integers(1, 20), max_size=60))
def test_packing_places_every_example_once_within_capacity(lengths: list[int]) -> None:
    rows = pack_lengths(lengths, capacity=20)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    totals = sorted(sum(lengths[index] for index in row) for row in rows)
    assert all(total <= 20 for total in totals)
    # Best fit opens a row only when none has room: no two rows could have shared one.
    assert len(totals) < 2 or totals[0] + totals[1] > 20
