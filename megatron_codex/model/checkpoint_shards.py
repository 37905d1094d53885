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
from types import TracebackType
from typing import Any

import xxhash
from torch import Tensor

from megatron_codex.errors import WorkError
from megatron_codex.files import atomic_file, sync_directory
from megatron_codex.model.tensor_file import SUFFIX, TensorDescription, TensorFileWriter, tensor_bytes

INDEX_NAME = "index.json"
FORMAT = "megatron_codex/checkpoint_index/1"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A rectangle of a full tensor."""

    name: str
    global_shape: tuple[int, ...]
    offset: tuple[int, ...]
    """Where in the full tensor its first element lies."""
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A rectangle of a full tensor, fp32, to be written."""

    name: str
    global_shape: tuple[int, ...]
    offset: tuple[int, ...]
    data: Tensor

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(name=self.name, global_shape=self.global_shape, offset=self.offset, shape=tuple(self.data.shape))


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
    with ShardWriter(directory, writer, [piece.place for piece in pieces]) as shard:
        for piece in pieces:
            shard.append(piece.data)


class ShardWriter:
    """Writes one writer's pieces, which are described beforehand and come one by one, in that order."""

    def __init__(self, directory: Path, writer: int, places: Sequence[Place]) -> None:
        """Raises: OSError, here and below, when the shard cannot be written."""
        self._directory, self._writer, self._places = directory, writer, places
        self._path = directory / f"{shard_name(writer)}{SUFFIX}"
        self._digests: list[str] = []
        described = [
            TensorDescription(name=f"{place.name}@{','.join(map(str, place.offset))}", shape=place.shape)
            for place in places
        ]
        self._file = TensorFileWriter(self._path, described, metadata={"format": "pt"}) if places else None

    def append(self, data: Tensor) -> None:
        """Write the next piece."""
        assert self._file is not None
        data = data.detach().cpu().contiguous()
        self._digests.append(xxhash.xxh3_64_hexdigest(tensor_bytes(data)))
        self._file.append(data)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.__exit__(kind, error, traceback)
        if kind is None:
            _report(self._directory, self._writer, {"pieces": list(self._stored())})

    def _stored(self) -> Iterator[dict[str, Any]]:
        sizes = [4 * prod(place.shape) for place in self._places]
        begin = self._path.stat().st_size - sum(sizes) if self._places else 0
        for place, size, digest in zip(self._places, sizes, self._digests, strict=True):
            piece = StoredPiece(
                file=self._path.name, offset=place.offset, shape=place.shape, begin=begin, xxh3_64=digest
            )
            yield {"name": place.name, "global_shape": place.global_shape, "piece": asdict(piece)}
            begin += size


def report_failure(directory: Path, writer: int, message: str) -> None:
    """Say to who makes the index that this writer's pieces will not come."""
    _report(directory, writer, {"error": message})


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
