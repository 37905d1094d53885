"""The tokenizer of a Hugging Face folder: ours written as tokenizer.json, theirs read and named as one of ours.

Out: GPT-2's merges, then for runs of spaces each pair of shorter runs that makes them; ids are ours on every text
(tests/convert/test_tokenizer.py). One thing differs: where a text has the characters "<|endoftext|>", transformers
reads the end of a document, unless it is told split_special_tokens; ours reads text, unless it is told allow_special.
In: the vocabulary of a folder (tokenizer.json, or vocab.json), which must be GPT-2's lowest ranks, the end of a
document, and runs of spaces or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert.huggingface_folder import read_json, write_json
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.tokenizer.codex import END_OF_DOCUMENT
from megatron_codex.tokenizer.ranks import build_ranks, gpt2_merges, printable

_TOKENIZER = "tokenizer.json"
_VOCABULARY = "vocab.json"
_ADDED = "added_tokens.json"
_NUM_BYTES = 256


def write_tokenizer(folder: Path, config: TokenizerConfig, *, seq_length: int) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    vocabulary = {printable(token): rank for token, rank in build_ranks(config).items()}
    vocabulary[END_OF_DOCUMENT] = config.num_ranks
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": config.num_ranks, "content": END_OF_DOCUMENT, **special}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # A piece that is a token is that token, as in ours: runs of spaces need it where min_run is above 2.
            "ignore_merges": True,
            "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
            "merges": [f"{printable(left)} {printable(right)}" for left, right in _merges(config)],
        },
    }
    write_json(folder / _TOKENIZER, content)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": seq_length,
            "bos_token": END_OF_DOCUMENT,
            "eos_token": END_OF_DOCUMENT,
            "unk_token": END_OF_DOCUMENT,
            # It would take spaces out of decoded code.
            "clean_up_tokenization_spaces": False,
        },
    )


def _merges(config: TokenizerConfig) -> list[tuple[bytes, bytes]]:
    """Pairs in order of priority. A run of spaces can come of any two shorter tokens: ours merges by what comes out."""
    merges = gpt2_merges()[: config.num_ranks - _NUM_BYTES]
    tokens = {1, *range(config.min_run, config.max_run + 1)}
    for length in range(config.min_run, config.max_run + 1):
        for left in range(length - 1, 0, -1):
            if {left, length - left} <= tokens:
                merges.append((b" " * left, b" " * (length - left)))
    return merges


def read_tokenizer(folder: Path) -> TokenizerConfig:
    """Which of our vocabularies a folder's tokenizer has.

    Raises: InputError when there is no tokenizer, or its tokens are none of ours; the first that differs is named.
    """
    path, ids = _vocabulary(folder)
    remedy = "only GPT-2's tokens, with or without runs of spaces after the end of a document, can be read"
    num_ranks = ids.get(END_OF_DOCUMENT)
    if num_ranks is None:
        raise InputError(str(path), rule=f"has no token {END_OF_DOCUMENT}", remedy=remedy)
    runs = sorted(len(token) for token, number in ids.items() if number > num_ranks and not token.strip("Ġ "))
    min_run, max_run = (runs[0], runs[-1]) if runs else (2, 1)
    try:
        config = TokenizerConfig(vocab_size=num_ranks + 1 + max_run - min_run + 1, min_run=min_run, max_run=max_run)
    except ConfigError as error:
        raise InputError(str(path), rule=str(error.faults[0]), remedy=remedy) from error
    expected = {rank: token for token, rank in build_ranks(config).items()} | {num_ranks: END_OF_DOCUMENT.encode()}
    found = {number: token for token, number in ids.items()}
    for number in sorted(expected.keys() | found.keys()):
        names = {END_OF_DOCUMENT} if number == num_ranks else _spellings(expected.get(number))
        if found.get(number) not in names:
            rule = f"id {number} must be {expected.get(number)!r}"
            raise InputError(str(path), value=found.get(number), rule=rule, remedy=remedy)
    return config


def _spellings(token: bytes | None) -> set[str]:
    """A token as vocabularies write it: by stand-ins, and runs of spaces, as added tokens, plainly."""
    if token is None:
        return set()
    return {printable(token)} | ({token.decode()} if not token.strip(b" ") else set())


def _vocabulary(folder: Path) -> tuple[Path, dict[str, int]]:
    path = folder / _TOKENIZER
    if path.is_file():
        content = read_json(path, "a tokenizer")
        added = {item["content"]: item["id"] for item in content.get("added_tokens", [])}
        return path, _ids(path, content.get("model", {}).get("vocab")) | _ids(path, added)
    path = folder / _VOCABULARY
    if not path.is_file():
        rule = f"has neither {_TOKENIZER} nor {_VOCABULARY}: what the ids mean is not known"
        raise InputError(str(folder), rule=rule, remedy="copy the model's tokenizer files, too")
    added_path = folder / _ADDED
    added = read_json(added_path, "added tokens") if added_path.is_file() else {}
    return path, _ids(path, read_json(path, "a vocabulary")) | _ids(added_path, added)


def _ids(path: Path, content: Any) -> dict[str, int]:
    if not isinstance(content, Mapping) or not all(isinstance(number, int) for number in content.values()):
        raise InputError(str(path), rule="must have a vocabulary of tokens and ids", remedy="copy it again")
    return {str(token): int(number) for token, number in content.items()}
