"""Tensor files: named tensors in one file of the safetensors format, written and read a tensor at a time.

In: tensors whose shapes are known beforehand, one after the other. Out: a file that transformers and the safetensors
library read, too. Memory: one tensor, whatever the file's size. Nothing in such a file is code, unlike a pickle.

Layout: 8 bytes, little-endian length of the header; the header, JSON: {name: {"dtype", "shape", "data_offsets"}} and
texts under "__metadata__"; then the tensors, row-major, little-endian, without gaps
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from megatron_codex.errors import InputError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types of weights. Files may hold others (masks, for instance), which are listed but not read."""

SUFFIX = ".safetensors"
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA = "__metadata__"
_ALIGNMENT = 64
"""The data begin at a multiple of this many bytes, so that a mapped file's numbers are aligned."""
_LONGEST_HEADER = 100_000_000
"""Bytes; the safetensors library refuses longer ones, too."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies in a file."""

    dtype: str
    """As the format names it: F32, BF16, ..."""
    shape: tuple[int, ...]
    begin: int
    """Position of its first byte in the file."""
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class TensorDescription:
    """A tensor that is going to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    @property
    def num_bytes(self) -> int:
        """Its size in the file."""
        return prod(self.shape) * self.dtype.itemsize


class TensorFileWriter:
    """Writes a file whose tensors are described beforehand and come one by one, in that order."""

    def __init__(self, path: Path, described: Sequence[TensorDescription], *, metadata: Mapping[str, str]) -> None:
        """Raises: OSError, here and below, when the file cannot be written. The caller renames or removes it."""
        self._left = list(reversed(described))
        self._handle = path.open("wb")
        self._handle.write(_header(described, metadata))

    def append(self, tensor: Tensor) -> None:
        """Write the next tensor."""
        description = self._left.pop()
        assert tuple(tensor.shape) == description.shape, f"{description.name}: {tuple(tensor.shape)}"
        assert tensor.dtype == description.dtype, f"{description.name}: {tensor.dtype}"
        self._handle.write(tensor_bytes(tensor))

    def __enter__(self) -> TensorFileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file; when all has been written, it is on the disk."""
        with self._handle:
            if kind is None:
                assert not self._left, f"{self._left[-1].name} was not written"
                self._handle.flush()
                os.fsync(self._handle.fileno())


def tensor_bytes(tensor: Tensor) -> memoryview:
    """A tensor's numbers in row-major order; no copy where it lies so in the CPU's memory."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _header(described: Sequence[TensorDescription], metadata: Mapping[str, str]) -> bytes:
    content: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    for description in described:
        begin, end = end, end + description.num_bytes
        dtype = _NAMES[description.dtype]
        content[description.name] = {"dtype": dtype, "shape": description.shape, "data_offsets": [begin, end]}
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


class TensorFile:
    """A file of tensors, opened for reading: `entries` by name, `metadata`, and `read`."""

    def __init__(self, path: Path) -> None:
        """Raises: InputError naming the file when it is missing, cut short or not of this format."""
        self.path = path
        try:
            self.entries, self.metadata = _read_header(path)
        except FileNotFoundError as error:
            raise InputError(str(path), rule="no such file", remedy="check the path, or copy it again") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            rule = f"not a whole safetensors file ({reason})"
            raise InputError(str(path), rule=rule, remedy="copy or write it again") from error

    def read(self, name: str, *, rows: tuple[int, int] | None = None) -> Tensor:
        """A tensor, or its rows from rows[0] to rows[1] (of the first dimension), in the type it is stored in.

        Raises: InputError when the file ends early, or the type is none of DTYPES.
        """
        entry = self.entries[name]
        if entry.dtype not in DTYPES:
            rule, remedy = f"{name} must be of one of {', '.join(DTYPES)}", "convert it to float32"
            raise InputError(str(self.path), value=entry.dtype, rule=rule, remedy=remedy)
        first, last = rows if rows is not None else (0, entry.shape[0] if entry.shape else 1)
        shape = (last - first, *entry.shape[1:]) if entry.shape else ()
        return read_numbers(
            self.path, dtype=DTYPES[entry.dtype], shape=shape, begin=entry.begin + first * _row_bytes(entry)
        )


def read_numbers(path: Path, *, dtype: torch.dtype, shape: tuple[int, ...], begin: int) -> Tensor:
    """A tensor of this shape from the bytes of a file that begin at `begin`.

    Raises: InputError when the file is missing or ends early.
    """
    tensor = torch.empty(shape, dtype=dtype)
    view = tensor.reshape(-1).view(torch.uint8).numpy().data
    try:
        with path.open("rb", buffering=0) as handle:
            handle.seek(begin)
            done = 0
            while done < len(view) and (count := handle.readinto(view[done:])):
                done += count
    except FileNotFoundError as error:
        raise InputError(str(path), rule="no such file", remedy="copy it again") from error
    if done < len(view):
        rule = f"ends {len(view) - done} bytes too early"
        raise InputError(str(path), rule=rule, remedy="copy it again from where it is whole")
    return tensor


def _row_bytes(entry: StoredTensor) -> int:
    return entry.num_bytes // entry.shape[0] if entry.shape and entry.shape[0] else 0


def _read_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"{size} bytes, of which the header says it takes {length}")
        content = json.loads(handle.read(length))
    metadata = content.pop(_METADATA, {})
    start = 8 + length
    entries = {}
    for name, value in content.items():
        begin, end = (int(offset) for offset in value["data_offsets"])
        shape = tuple(int(count) for count in value["shape"])
        known = DTYPES.get(value["dtype"])
        if begin < 0 or end < begin or (known is not None and end - begin != prod(shape) * known.itemsize):
            raise ValueError(f"{name} of {value['dtype']} {list(shape)} takes {end - begin} bytes")
        if start + end > size:
            raise ValueError(f"{name} ends at byte {start + end}, the file at {size}")
        entries[name] = StoredTensor(dtype=value["dtype"], shape=shape, begin=start + begin, num_bytes=end - begin)
    return entries, {str(key): str(value) for key, value in metadata.items()}
