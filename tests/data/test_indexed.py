from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from megatron_codex.data import indexed
from megatron_codex.data.indexed import IndexedDataset, IndexedDatasetWriter
from megatron_codex.errors import InputError
from tests.data.datasets import write, write_sequences
from tests.megatron_files import MegatronDataset

DOCUMENTS = [[1, 2, 3], [65_535], [4, 0]]

GOLDEN_BIN = bytes.fromhex("010002000300ffff04000000")
GOLDEN_IDX = bytes.fromhex(
    "4d4d494449445800000100000000000000" "08" "0300000000000000" "0400000000000000"  # magic, 1, uint16, N, D + 1
    "03000000" "01000000" "02000000"  # sizes
    "0000000000000000" "0600000000000000" "0800000000000000"  # pointers, in bytes
    "0000000000000000" "0100000000000000" "0200000000000000" "0300000000000000"  # documents
)  # fmt: skip


def test_the_bytes_are_the_format_s(tmp_path: Path) -> None:
    write(tmp_path / "tiny", DOCUMENTS)
    assert (tmp_path / "tiny.bin").read_bytes() == GOLDEN_BIN
    assert (tmp_path / "tiny.idx").read_bytes() == GOLDEN_IDX
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.bin", "tiny.idx"]


def test_megatron_writes_the_same_bytes(tmp_path: Path) -> None:
    write_sequences(tmp_path / "theirs", [(document, [len(document)]) for document in DOCUMENTS], np.uint16)
    assert (tmp_path / "theirs.bin").read_bytes() == GOLDEN_BIN
    assert (tmp_path / "theirs.idx").read_bytes() == GOLDEN_IDX


@settings(max_examples=40, deadline=None)
@given(st.lists(arrays(np.uint16, st.integers(0, 50)), max_size=8).map(lambda rest: [np.array([7], np.uint16), *rest]))
def test_documents_come_back_from_both_readers(
    tmp_path_factory: pytest.TempPathFactory, documents: list[np.ndarray]
) -> None:
    prefix = tmp_path_factory.mktemp("indexed") / "name.with.dots"
    write(prefix, [document.tolist() for document in documents])
    ours, theirs = IndexedDataset(prefix), MegatronDataset(str(prefix))
    assert len(ours) == len(theirs) == len(documents)
    assert ours.num_tokens == sum(map(len, documents))
    assert ours.sizes.tolist() == theirs.sequence_lengths.tolist() == [len(document) for document in documents]
    for index, document in enumerate(documents):
        assert np.array_equal(ours.document(index), document)
        assert np.array_equal(theirs[index], document)
        assert np.array_equal(ours.slice(index, len(document) // 2, len(document)), document[len(document) // 2 :])


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64], ids=lambda kind: kind.__name__
)
def test_every_token_type_comes_back(tmp_path: Path, dtype: type[np.integer]) -> None:
    largest = int(np.iinfo(dtype).max)
    dataset = IndexedDataset(write(tmp_path / "typed", [[0, largest], [1]], dtype))
    assert dataset.dtype == dtype
    assert dataset.document(0).tolist() == [0, largest]


def test_megatron_s_documents_of_several_sequences_are_read_whole(tmp_path: Path) -> None:
    documents = [([1, 2, 3, 4, 5], [2, 3]), ([6], [1])]
    dataset = IndexedDataset(write_sequences(tmp_path / "sentences", documents, modes=[[0, 1], [0]]))
    assert [dataset.document(index).tolist() for index in range(len(dataset))] == [[1, 2, 3, 4, 5], [6]]


@pytest.mark.parametrize("block", [1, 2, 1 << 20])
@pytest.mark.parametrize("source", [np.uint16, np.int64], ids=lambda kind: kind.__name__)
def test_many_documents_at_once_are_written_as_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: type[np.integer], block: int
) -> None:
    monkeypatch.setattr(indexed, "_BLOCK", block)
    documents = [[1, 2, 3], [], [65_535], [4, 0], []]
    with IndexedDatasetWriter(tmp_path / "many", np.uint16) as writer:
        writer.add_documents(np.array([1, 2, 3, 65_535], source), np.array([3, 0, 1]))
        writer.add_documents(np.array([], source), np.array([], np.int64))
        writer.add_documents(np.array([4, 0], source), np.array([2, 0], np.int32))
        assert (len(writer), writer.num_tokens) == (5, 6)
        writer.finalize()
    write(tmp_path / "single", documents)
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"many{suffix}").read_bytes() == (tmp_path / f"single{suffix}").read_bytes()
    theirs = MegatronDataset(str(tmp_path / "many"))
    assert [theirs[index].tolist() for index in range(5)] == documents


def test_of_many_documents_the_first_at_fault_is_named(tmp_path: Path) -> None:
    with IndexedDatasetWriter(tmp_path / "p", np.uint16) as writer:
        writer.add_document(np.array([1], np.uint16))
        with pytest.raises(InputError, match=r"document 3: got 70000; token ids must fit uint16"):
            writer.add_documents(np.array([1, 2, 70_000, -1]), np.array([2, 0, 1, 1]))
        assert (len(writer), writer.num_tokens) == (1, 1)


def test_borders_of_documents_are_found_in_the_whole_text(tmp_path: Path) -> None:
    """Sizes 3, 0, 1, 2, 0 as single sequences, and the same documents of several: starts 0, 3, 3, 4, 6, end 6."""
    write(tmp_path / "single", [[1, 2, 3], [], [4], [5, 6], []])
    several = [([1, 2, 3], [1, 2]), ([], []), ([4], [1]), ([5, 6], [2]), ([], [])]
    write_sequences(tmp_path / "several", several, np.uint16)
    for name in ("single", "several"):
        dataset = IndexedDataset(tmp_path / name)
        assert dataset.first_tokens(range(6)) == [0, 3, 3, 4, 6, 6]
        assert dataset.first_tokens([5, 0, 3]) == [6, 0, 4]
        assert dataset.sizes.tolist() == [3, 0, 1, 2, 0]
        assert dataset.tokens(2, 5).tolist() == [3, 4, 5]
        assert dataset.starts_between(0, 6) == [3, 4]
        assert dataset.starts_between(3, 6) == [4]
        assert dataset.starts_between(0, 3) == []
        with pytest.raises(AssertionError, match="document 5 of 5"):
            dataset.document(5)


def test_one_document_a_sequence_is_not_taken_for_granted(tmp_path: Path) -> None:
    """As many documents as sequences, but one has none and one has two."""
    write(tmp_path / "tiny", DOCUMENTS)
    path = tmp_path / "tiny.idx"
    path.write_bytes(path.read_bytes()[:-32] + struct.pack("<4q", 0, 0, 2, 3))
    dataset = IndexedDataset(tmp_path / "tiny")
    assert [dataset.document(index).tolist() for index in range(3)] == [[], [1, 2, 3, 65_535], [4, 0]]


def test_documents_are_views_that_cannot_be_written(tmp_path: Path) -> None:
    document = IndexedDataset(write(tmp_path / "tiny", DOCUMENTS)).document(0)
    with pytest.raises(ValueError, match="read-only"):
        document[0] = 1


def test_a_pickled_dataset_is_opened_again_not_copied(tmp_path: Path) -> None:
    dataset = IndexedDataset(write(tmp_path / "large", [[1] * 10_000]))
    content = pickle.dumps(dataset)
    assert len(content) < 1_000
    assert pickle.loads(content).document(0).tolist() == [1] * 10_000


def test_nothing_appears_without_finalize(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), IndexedDatasetWriter(tmp_path / "half", np.uint16) as writer:
        writer.add_document(np.array([1], np.uint16))
        raise RuntimeError
    with IndexedDatasetWriter(tmp_path / "half", np.uint16) as writer:
        writer.add_document(np.array([1], np.uint16))
    assert list(tmp_path.iterdir()) == []


def test_no_tokens_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokens were added"):
        write(tmp_path / "none", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".bin", ".idx"])
def test_an_existing_file_is_kept(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"taken{suffix}").write_bytes(b"kept")
    with pytest.raises(InputError, match=rf"taken\{suffix}: the output exists already"):
        write(tmp_path / "taken", DOCUMENTS)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"kept"]


@pytest.mark.parametrize("ids", [[70_000], [-1]], ids=str)
def test_an_id_too_large_for_the_type_is_refused(tmp_path: Path, ids: list[int]) -> None:
    with (
        pytest.raises(InputError, match=r"document 0: .*must fit uint16"),
        IndexedDatasetWriter(tmp_path / "wide", np.uint16) as writer,
    ):
        writer.add_document(np.array(ids))
    assert list(tmp_path.iterdir()) == []


def cut(content: bytes) -> bytes:
    return content[:-1]


def lengthen(content: bytes) -> bytes:
    return content + b"\0\0"


def patch(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:offset] + value + content[offset + len(value) :]


def make_a_size_negative(content: bytes) -> bytes:
    """Sizes 5, -1, 2 with the pointers and the sum that go with them."""
    return patch(54, struct.pack("<q", 10))(patch(34, struct.pack("<ii", 5, -1))(content))


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        pytest.param(".bin", cut, r"tiny\.bin: .*11 bytes found, 12 expected", id="bin-truncated"),
        pytest.param(".bin", lengthen, r"tiny\.bin: .*14 bytes found, 12 expected", id="bin-too-long"),
        pytest.param(".bin", lambda content: b"", r"tiny\.bin: the file is empty", id="bin-empty"),
        pytest.param(".idx", cut, r"tiny\.idx: .*101 bytes found, 102 or 105 expected", id="idx-truncated"),
        pytest.param(".idx", lambda content: content[:20], r"tiny\.idx: .*20 bytes found, 34 exp", id="idx-header-cut"),
        pytest.param(".idx", lambda content: content[:5], r"tiny\.idx: .*must begin with", id="idx-magic-cut"),
        pytest.param(".idx", patch(0, b"X"), r"tiny\.idx: .*must begin with", id="idx-magic"),
        pytest.param(".idx", patch(9, b"\2"), r"tiny\.idx: got 2; must be of version 1", id="idx-version"),
        pytest.param(".idx", patch(17, b"\6"), r"tiny\.idx: got 6; the token type's code", id="idx-float"),
        pytest.param(".idx", patch(18, b"\xff" * 8), r"tiny\.idx: .*102 bytes found", id="idx-count"),
        pytest.param(".idx", patch(34, b"\4"), r"tiny\.idx: damaged: its pointers and sizes", id="idx-size"),
        pytest.param(".idx", make_a_size_negative, r"tiny\.idx: damaged: its pointers", id="idx-negative-size"),
        pytest.param(".idx", patch(46 + 8, b"\5"), r"tiny\.idx: damaged: its pointers", id="idx-pointer"),
        pytest.param(".idx", patch(70, b"\1"), r"tiny\.idx: damaged: its documents", id="idx-first-document"),
        pytest.param(".idx", patch(78, b"\3"), r"tiny\.idx: damaged: its documents", id="idx-documents-out-of-order"),
        pytest.param(".idx", patch(94, b"\2"), r"tiny\.idx: damaged: its documents", id="idx-last-document"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / f"tiny{suffix}"
    write(tmp_path / "tiny", DOCUMENTS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=message):
        IndexedDataset(tmp_path / "tiny")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70,000 documents, which are read in several chunks."""
    prefix = tmp_path_factory.mktemp("indexed") / "long"
    return write(prefix, [[number % 5] * (number % 3 + 1) for number in range(70_000)])


@pytest.mark.parametrize("entry", [0, 32_767, 32_768, 32_769, 65_535, 69_999])
@pytest.mark.parametrize(("section", "width"), [(34, 4), (34 + 4 * 70_000, 8), (34 + 12 * 70_000, 8)])
def test_a_damaged_entry_is_found_wherever_it_lies(
    tmp_path: Path, long: Path, section: int, width: int, entry: int
) -> None:
    content = bytearray(Path(f"{long}.idx").read_bytes())
    content[section + width * entry + 2] ^= 64
    (tmp_path / "long.idx").write_bytes(content)
    (tmp_path / "long.bin").symlink_to(f"{long}.bin")
    with pytest.raises(InputError, match=r"long\.(idx: damaged: its|bin: .* expected)"):
        IndexedDataset(tmp_path / "long")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        pytest.param([".bin"], r"tiny\.bin: no such file", id="bin"),
        pytest.param([".idx"], r"tiny: is not finished: tiny\.bin is there without tiny\.idx", id="idx"),
        pytest.param([".bin", ".idx"], r"tiny\.idx: no such file", id="both"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, missing: list[str], message: str) -> None:
    write(tmp_path / "tiny", DOCUMENTS)
    for suffix in missing:
        (tmp_path / f"tiny{suffix}").unlink()
    with pytest.raises(InputError, match=message):
        IndexedDataset(tmp_path / "tiny")


def test_the_fingerprint_tells_datasets_apart(tmp_path: Path) -> None:
    def fingerprint(name: str, documents: list[list[int]]) -> str:
        return IndexedDataset(write(tmp_path / name, documents)).fingerprint()

    assert fingerprint("a", DOCUMENTS) == fingerprint("b", DOCUMENTS)
    assert fingerprint("a2", DOCUMENTS) != fingerprint("other-token", [[1, 2, 3], [65_534], [4, 0]])
    assert fingerprint("a3", DOCUMENTS) != fingerprint("other-bounds", [[1, 2], [3, 65_535], [4, 0]])


def test_every_token_of_64_mib_and_the_spots_of_more_are_in_the_fingerprint(tmp_path: Path) -> None:
    prefix, mib = tmp_path / "zeros", 1 << 20

    def fingerprint(num_bytes: int, changed: int | None = None) -> str:
        header = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 1, 1, 2)
        Path(f"{prefix}.idx").write_bytes(header + struct.pack("<iqqq", num_bytes, 0, 0, 1))
        with Path(f"{prefix}.bin").open("wb") as handle:
            handle.truncate(num_bytes)
            if changed is not None:
                handle.seek(changed)
                handle.write(b"\1")
        return IndexedDataset(prefix).fingerprint()

    small, large = 64 * mib, 200 * mib
    assert len({fingerprint(small, changed) for changed in (None, 0, 1, 33 * mib + 17, small - 1)}) == 5
    assert len({fingerprint(large, changed) for changed in (None, 0, mib - 1, large - mib, large - 1)}) == 5
    assert fingerprint(large) != fingerprint(large + 1)
