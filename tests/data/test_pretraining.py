from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_codex.data.indexed import IndexedDatasetWriter
from megatron_codex.data.pretraining import PretrainingDataset
from megatron_codex.data.splits import split_documents
from megatron_codex.errors import InputError

EOD = 9
DOCUMENTS = [[1, 1, EOD], [2, EOD], [3, 3, 3, 3, 3, 3, 3, EOD], [4, 4, EOD], [EOD], [5, 5, 5, 5, EOD]]
ALL_TRAIN = {"split": "train", "splits": (1, 0, 0), "seq_length": 4, "seed": 11, "eod": EOD}


def write(prefix: Path, documents: list[list[int]]) -> Path:
    with IndexedDatasetWriter(prefix, np.uint16) as writer:
        for document in documents:
            writer.add_document(np.array(document, np.uint16))
        writer.finalize()
    return prefix


def dataset(tmp_path: Path, documents: list[list[int]] = DOCUMENTS, **changes: Any) -> PretrainingDataset:
    prefix = tmp_path / "one"
    if not Path(f"{prefix}.idx").exists():
        write(prefix, documents)
    return PretrainingDataset([prefix], **{**ALL_TRAIN, **changes})


def shuffled_stream(documents: list[list[int]], **changes: Any) -> list[int]:
    """What the samples are cut from, the slow way."""
    values = {**ALL_TRAIN, **changes}
    order = split_documents(len(documents), split=values["split"], splits=values["splits"], seed=values["seed"])
    return [token for index in order for token in documents[index]]


@pytest.mark.parametrize("seq_length", [1, 2, 3, 4, 7, 20])
def test_windows_cover_the_stream_and_overlap_by_one(tmp_path: Path, seq_length: int) -> None:
    source = dataset(tmp_path, seq_length=seq_length)
    stream = shuffled_stream(DOCUMENTS)
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
    stream = shuffled_stream(DOCUMENTS)
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
    assert batch.tokens[0].tolist() == shuffled_stream(documents, seed=seed)[:4]
    assert batch.document_ids is not None
    assert sorted(set(batch.document_ids[0].tolist())) == [0, 1]


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
    assert len(others | {base}) == 7
