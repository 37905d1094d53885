"""Checkpoint to a folder that transformers loads: GPT2LMHeadModel for dense attention, else GPTNeoForCausalLM.

Out: config.json, weights as safetensors, tokenizer.json, tokenizer_config.json, manifest.json. The vocabulary is the
true one: checkpoints have no rows of padding.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert import gpt2, gpt_neo
from megatron_codex.convert.check import compare_logits, random_tokens
from megatron_codex.convert.checkpoint_input import open_checkpoint
from megatron_codex.convert.checkpoint_output import COMMAND
from megatron_codex.convert.forward import checkpoint_logits, huggingface_logits
from megatron_codex.convert.huggingface_folder import CONFIG_NAME, HuggingFaceTensors, write_json, write_weights
from megatron_codex.convert.huggingface_tokenizer import write_tokenizer
from megatron_codex.convert.outcome import Outcome
from megatron_codex.files import atomic_directory
from megatron_codex.manifest import MANIFEST_NAME, write_manifest

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def to_huggingface(config: ConvertConfig) -> Outcome:
    """Raises: InputError for faulty input; WorkError when the folder would be another model."""
    started_at = time.time()
    checkpoint = open_checkpoint(config.input)
    source, model, tokenizer = checkpoint.tensors, checkpoint.model, checkpoint.tokenizer
    architecture = gpt2 if model.attention_pattern == "dense" else gpt_neo
    vocab_size = tokenizer.true_vocab_size
    described = _configuration(architecture.configuration(model), tokenizer, dtype=config.dtype)
    with atomic_directory(config.output) as temporary:
        groups = architecture.exported(model, vocab_size=vocab_size)
        dtype = _DTYPES[config.dtype]
        write_weights(temporary, groups, source, dtype=dtype, max_shard_size=config.max_shard_size)
        write_json(temporary / CONFIG_NAME, described)
        write_tokenizer(temporary, tokenizer, seq_length=model.seq_length)
        tokens_S = random_tokens(model, vocab_size=vocab_size, seed=config.seed)
        expected_SV = checkpoint_logits(source, model, tokens_S)
        found_SV = huggingface_logits(HuggingFaceTensors(temporary), described, tokens_S)
        check = compare_logits(expected_SV, found_SV, dtype=config.dtype)
        write_manifest(
            temporary,
            command=COMMAND,
            config=config,
            inputs=[checkpoint.directory / MANIFEST_NAME],
            counts={"vocabulary": vocab_size, "parameters": model.num_parameters(vocab_size)},
            started_at=started_at,
            extra={"converted_from": str(checkpoint.directory), "check": asdict(check)},
        )
    what = f"{described['architectures'][0]}, {vocab_size:,} tokens (no padding), {config.dtype}"
    return Outcome(output=config.output, what=what, check=check)


def _configuration(described: Mapping[str, Any], tokenizer: TokenizerConfig, *, dtype: str) -> dict[str, Any]:
    """config.json: what is the same in both architectures. transformers reads "torch_dtype" before 5, then "dtype"."""
    return {
        **described,
        "vocab_size": tokenizer.true_vocab_size,
        "bos_token_id": tokenizer.num_ranks,
        "eos_token_id": tokenizer.num_ranks,
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
    }
