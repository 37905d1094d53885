"""The tokens and their ids: GPT-2's merge list in, {bytes: id} out (Codex paper, section 3.2).

Ids, whatever the size: the lowest ranks of GPT-2 (256 bytes, then merges in order of rank), the end of a document, the
runs of spaces from short to long. With every rank and runs of 2..25 spaces these are the ids of OpenAI's p50k_base.
"""

from __future__ import annotations

import hashlib
import lzma
from functools import lru_cache
from importlib import resources
from itertools import accumulate, pairwise

from megatron_codex.config.tokenizer import NUM_GPT2_RANKS, TokenizerConfig
from megatron_codex.errors import InputError

_MERGES_FILE = "vocab.bpe.xz"
_MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
"""Of the uncompressed file; equal to the hash that OpenAI's tiktoken expects of GPT-2's vocab.bpe."""


def build_ranks(config: TokenizerConfig) -> dict[bytes, int]:
    """Every token's bytes and id, the end of a document (id `config.num_ranks`) left out.

    A rank is a merge's priority too, so a run of spaces is merged out of shorter runs. With min_run above 2 there are
    none to merge out of: a run of a token's exact length is still that token, a longer one becomes single spaces.
    """
    num_ranks = config.num_ranks
    ranks = {token: rank for token, rank in gpt2_ranks().items() if rank < num_ranks}
    first_run = num_ranks + 1
    for rank, length in enumerate(range(config.min_run, config.max_run + 1), first_run):
        ranks[b" " * length] = rank
    return ranks


@lru_cache(maxsize=1)
def gpt2_ranks() -> dict[bytes, int]:
    """GPT-2's 50,256 ranks: the 256 bytes in its order, then each line of the merge list joined.

    Raises: InputError when the shipped merge list is damaged.
    """
    ranks = {bytes([byte]): rank for rank, byte in enumerate(_byte_of_char().values())}
    for left, right in gpt2_merges():
        ranks[left + right] = len(ranks)
    assert len(ranks) == NUM_GPT2_RANKS
    return ranks


def gpt2_merges() -> list[tuple[bytes, bytes]]:
    """GPT-2's 50,000 merges in order of priority: merge i makes the token of rank 256 + i.

    Raises: InputError when the shipped merge list is damaged.
    """
    halves = " ".join(_merge_lines()).split(" ")
    stand_for = str.maketrans({char: chr(byte) for char, byte in _byte_of_char().items()})
    content = "".join(halves).translate(stand_for).encode("latin-1")  # a byte for each character: all in one go
    ends = list(accumulate(map(len, halves), initial=0))
    tokens = [content[start:end] for start, end in pairwise(ends)]
    return list(zip(tokens[::2], tokens[1::2], strict=True))


def printable(token: bytes) -> str:
    """A token as GPT-2's files write it: each byte by its printable stand-in.

    >>> printable(b" a")
    'Ġa'
    """
    return token.decode("latin-1").translate(_stand_ins())


@lru_cache(maxsize=1)
def _stand_ins() -> dict[int, str]:
    return {byte: char for char, byte in _byte_of_char().items()}


def _byte_of_char() -> dict[str, int]:
    """The printable stand-in that the merge list uses for each byte, in the order of the bytes' ranks.

    Printable Latin-1 characters stand for themselves; the other 68 bytes follow as characters 256, 257, ...
    """
    byte_of = {chr(byte): byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "}
    others = [byte for byte in range(256) if chr(byte) not in byte_of]
    return byte_of | {chr(256 + index): byte for index, byte in enumerate(others)}


def _merge_lines() -> list[str]:
    file = resources.files("megatron_codex.tokenizer") / _MERGES_FILE
    try:
        content = lzma.decompress(file.read_bytes())
    except (FileNotFoundError, lzma.LZMAError) as error:
        raise _damaged(str(file), str(error)) from error
    if hashlib.sha256(content).hexdigest() != _MERGES_SHA256:
        raise _damaged(str(file), "other bytes than GPT-2's")
    header, *lines = content.decode().splitlines()
    assert header.startswith("#version")
    return lines


def _damaged(file: str, what: str) -> InputError:
    return InputError(file, rule=f"the shipped merge list is missing or damaged ({what})", remedy="install again")
