"""The word embeddings of an imported model: rows of padding left out, rows of new tokens added.

A Codex model that starts from GPT's weights needs rows for its runs of spaces (Codex paper, section 3.2). The paper
does not say what they start from. Here the row of a run is the mean of the rows of the tokens that GPT-2 spells the run
with: GPT-2 has no run of spaces, so that is the row of the single space. At first a run is thus read, and predicted, as
a space is; every old token's logit is what it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.codex import CodexTokenizer

MIN_RUN, MAX_RUN = 2, 25


def extended(config: TokenizerConfig) -> TokenizerConfig:
    """The vocabulary with Codex's runs of spaces added. Raises: InputError when it has runs already."""
    if config.num_runs:
        raise InputError(
            "extend_vocabulary",
            value=True,
            rule=f"the folder's tokenizer has runs of {config.min_run} to {config.max_run} spaces already",
            remedy="leave it out",
        )
    size = config.num_ranks + 1 + MAX_RUN - MIN_RUN + 1
    return TokenizerConfig(vocab_size=size, min_run=MIN_RUN, max_run=MAX_RUN)


def spelling(token: int, *, old: TokenizerConfig, new: TokenizerConfig) -> list[int]:
    """The ids of the old vocabulary that spell a token of the new one: itself, where the old one has it."""
    if token < old.true_vocab_size:
        return [token]
    ids = CodexTokenizer.from_config(old).encode(CodexTokenizer.from_config(new).token_bytes(token))
    return [int(number) for number in ids]


def embedding_rows(stored: Tensor, *, old: TokenizerConfig, new: TokenizerConfig) -> Tensor:
    """The rows of the new vocabulary, [new.true_vocab_size, H], from stored ones of the old, padding included."""
    rows = stored[: old.true_vocab_size]
    spellings = [spelling(token, old=old, new=new) for token in range(old.true_vocab_size, new.true_vocab_size)]
    added = [rows[ids].double().mean(dim=0).float() for ids in spellings]
    return torch.cat([rows, torch.stack(added)]) if added else rows.clone()
