from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_codex.corpus import token_parts
from megatron_codex.corpus.token_parts import DamagedPart, PartCounts, PartWriter, read_counts, read_part

UINT16 = np.dtype(np.uint16)


def write(path: Path) -> Path:
    with PartWriter(path) as part:
        part.add(np.array([1, 2, 3, 9], np.uint16), np.array([3, 0, 1]), text_bytes=10)
        part.add(np.array([], np.uint16), np.array([0]), text_bytes=0)
        part.add(np.array([4, 5], np.uint16), np.array([2]), text_bytes=5)
    return path


@pytest.mark.parametrize("block_tokens", [1, 4, 1 << 22])
@pytest.mark.parametrize("block_documents", [1, 2, 1 << 16])
def test_documents_come_back_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_tokens: int, block_documents: int
) -> None:
    monkeypatch.setattr(token_parts, "_BLOCK_TOKENS", block_tokens)
    monkeypatch.setattr(token_parts, "_BLOCK_DOCUMENTS", block_documents)
    path = write(tmp_path / "a.part")
    counts = read_counts(path, UINT16)
    assert counts == PartCounts(num_tokens=6, num_documents=3, num_empty=2, text_bytes=15)
    blocks = list(read_part(path, UINT16))
    assert all(len(ids) == sizes.sum() for ids, sizes in blocks)
    assert all(len(ids) <= block_tokens or len(sizes) == 1 for ids, sizes in blocks)
    assert [token for ids, _ in blocks for token in ids.tolist()] == [1, 2, 3, 9, 4, 5]
    assert [size for _, sizes in blocks for size in sizes.tolist()] == [3, 1, 2]


def test_a_part_without_documents_is_a_part(tmp_path: Path) -> None:
    with PartWriter(tmp_path / "a.part"):
        pass
    assert read_counts(tmp_path / "a.part", UINT16).num_documents == 0
    assert list(read_part(tmp_path / "a.part", UINT16)) == []


def test_nothing_appears_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), PartWriter(tmp_path / "a.part") as part:
        part.add(np.array([1], np.uint16), np.array([1]), text_bytes=1)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", range(6 * 2 + 3 * 4))
def test_every_changed_byte_is_noticed(tmp_path: Path, position: int) -> None:
    path = write(tmp_path / "a.part")
    content = bytearray(path.read_bytes())
    content[position] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(DamagedPart):
        list(read_part(path, UINT16))


@pytest.mark.parametrize("length", [0, 10, 47, 71])
def test_a_cut_part_is_noticed(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.part")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedPart):
        read_counts(path, UINT16)
