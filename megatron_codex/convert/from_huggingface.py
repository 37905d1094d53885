"""A folder of transformers (GPT-2, GPT-Neo) to a checkpoint of step 0: weights to start a run from, or to sample from.

In: config.json, safetensors, and the tokenizer's files, which must be GPT-2's or ours. Rows of padding are left out;
with extend_vocabulary GPT-2's tokens get Codex's runs of spaces (convert/vocabulary.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

import torch
from torch import Tensor

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.load import config_to_dict
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert import gpt2, gpt_neo
from megatron_codex.convert.check import compare_logits, random_tokens
from megatron_codex.convert.checkpoint_output import write_checkpoint
from megatron_codex.convert.forward import checkpoint_logits, huggingface_logits
from megatron_codex.convert.huggingface_folder import CONFIG_NAME, HuggingFaceTensors, read_json
from megatron_codex.convert.huggingface_tokenizer import read_tokenizer
from megatron_codex.convert.layout import FileLayout
from megatron_codex.convert.outcome import Outcome
from megatron_codex.convert.renaming import WTE, positions_and_norm_back
from megatron_codex.convert.vocabulary import embedding_rows, extended, spelling
from megatron_codex.convert.weights import Group, TensorSource
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_directory
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.model.initialization import WORD_EMBEDDINGS

_ARCHITECTURES: dict[str, ModuleType] = {gpt2.MODEL_TYPE: gpt2, gpt_neo.MODEL_TYPE: gpt_neo}


def from_huggingface(config: ConvertConfig) -> Outcome:
    """Raises: InputError for faulty input; WorkError when the checkpoint would be another model."""
    path = config.input / CONFIG_NAME
    described = read_json(path, "a model's configuration")
    architecture = _ARCHITECTURES.get(str(described.get("model_type")))
    if architecture is None:
        rule = f"model_type must be one of {', '.join(_ARCHITECTURES)}"
        remedy = "other architectures cannot be written as a Codex model"
        raise InputError(str(path), value=described.get("model_type"), rule=rule, remedy=remedy)
    described = {"layer_norm_epsilon": 1e-5} | described
    model: ModelConfig = architecture.model_config(described, path)
    old = read_tokenizer(config.input)
    new = extended(old) if config.extend_vocabulary else old
    source = HuggingFaceTensors(config.input)
    num_rows = _require_shapes(source, architecture.exported(model, vocab_size=old.true_vocab_size), old)
    layout = FileLayout.of(config, model)

    def embeddings(tensors: TensorSource) -> Iterator[Tensor]:
        yield embedding_rows(tensors.read(WTE), old=old, new=new)

    shape = (new.true_vocab_size, model.hidden_size)
    groups = [
        Group(shapes={WORD_EMBEDDINGS: shape}, make=embeddings),
        *positions_and_norm_back(model, architecture.imported(model, described)),
    ]
    with atomic_directory(config.output) as temporary:
        step = write_checkpoint(
            temporary,
            groups,
            source,
            layout=layout,
            config={"model": config_to_dict(model), "tokenizer": config_to_dict(new)},
            described={
                "step": 0,
                "num_updates": 0,
                "num_tokens": 0,
                "has_optimizer": False,
                "converted_from": str(config.input),
                "rows_of_padding_left_out": num_rows - old.true_vocab_size,
                "rows_of_runs_added": new.true_vocab_size - old.true_vocab_size,
            },
            inputs=[path],
        )
        tokens_S = random_tokens(model, vocab_size=old.true_vocab_size, seed=config.seed)
        theirs_SV = huggingface_logits(source, described, tokens_S)
        check = compare_logits(
            _with_runs(theirs_SV, old=old, new=new), checkpoint_logits(CheckpointTensors(step), model, tokens_S)
        )
    what = f"{described['model_type']}, {new.true_vocab_size:,} tokens"
    for count, verb in (
        (num_rows - old.true_vocab_size, "left out"),
        (new.true_vocab_size - old.true_vocab_size, "added"),
    ):
        what += f", {count} rows {verb}" if count else ""
    return Outcome(output=config.output, what=what, check=check)


def _require_shapes(source: HuggingFaceTensors, groups: Sequence[Group], tokenizer: TokenizerConfig) -> int:
    """Rows of the folder's word embeddings. Raises: InputError for a tensor of another shape than config.json says."""
    for group in groups:
        for name, shape in group.shapes.items():
            found = source.shape(name)
            if found != shape and not (name == WTE and len(found) == 2 and found[1:] == shape[1:]):
                rule = f"{name} has the shape {list(found)}, config.json gives {list(shape)}"
                raise InputError(str(source.folder), rule=rule, remedy="copy config.json and weights of one model")
    source.require_known({name for group in groups for name in group.shapes})
    num_rows = source.shape(WTE)[0]
    if num_rows < tokenizer.true_vocab_size:
        rule = f"its tokenizer has {tokenizer.true_vocab_size} tokens, its word embeddings {num_rows} rows"
        raise InputError(str(source.folder), rule=rule, remedy="copy tokenizer and weights of one model")
    return num_rows


def _with_runs(theirs_SV: Tensor, *, old: TokenizerConfig, new: TokenizerConfig) -> Tensor:
    """The logits that the new vocabulary should have: the mean of those of the tokens that spell a run."""
    columns = [
        theirs_SV[:, spelling(token, old=old, new=new)].mean(dim=1, keepdim=True)
        for token in range(old.true_vocab_size, new.true_vocab_size)
    ]
    return torch.cat([theirs_SV[:, : old.true_vocab_size], *columns], dim=1)
