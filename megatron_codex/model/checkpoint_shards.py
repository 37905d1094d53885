"""A checkpoint's tensors in files: each rank writes the pieces it owns, one index says where every piece lies.

In: pieces, rectangles of full tensors that together cover each of them once. Out, in a step directory:

    shard_00003.safetensors   the pieces of writer 3; a piece's key is "name@row,column" of its first element
    index.json                for each tensor its shape and pieces: file, offset, shape, first byte, XXH3-64

A full tensor has the true vocabulary's rows: padding, which depends on the layout, is not stored. A writer's memory is
one piece. While writers are at work, shard_00003.json stands for "shard 3 is whole on the disk"; the index is made of
these, and only when they cover every tensor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor

from megatron_codex.errors import WorkError
from megatron_codex.files import atomic_file, sync_directory
from megatron_codex.model.tensor_file import SUFFIX, TensorDescription, tensor_bytes, write_tensor_file

INDEX_NAME = "index.json"
FORMAT = "megatron_codex/checkpoint_index/1"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A rectangle of a full tensor, fp32, to be written."""

    name: str
    global_shape: tuple[int, ...]
    offset: tuple[int, ...]
    """Where in the full tensor its first element lies."""
    data: Tensor


@dataclass(frozen=True, kw_only=True)
class StoredPiece:
    """A rectangle of a full tensor in a file."""

    file: str
    offset: tuple[int, ...]
    shape: tuple[int, ...]
    begin: int
    """Its first byte in the file."""
    xxh3_64: str
    """Of its bytes."""


def shard_name(writer: int) -> str:
    """File of a writer's pieces, without suffix."""
    return f"shard_{writer:05d}"


def write_shard(directory: Path, writer: int, pieces: Sequence[Piece]) -> None:
    """Write the pieces of one writer and then, when they are on the disk, the word that they are.

    Raises: OSError when they cannot be written.
    """
    path = directory / f"{shard_name(writer)}{SUFFIX}"
    described = [
        TensorDescription(
            name=f"{piece.name}@{','.join(map(str, piece.offset))}",
            shape=tuple(piece.data.shape),
            dtype=piece.data.dtype,
        )
        for piece in pieces
    ]
    digests: list[str] = []

    def tensors() -> Iterator[Tensor]:
        for piece in pieces:
            data = piece.data.detach().cpu().contiguous()
            digests.append(xxhash.xxh3_64_hexdigest(tensor_bytes(data)))
            yield data

    if pieces:
        write_tensor_file(path, described, tensors(), metadata={"format": "pt"})
    _report(directory, writer, {"pieces": list(_stored(path, described, pieces, digests))})


def report_failure(directory: Path, writer: int, message: str) -> None:
    """Say to who makes the index that this writer's pieces will not come."""
    _report(directory, writer, {"error": message})


def _stored(
    path: Path, described: Sequence[TensorDescription], pieces: Sequence[Piece], digests: Sequence[str]
) -> Iterator[dict[str, Any]]:
    begin = path.stat().st_size - sum(description.num_bytes for description in described) if pieces else 0
    for description, piece, digest in zip(described, pieces, digests, strict=True):
        yield {
            "name": piece.name,
            "global_shape": piece.global_shape,
            "piece": asdict(
                StoredPiece(file=path.name, offset=piece.offset, shape=description.shape, begin=begin, xxh3_64=digest)
            ),
        }
        begin += description.num_bytes


def _report(directory: Path, writer: int, content: dict[str, Any]) -> None:
    final = _report_path(directory, writer)
    temporary = final.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(content, handle)
        handle.flush()
        os.fsync(handle.fileno())
    sync_directory(directory)
    temporary.replace(final)  # last of all: who sees it may rename the directory


def _report_path(directory: Path, writer: int) -> Path:
    return directory / f"{shard_name(writer)}.json"


def missing_writers(directory: Path, num_writers: int) -> list[int]:
    """Writers that have not reported yet."""
    return [writer for writer in range(num_writers) if not _report_path(directory, writer).exists()]


def write_index(directory: Path, num_writers: int) -> None:
    """Make the index of what all writers have reported, and take their reports away.

    Raises: WorkError when a writer failed, or when the pieces do not cover each tensor once.
    """
    tensors: dict[str, dict[str, Any]] = {}
    for writer in range(num_writers):
        report = json.loads(_report_path(directory, writer).read_text(encoding="utf-8"))
        if "error" in report:
            raise WorkError(f"rank {writer}: {report['error']}")
        for entry in report["pieces"]:
            tensor = tensors.setdefault(entry["name"], {"shape": entry["global_shape"], "pieces": []})
            assert tensor["shape"] == entry["global_shape"], entry["name"]
            tensor["pieces"].append(entry["piece"])
    for name, tensor in tensors.items():
        stored, whole = sum(prod(piece["shape"]) for piece in tensor["pieces"]), prod(tensor["shape"])
        places = {tuple(piece["offset"]) for piece in tensor["pieces"]}
        if stored != whole or len(places) != len(tensor["pieces"]):
            raise WorkError(f"{directory}: {name}: {stored} numbers in {len(tensor['pieces'])} pieces, not {whole}")
    with atomic_file(directory / INDEX_NAME, "w") as handle:
        json.dump({"format": FORMAT, "tensors": tensors}, handle)
    for writer in range(num_writers):
        _report_path(directory, writer).unlink()
