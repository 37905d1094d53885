"""A folder of Hugging Face's transformers: config.json and weights in one safetensors file or several.

In: the folder. Out: its configuration as a mapping, and its tensors by name, read one at a time. Pickles
(pytorch_model.bin) are not read: they can hold code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megatron_codex.convert.weights import Group, TensorSource
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_file
from megatron_codex.log import progress
from megatron_codex.model.tensor_file import TensorDescription, TensorFile, TensorFileWriter

CONFIG_NAME = "config.json"
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PREFIX = "transformer."
"""Begins the names in a model with a head; a folder of the bare model leaves it out."""
_HEAD, _EMBEDDINGS = "lm_head.weight", "transformer.wte.weight"
_MASKS = (".attn.bias", ".attn.masked_bias", ".attn.attention.bias", ".attn.attention.masked_bias")
"""Causal masks, which earlier versions of transformers stored among the weights."""


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object from a file. Raises: InputError naming it when it is none."""
    require_file(path, what)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(str(path), rule=f"not valid JSON ({error})", remedy="copy it again") from error
    if not isinstance(content, dict):
        raise InputError(str(path), rule=f"must be a JSON object ({what})", remedy="copy it again")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, atomically."""
    with atomic_file(path, "w") as handle:
        json.dump(content, handle, indent=2, ensure_ascii=False)
        handle.write("\n")


class HuggingFaceTensors:
    """The tensors of a folder by their full names ("transformer.wte.weight"). A TensorSource."""

    def __init__(self, folder: Path) -> None:
        """Raises: InputError when weights are missing, cut short or in pickles only."""
        self.folder = folder
        self._file_of: dict[str, TensorFile] = {}
        for path in _weight_files(folder):
            file = TensorFile(path)
            self._file_of |= dict.fromkeys(file.entries, file)
        self._require_indexed()

    def __contains__(self, name: str) -> bool:
        return self._stored_name(name) is not None

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor. Raises: InputError when there is none of this name."""
        stored = self._require(name)
        return self._file_of[stored].entries[stored].shape

    def read(self, name: str) -> Tensor:
        """A tensor, fp32."""
        stored = self._require(name)
        return self._file_of[stored].read(stored).float()

    def require_known(self, names: AbstractSet[str]) -> None:
        """Raises: InputError for a tensor that is none of `names`, no mask, and no copy of the word embeddings."""
        for stored in self._file_of:
            name = stored if stored.startswith((_PREFIX, _HEAD)) else _PREFIX + stored
            if name == _HEAD:
                if not torch.equal(self.read(_HEAD), self.read(_EMBEDDINGS)):
                    rule = f"{_HEAD} is not the word embeddings: the model does not tie them"
                    raise InputError(str(self.folder), rule=rule, remedy="it cannot be written as a Codex model")
            elif name not in names and not name.endswith(_MASKS):
                rule = f"the model has a tensor {stored}, which a Codex model has not"
                raise InputError(str(self.folder), rule=rule, remedy="check that config.json is this model's")

    def _require(self, name: str) -> str:
        stored = self._stored_name(name)
        if stored is None:
            rule, remedy = f"the folder's files have no tensor {name}", "copy the folder again, with all its files"
            raise InputError(str(self.folder), rule=rule, remedy=remedy)
        return stored

    def _stored_name(self, name: str) -> str | None:
        return next((known for known in (name, name.removeprefix(_PREFIX)) if known in self._file_of), None)

    def _require_indexed(self) -> None:
        index = self.folder / _INDEX
        if not index.is_file() or (self.folder / _SINGLE).is_file():
            return
        for name, file in _weight_map(index).items():
            if name not in self._file_of or self._file_of[name].path.name != file:
                rule = f"{name} is not in it, though {_INDEX} says so"
                raise InputError(str(self.folder / file), rule=rule, remedy="copy the folder again")


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if (folder / _INDEX).is_file():
        return [folder / name for name in sorted(set(_weight_map(folder / _INDEX).values()))]
    rule = f"has neither {_SINGLE} nor {_INDEX}"
    remedy = "copy the weights, too"
    if any(folder.glob("pytorch_model*.bin")):
        remedy = "pickles are not read: save the model as safetensors (save_pretrained does)"
    raise InputError(str(folder), rule=rule, remedy=remedy)


def _weight_map(index: Path) -> dict[str, str]:
    content = read_json(index, "the index of a model's weights").get("weight_map")
    if not isinstance(content, dict) or any("/" in str(file) for file in content.values()):
        raise InputError(str(index), rule="has no weight_map of file names", remedy="copy it again")
    return {str(name): str(file) for name, file in content.items()}


def write_weights(
    folder: Path, groups: Sequence[Group], source: TensorSource, *, dtype: torch.dtype, max_shard_size: int
) -> None:
    """Write all groups' tensors as safetensors, as transformers names files. Memory: one group.

    max_shard_size: bytes; a group is not split over files, so a larger one makes a larger file.
    """
    shards = _shared_out(groups, dtype=dtype, max_shard_size=max_shard_size)
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [_SINGLE]
    bar = progress(chain(*shards), total=len(groups), description="writing weights", unit="group")
    for name, shard in zip(names, shards, strict=True):
        with TensorFileWriter(folder / name, _described(shard, dtype), metadata={"format": "pt"}) as file:
            for tensor in _made(bar, len(shard), source):
                file.append(tensor.to(dtype))
    if len(shards) > 1:
        weight_map = {d.name: name for name, shard in zip(names, shards, strict=True) for d in _described(shard, dtype)}
        total = sum(description.num_bytes for shard in shards for description in _described(shard, dtype))
        write_json(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _made(groups: Iterator[Group], count: int, source: TensorSource) -> Iterator[Tensor]:
    for _ in range(count):
        yield from next(groups).make(source)


def _described(groups: Sequence[Group], dtype: torch.dtype) -> list[TensorDescription]:
    return [
        TensorDescription(name=name, shape=shape, dtype=dtype)
        for group in groups
        for name, shape in group.shapes.items()
    ]


def _shared_out(groups: Sequence[Group], *, dtype: torch.dtype, max_shard_size: int) -> list[list[Group]]:
    """Consecutive groups for each file."""
    shards: list[list[Group]] = [[]]
    size = 0
    for group in groups:
        num_bytes = sum(description.num_bytes for description in _described([group], dtype))
        if shards[-1] and size + num_bytes > max_shard_size:
            shards.append([])
            size = 0
        shards[-1].append(group)
        size += num_bytes
    return shards
