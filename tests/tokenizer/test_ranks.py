from __future__ import annotations

import base64
import hashlib
import lzma
from pathlib import Path

import pytest

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.tokenizer import ranks as ranks_module
from megatron_codex.tokenizer.ranks import build_ranks, gpt2_ranks

# sha256 of the p50k_base.tiktoken that OpenAI publishes (tiktoken_ext/openai_public.py, expected_hash).
P50K_BASE_SHA256 = "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"


def test_all_ranks_are_openai_s_p50k_base_file() -> None:
    ranks = build_ranks(TokenizerConfig())
    lines = (
        base64.b64encode(token) + b" %d\n" % rank for token, rank in sorted(ranks.items(), key=lambda item: item[1])
    )
    assert hashlib.sha256(b"".join(lines)).hexdigest() == P50K_BASE_SHA256


def test_naming_the_full_size_gives_the_same_ids_as_naming_none() -> None:
    assert build_ranks(TokenizerConfig(vocab_size=50_281)) == build_ranks(TokenizerConfig())


def test_a_small_vocabulary_is_the_lowest_ranks_then_eod_then_the_runs() -> None:
    ranks = build_ranks(TokenizerConfig(vocab_size=300, min_run=2, max_run=5))
    assert len(ranks) == 299
    assert {rank: token for token, rank in ranks.items() if rank >= 296} == {
        296: b"  ",
        297: b"   ",
        298: b"    ",
        299: b"     ",
    }
    assert 295 not in ranks.values()
    assert {bytes([byte]) for byte in range(256)} <= set(ranks)
    assert all(gpt2_ranks()[token] == rank for token, rank in ranks.items() if rank < 295)


def test_without_runs_it_is_gpt2() -> None:
    assert build_ranks(TokenizerConfig(max_run=1)) == gpt2_ranks()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        pytest.param({"vocab_size": 280}, "vocab_size", id="no-room-for-bytes"),
        pytest.param({"vocab_size": 50_282}, "vocab_size", id="more-than-there-are"),
        pytest.param({"min_run": 1}, "min_run", id="a-run-of-one"),
        pytest.param({"min_run": 4, "max_run": 2}, "max_run", id="runs-end-before-they-start"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(values: dict[str, int], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenizerConfig(**values)
    assert [fault.field for fault in caught.value.faults] == [field]


@pytest.mark.parametrize("content", [None, b"not xz", lzma.compress(b"#version: 0.2\na b\n")], ids=str)
def test_a_damaged_merge_list_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "vocab.bpe.xz").write_bytes(content)
    monkeypatch.setattr(ranks_module.resources, "files", lambda package: tmp_path)
    gpt2_ranks.cache_clear()
    with pytest.raises(InputError, match=r"vocab\.bpe\.xz.*missing or damaged"):
        gpt2_ranks()
