from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.data import pretraining
from megatron_codex.data.indexed import IndexedDataset
from megatron_codex.data.order import ShuffledOrder
from megatron_codex.data.pretraining import PretrainingDataset
from megatron_codex.errors import InputError
from tests.data.datasets import split_documents, write, write_sequences

EOD = 9
DOCUMENTS = [[1, 1, EOD], [2, EOD], [3, 3, 3, 3, 3, 3, 3, EOD], [4, 4, EOD], [EOD], [5, 5, 5, 5, EOD]]
ALL_TRAIN = {"split": "train", "splits": (1, 0, 0), "seq_length": 4, "seed": 11, "eod": EOD}


def dataset(tmp_path: Path, documents: list[list[int]] = DOCUMENTS, **changes: Any) -> PretrainingDataset:
    prefix = tmp_path / "one"
    if not Path(f"{prefix}.idx").exists():
        write(prefix, documents)
    return PretrainingDataset([prefix], **{**ALL_TRAIN, **changes})


def stream_of(documents: list[list[int]], **changes: Any) -> list[int]:
    """What the samples are cut from, the slow way."""
    values = {**ALL_TRAIN, **changes}
    order = split_documents(len(documents), split=values["split"], splits=values["splits"], seed=values["seed"])
    return [token for index in order for token in documents[index]]


@pytest.mark.parametrize("seq_length", [1, 2, 3, 4, 7, 20])
def test_windows_cover_the_stream_and_overlap_by_one(tmp_path: Path, seq_length: int) -> None:
    source = dataset(tmp_path, seq_length=seq_length)
    stream = stream_of(DOCUMENTS)
    assert len(source) == (len(stream) - 1) // seq_length
    batch = source.batch(range(len(source)), seq_length=seq_length)
    used = len(source) * seq_length
    assert batch.tokens.reshape(-1).tolist() == stream[:used]
    assert batch.labels.reshape(-1).tolist() == stream[1 : used + 1]
    assert batch.loss_mask.tolist() == np.ones((len(source), seq_length)).tolist()
    assert batch.position_ids.tolist() == [list(range(seq_length))] * len(source)
    assert batch.document_ids is None
    kinds = [batch.tokens.dtype, batch.labels.dtype, batch.position_ids.dtype, batch.loss_mask.dtype]
    assert kinds == [np.int64, np.int64, np.int64, np.float32]


def test_samples_come_in_the_order_asked_for(tmp_path: Path) -> None:
    source = dataset(tmp_path)
    together = source.batch([2, 0, 2], seq_length=4)
    assert together.tokens[0].tolist() == together.tokens[2].tolist()
    assert together.tokens[1].tolist() == source.batch([0], seq_length=4).tokens[0].tolist()


def test_reset_attention_gives_each_document_its_id_and_positions(tmp_path: Path) -> None:
    plain, reset = dataset(tmp_path), dataset(tmp_path, reset_attention_at_documents=True)
    stream = stream_of(DOCUMENTS)
    for index in range(len(plain)):
        batch = reset.batch([index], seq_length=4)
        assert np.array_equal(batch.tokens, plain.batch([index], seq_length=4).tokens)
        assert np.array_equal(batch.labels, plain.batch([index], seq_length=4).labels)
        assert batch.loss_mask.min() == 1
        expected_ids, expected_positions = by_eod(stream[index * 4 : index * 4 + 4])
        assert batch.document_ids is not None
        assert batch.document_ids[0].tolist() == expected_ids
        assert batch.position_ids[0].tolist() == expected_positions


def by_eod(tokens: list[int]) -> tuple[list[int], list[int]]:
    document, position, ids, positions = 0, 0, [], []
    for token in tokens:
        ids.append(document)
        positions.append(position)
        document, position = (document + 1, 0) if token == EOD else (document, position + 1)
    return ids, positions


def test_documents_are_told_apart_without_an_end_token(tmp_path: Path) -> None:
    source = dataset(tmp_path, [[1, 1], [1], [1, 1, 1]], reset_attention_at_documents=True, seq_length=5)
    sizes = [2, 1, 3]
    order = split_documents(3, split="train", splits=(1, 0, 0), seed=11)
    expected = [rank for rank, index in enumerate(order) for _ in range(sizes[index])][:5]
    batch = source.batch([0], seq_length=5)
    assert batch.document_ids is not None
    assert batch.document_ids[0].tolist() == expected


def test_padding_counts_nowhere(tmp_path: Path) -> None:
    source = dataset(tmp_path, reset_attention_at_documents=True)
    batch = source.batch([1], seq_length=6)
    assert batch.tokens[0, 4:].tolist() == batch.labels[0, 4:].tolist() == [EOD, EOD]
    assert batch.loss_mask[0].tolist() == [1, 1, 1, 1, 0, 0]
    assert batch.document_ids is not None
    assert batch.document_ids[0, 4:].tolist() == [-1, -1]
    assert batch.num_loss_tokens == 4


def test_several_datasets_are_one(tmp_path: Path) -> None:
    parts = [
        write(tmp_path / "a", DOCUMENTS[:2]),
        write(tmp_path / "b", DOCUMENTS[2:3]),
        write(tmp_path / "c", DOCUMENTS[3:]),
    ]
    joined, whole = PretrainingDataset(parts, **ALL_TRAIN), dataset(tmp_path)
    assert len(joined) == len(whole)
    everything = range(len(whole))
    assert np.array_equal(joined.batch(everything, seq_length=4).tokens, whole.batch(everything, seq_length=4).tokens)


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=3),
    splits=st.sampled_from([(1, 0, 0), (8, 1, 1), (1, 1, 1), (50, 25, 25)]),
    seq_length=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    reset=st.booleans(),
)
def test_splits_are_whole_documents_and_every_label_comes_once(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[int]],
    splits: tuple[float, ...],
    seq_length: int,
    seed: int,
    reset: bool,
) -> None:
    """Any sizes, empty documents too, in several files: tokens are numbered, so each one's place is known."""
    directory = tmp_path_factory.mktemp("splits")
    numbers, documents, prefixes = iter(range(10**6)), [], []
    for name, sizes in enumerate(files):
        own = [[next(numbers) for _ in range(size)] for size in sizes]
        if any(own):
            prefixes.append(write(directory / str(name), own))
            documents += own
    seen: list[int] = []
    for split in ("train", "valid", "test"):
        choice = {"split": split, "splits": splits, "seed": seed}
        expected = [documents[number] for number in split_documents(len(documents), **choice)]
        stream = [token for document in expected for token in document]
        if len(stream) <= seq_length:
            with pytest.raises(InputError):
                PretrainingDataset(prefixes or ["none"], seq_length=seq_length, eod=EOD, **choice)
            seen += stream
            continue
        source = PretrainingDataset(
            prefixes, seq_length=seq_length, eod=EOD, reset_attention_at_documents=reset, **choice
        )
        assert (source.num_documents, source.num_tokens) == (len(expected), len(stream))
        order = ShuffledOrder(len(source), seed)(np.arange(len(source)))
        batch = source.batch(order.tolist(), seq_length=seq_length)
        used = len(source) * seq_length
        assert sorted(batch.labels.ravel().tolist()) == stream[1 : used + 1]
        assert np.array_equal(batch.labels[:, :-1], batch.tokens[:, 1:])
        if reset:
            assert batch.document_ids is not None
            begins = {document[0] for document in expected if document}
            inside = batch.tokens[:, 1:]
            new = np.diff(batch.document_ids, axis=1)
            assert np.array_equal(new, np.isin(inside, list(begins)))
            assert np.array_equal(batch.position_ids[:, 1:], np.where(new, 0, batch.position_ids[:, :-1] + 1))
            assert not batch.document_ids[:, 0].any() and not batch.position_ids[:, 0].any()
        seen += stream
    assert sorted(seen) == list(range(sum(map(len, documents))))


def test_blocks_of_documents_are_cut_like_single_ones(tmp_path: Path) -> None:
    """More documents than blocks (65,536), of 0 to 2 tokens: still the documents that split_documents names."""
    sizes = np.random.default_rng(0).integers(0, 3, 150_000)
    ends = np.cumsum(sizes)
    documents = np.split(np.arange(ends[-1]), ends[:-1])
    write(tmp_path / "many", documents, np.int32)
    for split in ("train", "valid"):
        values = {"split": split, "splits": (3, 1, 0), "seed": 5}
        source = PretrainingDataset([tmp_path / "many"], seq_length=100, eod=EOD, **values)
        own = split_documents(len(documents), **values)
        assert source.num_documents == len(own)
        stream = np.concatenate([documents[number] for number in own])
        labels = source.batch(range(len(source)), seq_length=100).labels.ravel()
        assert np.array_equal(labels, stream[1 : len(labels) + 1])
        assert len(stream) - len(labels) <= 100


def test_an_opened_dataset_serves_several_splits(tmp_path: Path) -> None:
    opened = IndexedDataset(write(tmp_path / "one", DOCUMENTS))
    shared = PretrainingDataset([opened], **ALL_TRAIN)
    assert shared.datasets[0] is opened
    assert np.array_equal(shared.batch([1], seq_length=4).tokens, dataset(tmp_path).batch([1], seq_length=4).tokens)
    assert shared.fingerprint() == dataset(tmp_path).fingerprint()


def test_batches_of_one_shape_do_not_change_each_other(tmp_path: Path) -> None:
    source = dataset(tmp_path)
    first, expected = source.batch([0, 1], seq_length=4), dataset(tmp_path).batch([2, 3], seq_length=4)
    arrays = [first.tokens, first.labels, first.loss_mask, first.position_ids]
    kept = [array.copy() for array in arrays]
    second = source.batch([2, 3], seq_length=4)
    assert all(np.array_equal(array, before) for array, before in zip(arrays, kept, strict=True))
    for array in arrays:
        array[:] = -1
    third = source.batch([2, 3], seq_length=4)
    for batch in (second, third):
        for name in ("tokens", "labels", "loss_mask", "position_ids"):
            assert np.array_equal(getattr(batch, name), getattr(expected, name))


@pytest.mark.parametrize("reset", [False, True])
def test_documents_of_several_sequences_are_whole(tmp_path: Path, reset: bool) -> None:
    documents = [([1, 2, 3, 4, EOD], [2, 3]), ([], []), ([5, 6, EOD], [1, 2])]
    write_sequences(tmp_path / "sentences", documents, np.uint16)
    source = PretrainingDataset(
        [tmp_path / "sentences"], **{**ALL_TRAIN, "seq_length": 7}, reset_attention_at_documents=reset
    )
    batch = source.batch([0], seq_length=7)
    assert source.num_documents == 3
    assert batch.tokens[0].tolist() == [1, 2, 3, 4, EOD, 5, 6]
    if reset:
        assert batch.document_ids is not None
        assert batch.document_ids[0].tolist() == [0, 0, 0, 0, 0, 1, 1]
        assert batch.position_ids[0].tolist() == [0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize("reset", [False, True])
def test_tokens_beyond_32_bits_are_reached(tmp_path: Path, reset: bool) -> None:
    """Three documents of 1.5e9 tokens, in a file of which all but a few bytes are a hole."""
    size, prefix = 1_500_000_000, tmp_path / "huge"
    header = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 1, 3, 4)
    pointers = [0, size, 2 * size]
    Path(f"{prefix}.idx").write_bytes(header + struct.pack("<3i3q4q", *[size] * 3, *pointers, 0, 1, 2, 3))
    with Path(f"{prefix}.bin").open("wb") as handle:
        handle.truncate(3 * size)
        handle.seek(2 * size - 2)
        handle.write(bytes([1, 2, 3, 4]))
    source = PretrainingDataset([prefix], **ALL_TRAIN, reset_attention_at_documents=reset)
    assert source.num_tokens == 3 * size > 2**32
    batch = source.batch([2 * size // 4 - 1, len(source) - 1], seq_length=4)
    assert batch.tokens.tolist() == [[0, 0, 1, 2], [0, 0, 0, 0]]
    assert batch.labels[0].tolist() == [0, 1, 2, 3]
    across = source.batch([2 * size // 4], seq_length=4)
    assert across.tokens[0].tolist() == [3, 4, 0, 0]
    if reset:
        inside = PretrainingDataset(
            [prefix], **{**ALL_TRAIN, "seq_length": 7}, reset_attention_at_documents=True
        ).batch([2 * size // 7], seq_length=7)
        start = 2 * size % 7
        assert inside.document_ids is not None
        assert inside.document_ids[0].tolist() == [0] * start + [1] * (7 - start)


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_resumed_order_is_the_whole_run_s(tmp_path: Path, stop: int) -> None:
    """Positions 0..n - 1 and then n.. of another process give what one process sees, epochs and several files too."""
    parts = [write(tmp_path / "a", DOCUMENTS), write(tmp_path / "b", DOCUMENTS[::-1])]

    def batches(first: int, last: int) -> list[list[int]]:
        source = PretrainingDataset(parts, **{**ALL_TRAIN, "splits": (2, 1, 0)})
        indices = ShuffledOrder(len(source), 11)(np.arange(first, last))
        return [source.batch([index], seq_length=4).tokens[0].tolist() for index in indices.tolist()]

    assert batches(0, stop) + batches(stop, 40) == batches(0, 40)


def test_splits_share_no_document(tmp_path: Path) -> None:
    documents = [[number] * 3 for number in range(30)]
    seen = {}
    for split in ("train", "valid", "test"):
        source = dataset(tmp_path, documents, split=split, splits=(8, 1, 1), seq_length=1)
        seen[split] = set(source.batch(range(len(source)), seq_length=1).tokens.reshape(-1).tolist())
    assert {name: len(part) for name, part in seen.items()} == {"train": 24, "valid": 3, "test": 3}
    assert len(set.union(*seen.values())) == 30


@pytest.mark.parametrize("seed", range(5))
def test_empty_documents_of_others_are_passed_over(tmp_path: Path, seed: int) -> None:
    documents = [[], [1, 2], [], [], [3, 4, 5], []]
    source = dataset(tmp_path, documents, seed=seed, reset_attention_at_documents=True)
    batch = source.batch([0], seq_length=4)
    assert batch.tokens[0].tolist() == stream_of(documents, seed=seed)[:4]
    assert batch.document_ids is not None
    assert sorted(set(batch.document_ids[0].tolist())) == [0, 1]


def test_runs_of_empty_documents_are_no_pieces(tmp_path: Path) -> None:
    """Every other document is empty and half of them are held out: documents still count 0, 1, 2, ..."""
    documents = [[number] if number % 2 else [] for number in range(40)]
    stream = stream_of(documents, splits=(1, 1, 0))
    seq_length = len(stream) - 1
    source = dataset(tmp_path, documents, splits=(1, 1, 0), seq_length=seq_length, reset_attention_at_documents=True)
    batch = source.batch([0], seq_length=seq_length)
    assert batch.tokens[0].tolist() == stream[:-1]
    assert batch.document_ids is not None
    assert batch.document_ids[0].tolist() == list(range(seq_length))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({"seq_length": 22}, "the train split has 22 tokens in 6 documents", id="one-token-short"),
        pytest.param({"split": "valid"}, "the valid split has 0 tokens in 0 documents", id="empty-split"),
    ],
)
def test_data_for_less_than_one_sample_are_refused(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=f"one: {found}; a sample needs seq_length"):
        dataset(tmp_path, **changes)
    assert len(dataset(tmp_path, seq_length=21)) == 1


def test_no_prefix_is_refused() -> None:
    with pytest.raises(InputError, match="no dataset given"):
        PretrainingDataset([], **ALL_TRAIN)


def test_the_fingerprint_follows_inputs_and_parameters(tmp_path: Path) -> None:
    base = dataset(tmp_path).fingerprint()
    assert dataset(tmp_path).fingerprint() == base
    changes: list[dict[str, Any]] = [
        {"seed": 12}, {"seq_length": 5}, {"splits": (2, 1, 0)}, {"eod": 8}, {"reset_attention_at_documents": True}
    ]  # fmt: skip
    others = {dataset(tmp_path, **change).fingerprint() for change in changes}
    others.add(PretrainingDataset([write(tmp_path / "two", DOCUMENTS[::-1])], **ALL_TRAIN).fingerprint())
    parts = [write(tmp_path / "a", DOCUMENTS[:2]), write(tmp_path / "b", DOCUMENTS[2:])]
    others |= {PretrainingDataset(prefixes, **ALL_TRAIN).fingerprint() for prefixes in (parts, parts[::-1])}
    assert len(others | {base}) == 9


def test_data_read_by_another_rule_are_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = dataset(tmp_path).fingerprint()
    monkeypatch.setattr(pretraining, "_RULE", 1)
    assert dataset(tmp_path).fingerprint() != now
