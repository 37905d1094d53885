"""Which rank of a layout has which rectangle of a tensor: what decides a converted checkpoint's files.

In: a tensor's name and full shape. Out: writers and places, as megatron-core's tensor- and pipeline-parallel ranks
would hold them. Ranks are numbered as megatron-core does: tensor-parallel ones side by side, then data-parallel ones,
then stages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.model import ModelConfig
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import OPTIMIZER_PREFIX
from megatron_codex.model.checkpoint_shards import Place
from megatron_codex.model.initialization import WORD_EMBEDDINGS

VOCAB_SIZE_MULTIPLE = 128
"""As model/gpt.py pads; that module imports the engine, this one does not need it."""

MOST_WRITERS = 900
"""Files that are open at a time; systems allow 1,024."""

_BY_ROWS = ("self_attention.linear_qkv", "mlp.linear_fc1")
_BY_COLUMNS = ("self_attention.linear_proj.weight", "mlp.linear_fc2.weight")


@dataclass(frozen=True, kw_only=True)
class FileLayout:
    """The ranks that a checkpoint's files are laid out for."""

    model: ModelConfig
    tensor_model_parallel_size: int
    pipeline_model_parallel_size: int
    data_parallel_size: int
    _loads: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """Numbers that each data-parallel rank of a model-parallel one has been given so far."""

    def __post_init__(self) -> None:
        model, tensor, pipeline = self.model, self.tensor_model_parallel_size, self.pipeline_model_parallel_size
        for name, value in (("num_attention_heads", model.num_attention_heads), ("ffn_hidden_size", model.mlp_size)):
            if value % tensor:
                rule = f"must divide the model's {name} = {value}"
                remedy = f"for example {max(n for n in range(1, tensor) if value % n == 0)}"
                raise InputError("tensor_model_parallel_size", value=tensor, rule=rule, remedy=remedy)
        if pipeline > model.num_layers:
            rule = f"must not exceed the model's num_layers = {model.num_layers}"
            raise InputError("pipeline_model_parallel_size", value=pipeline, rule=rule, remedy="give fewer stages")
        if self.num_writers > MOST_WRITERS:
            rule = f"gives {self.num_writers} files, of which {MOST_WRITERS} can be written at a time"
            raise InputError(
                "data_parallel_size", value=self.data_parallel_size, rule=rule, remedy="1 will do: any layout reads it"
            )

    @classmethod
    def of(cls, config: ConvertConfig, model: ModelConfig) -> FileLayout:
        """The layout that a conversion asks for. Raises: InputError when it does not fit the model."""
        return cls(
            model=model,
            tensor_model_parallel_size=config.tensor_model_parallel_size,
            pipeline_model_parallel_size=config.pipeline_model_parallel_size,
            data_parallel_size=config.data_parallel_size,
        )

    @property
    def num_writers(self) -> int:
        """Ranks, of which each has a file."""
        return self.tensor_model_parallel_size * self.pipeline_model_parallel_size * self.data_parallel_size

    def places(self, name: str, shape: tuple[int, ...]) -> list[tuple[int, Place]]:
        """(writer, its rectangle) of a tensor. Called once for each tensor: data-parallel ranks take turns by load."""
        kind = name.removeprefix(OPTIMIZER_PREFIX).partition(".")[2] if name.startswith(OPTIMIZER_PREFIX) else name
        found = []
        for tp_rank, (offset, part) in enumerate(self._parts(kind, shape)):
            if 0 not in part:
                place = Place(name=name, global_shape=shape, offset=offset, shape=part)
                found.append((self._writer(self._stage(kind), tp_rank, place), place))
        return found

    def _parts(self, name: str, shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(offset, shape) for each tensor-parallel rank that holds a part; of what all hold, the first has the copy."""
        size, zero = self.tensor_model_parallel_size, (0,) * len(shape)
        if name == WORD_EMBEDDINGS:
            multiple = VOCAB_SIZE_MULTIPLE * size
            rows = -(-shape[0] // multiple) * multiple // size
            starts = [min(rank * rows, shape[0]) for rank in range(size + 1)]
            return [((a, *zero[1:]), (b - a, *shape[1:])) for a, b in pairwise(starts)]
        if any(f".{part}." in f".{name}." for part in _BY_ROWS):
            rows = shape[0] // size
            return [((rank * rows, *zero[1:]), (rows, *shape[1:])) for rank in range(size)]
        if name.endswith(_BY_COLUMNS):
            columns = shape[1] // size
            return [((0, rank * columns), (shape[0], columns)) for rank in range(size)]
        return [(zero, shape)]

    def _stage(self, name: str) -> int:
        if name.startswith("decoder.layers."):
            return int(name.split(".")[2]) * self.pipeline_model_parallel_size // self.model.num_layers
        return self.pipeline_model_parallel_size - 1 if name.startswith("decoder.") else 0

    def _writer(self, stage: int, tp_rank: int, place: Place) -> int:
        loads = self._loads.setdefault((stage, tp_rank), [0] * self.data_parallel_size)
        dp_rank = loads.index(min(loads))
        loads[dp_rank] += prod(place.shape)
        return (stage * self.data_parallel_size + dp_rank) * self.tensor_model_parallel_size + tp_rank
