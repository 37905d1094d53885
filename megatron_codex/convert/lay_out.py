"""Checkpoint to checkpoint: the same tensors, the optimizer's too, in the files of another layout.

Any layout reads any checkpoint, so training and sampling do not need this. It is for those who read the shards
themselves, for one file instead of hundreds, and to leave the optimizer's state out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.load import config_to_dict
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.convert.check import compare_logits, random_tokens
from megatron_codex.convert.checkpoint_input import open_checkpoint
from megatron_codex.convert.checkpoint_output import write_checkpoint
from megatron_codex.convert.forward import checkpoint_logits
from megatron_codex.convert.layout import FileLayout
from megatron_codex.convert.outcome import Outcome
from megatron_codex.convert.weights import Group, TensorSource
from megatron_codex.errors import WorkError
from megatron_codex.files import atomic_directory
from megatron_codex.manifest import MANIFEST_NAME
from megatron_codex.model.checkpoint_files import read_checkpoint_manifest
from megatron_codex.model.checkpoint_tensors import CheckpointTensors

_KEPT = ("step", "num_updates", "num_tokens", "data_fingerprint", "data_position", "random_numbers")
"""What a converted checkpoint's manifest has from the first one's, so that a run can continue from it."""


def lay_out(config: ConvertConfig) -> Outcome:
    """Raises: InputError for faulty input; WorkError when a tensor did not arrive as it was."""
    checkpoint = open_checkpoint(config.input)
    source, model = checkpoint.tensors, checkpoint.model
    names = source.weight_names if config.weights_only else source.names
    layout = FileLayout.of(config, model)
    manifest = read_checkpoint_manifest(checkpoint.directory)
    described = {name: manifest[name] for name in _KEPT if name in manifest}
    described["has_optimizer"] = bool(manifest["has_optimizer"]) and not config.weights_only
    described["converted_from"] = str(checkpoint.directory)
    run_config = dict(manifest["config"])
    if "parallel" in run_config:
        run_config["parallel"] = config_to_dict(
            ParallelConfig(
                tensor_model_parallel_size=config.tensor_model_parallel_size,
                pipeline_model_parallel_size=config.pipeline_model_parallel_size,
            )
        )
    with atomic_directory(config.output) as temporary:
        step = write_checkpoint(
            temporary,
            [_as_it_is(name, source.shape(name)) for name in names],
            source,
            layout=layout,
            config=run_config,
            described=described,
            inputs=[checkpoint.directory / MANIFEST_NAME],
        )
        written = CheckpointTensors(step)
        for name in names:
            if not torch.equal(source.read(name), written.read(name)):
                raise WorkError(f"{name} is not what it was; the output was removed")
        tokens_S = random_tokens(model, vocab_size=checkpoint.tokenizer.true_vocab_size, seed=config.seed)
        expected_SV, found_SV = (checkpoint_logits(tensors, model, tokens_S) for tensors in (source, written))
        check = compare_logits(expected_SV, found_SV)
    what = f"{len(names)} tensors, bitwise as they were, laid out for {layout.num_writers} ranks"
    return Outcome(output=config.output, what=what, check=check)


def _as_it_is(name: str, shape: tuple[int, ...]) -> Group:
    def make(source: TensorSource) -> Iterator[Tensor]:
        yield source.read(name)

    return Group(shapes={name: shape}, make=make)
