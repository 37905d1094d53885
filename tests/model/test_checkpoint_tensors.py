"""Pieces of any partition are read back as any other; what is damaged or incomplete is named."""

from __future__ import annotations

import json
from itertools import pairwise
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.errors import InputError, WorkError
from megatron_codex.model.checkpoint_shards import (
    INDEX_NAME,
    Piece,
    missing_writers,
    report_failure,
    write_index,
    write_shard,
)
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.model.shards import rectangles

MATRIX = torch.arange(35, dtype=torch.float32).view(7, 5)


def _pieces(full: torch.Tensor, cuts: list[int]) -> list[Piece]:
    """The flat form cut at these places, each part as rectangles: what data-parallel ranks of an optimizer own."""
    bounds = [0, *sorted(cuts), full.numel()]
    return [
        Piece(
            name="m",
            global_shape=tuple(full.shape),
            offset=r.offset,
            data=full.flatten()[r.begin : r.end].view(r.shape),
        )
        for begin, end in pairwise(bounds)
        for r in rectangles(tuple(full.shape), begin, end)
    ]


@settings(max_examples=200)
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=3), data=st.data())
def test_rectangles_are_the_flat_range_in_order(shape: list[int], data: st.DataObject) -> None:
    size = prod(shape)
    begin = data.draw(st.integers(0, size))
    end = data.draw(st.integers(begin, size))
    full = torch.arange(size).view(shape)
    found = rectangles(tuple(shape), begin, end)
    parts = [full[tuple(slice(o, o + n) for o, n in zip(r.offset, r.shape, strict=True))].flatten() for r in found]
    assert [number for part in parts for number in part.tolist()] == list(range(begin, end))
    assert [(r.begin, r.end) for r in found] == [(int(p[0]), int(p[-1]) + 1) for p in parts]
    assert len(found) <= 2 * len(shape) - 1


@pytest.mark.parametrize("cuts", [[], [7, 8, 23], [1, 34], [5, 10]], ids=["whole", "odd", "ends", "rows"])
def test_every_part_of_every_partition_is_read(tmp_path: Path, cuts: list[int]) -> None:
    pieces = _pieces(MATRIX, cuts)
    for writer in range(2):
        write_shard(tmp_path, writer, pieces[writer::2])
    write_index(tmp_path, 2)
    tensors = CheckpointTensors(tmp_path)
    assert torch.equal(tensors.read("m"), MATRIX)
    for top in range(7):
        for bottom in range(top + 1, 8):
            part = tensors.read_part("m", offset=(top, 1), shape=(bottom - top, 3))
            assert torch.equal(part, MATRIX[top:bottom, 1:4])
    assert torch.equal(tensors.read_part("m", offset=(6, 0), shape=(3, 5))[1:], torch.zeros(2, 5))
    assert torch.equal(tensors.read_part("m", offset=(9, 0), shape=(2, 5)), torch.zeros(2, 5))


def test_another_model_s_shape_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, _pieces(MATRIX, []))
    write_index(tmp_path, 1)
    tensors = CheckpointTensors(tmp_path)
    with pytest.raises(InputError, match=r"m has the shape \[7, 5\], not \[7, 6\]"):
        tensors.read_part("m", offset=(0, 0), shape=(7, 6))
    with pytest.raises(InputError, match=r"got 'optimizer\.exp_avg\.m'; the checkpoint has no such optimizer state"):
        tensors.read("optimizer.exp_avg.m")


def test_a_flipped_bit_is_found_and_named(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, _pieces(MATRIX, []))
    write_index(tmp_path, 1)
    path = tmp_path / "shard_00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"shard_00000\.safetensors: m has other bytes there than were written"):
        CheckpointTensors(tmp_path).read("m")


def test_no_index_is_made_of_pieces_that_leave_a_gap(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, _pieces(MATRIX, [20])[:-1])
    with pytest.raises(WorkError, match="m: 20 numbers in 1 pieces, not 35"):
        write_index(tmp_path, 1)
    assert not (tmp_path / INDEX_NAME).exists()


def test_a_writer_that_failed_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, _pieces(MATRIX, []))
    assert missing_writers(tmp_path, 3) == [1, 2]
    report_failure(tmp_path, 1, "no space")
    write_shard(tmp_path, 2, [])
    assert missing_writers(tmp_path, 3) == []
    with pytest.raises(WorkError, match="rank 1: no space"):
        write_index(tmp_path, 3)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "x", "tensors": {}}', '{"format"'], ids=str)
def test_an_index_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX_NAME).write_text(text)
    with pytest.raises(InputError, match=f"{INDEX_NAME}: not a checkpoint's index"):
        CheckpointTensors(tmp_path)
    (tmp_path / INDEX_NAME).unlink()
    with pytest.raises(InputError, match=f"{INDEX_NAME}: no such file"):
        CheckpointTensors(tmp_path)


def test_the_index_says_where_pieces_are(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, _pieces(MATRIX, [7]))
    write_index(tmp_path, 1)
    entry = json.loads((tmp_path / INDEX_NAME).read_text())["tensors"]["m"]
    assert entry["shape"] == [7, 5]
    content = (tmp_path / "shard_00000.safetensors").read_bytes()
    for piece in entry["pieces"]:
        numbers = torch.frombuffer(
            bytearray(content[piece["begin"] :][: 4 * prod(piece["shape"])]), dtype=torch.float32
        )
        ranges = tuple(slice(o, o + n) for o, n in zip(piece["offset"], piece["shape"], strict=True))
        assert torch.equal(numbers.view(piece["shape"]), MATRIX[ranges])
