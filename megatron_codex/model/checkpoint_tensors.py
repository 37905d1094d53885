"""A checkpoint's tensors read back: whole, or the part that a rank of another layout holds.

In: a step directory (model/checkpoint_shards.py says what is in it). Out: fp32 tensors. Only torch is needed. A part is
put together from the pieces it meets, each read by its rows; memory is the part and one piece. What is read whole is
checked against its checksum.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import xxhash
from torch import Tensor

from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import OPTIMIZER_PREFIX
from megatron_codex.model.checkpoint_shards import FORMAT, INDEX_NAME, StoredPiece
from megatron_codex.model.tensor_file import read_numbers, tensor_bytes

_COPY_AGAIN = "copy the checkpoint again, or take another step's"


class CheckpointTensors:
    """The tensors of a step directory, by name."""

    def __init__(self, directory: Path) -> None:
        """Raises: InputError when there is no readable index."""
        self.directory = directory
        path = directory / INDEX_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}, not {FORMAT}")
            self._shapes = {name: tuple(entry["shape"]) for name, entry in content["tensors"].items()}
            self._pieces = {
                name: [_stored_piece(piece) for piece in entry["pieces"]] for name, entry in content["tensors"].items()
            }
        except FileNotFoundError as error:
            raise InputError(str(path), rule="no such file", remedy=_COPY_AGAIN) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            rule = f"not a checkpoint's index ({' '.join(str(error).split())})"
            raise InputError(str(path), rule=rule, remedy=_COPY_AGAIN) from error

    @property
    def weight_names(self) -> list[str]:
        """Names of the model's weights."""
        return [name for name in self._shapes if not name.startswith(OPTIMIZER_PREFIX)]

    @property
    def names(self) -> list[str]:
        """Names of all tensors: weights, and the optimizer's where there are any."""
        return list(self._shapes)

    @property
    def num_largest_bytes(self) -> int:
        """Size of the largest tensor, fp32."""
        return max(4 * int(torch.Size(shape).numel()) for shape in self._shapes.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a full tensor, padding of the vocabulary left out. Raises: InputError when there is none."""
        if name not in self._shapes:
            what = "optimizer state" if name.startswith(OPTIMIZER_PREFIX) else "tensor"
            rule, remedy = f"the checkpoint has no such {what}", "take a checkpoint of this model that has it"
            raise InputError(str(self.directory), value=name, rule=rule, remedy=remedy)
        return self._shapes[name]

    def read(self, name: str) -> Tensor:
        """A full tensor."""
        shape = self.shape(name)
        return self.read_part(name, offset=(0,) * len(shape), shape=shape)

    def read_part(self, name: str, *, offset: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
        """The rectangle of a full tensor that begins at `offset`; zeros where it goes beyond it (vocabulary padding).

        Raises: InputError naming the file when one is missing, cut short or has other bytes than were written.
        """
        full = self.shape(name)
        if len(full) != len(shape) or any(o + s > f for o, s, f in list(zip(offset, shape, full, strict=False))[1:]):
            rule = f"{name} has the shape {list(full)}, not {[o + s for o, s in zip(offset, shape, strict=False)]}"
            raise InputError(str(self.directory), rule=rule, remedy="take a checkpoint of this model")
        part: Tensor | None = None
        for piece in self._pieces[name]:
            overlap = _overlap(piece, offset, shape)
            if overlap is None:
                continue
            if piece.offset == offset and piece.shape == shape:
                return self._read_rows(name, piece, 0, piece.shape[0] if piece.shape else 1)
            if part is None:
                part = torch.zeros(shape)
            first, last = overlap[0].start - piece.offset[0], overlap[0].stop - piece.offset[0]
            rows = self._read_rows(name, piece, first, last)
            columns = _shifted(overlap, piece.offset)[1:]
            part[_shifted(overlap, offset)] = rows[(slice(None), *columns)]
        return torch.zeros(shape) if part is None else part

    def _read_rows(self, name: str, piece: StoredPiece, first: int, last: int) -> Tensor:
        path = self.directory / piece.file
        row_bytes = 4 * int(torch.Size(piece.shape[1:]).numel())
        shape = (last - first, *piece.shape[1:]) if piece.shape else ()
        numbers = read_numbers(path, dtype=torch.float32, shape=shape, begin=piece.begin + first * row_bytes)
        whole = shape == piece.shape
        if whole and xxhash.xxh3_64_hexdigest(tensor_bytes(numbers)) != piece.xxh3_64:
            rule = f"{name} has other bytes there than were written"
            raise InputError(str(path), rule=rule, remedy=f"the file is damaged: {_COPY_AGAIN}")
        return numbers


def _stored_piece(entry: dict[str, object]) -> StoredPiece:
    return StoredPiece(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})  # type: ignore[arg-type]


def _overlap(piece: StoredPiece, offset: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The ranges, of the full tensor, in which a piece meets a rectangle."""
    ranges = []
    for p, p_count, o, o_count in zip(piece.offset, piece.shape, offset, shape, strict=True):
        first, last = max(p, o), min(p + p_count, o + o_count)
        if first >= last:
            return None
        ranges.append(slice(first, last))
    return tuple(ranges)


def _shifted(ranges: tuple[slice, ...], offset: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(r.start - o, r.stop - o) for r, o in zip(ranges, offset, strict=True))
