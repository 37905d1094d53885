"""The exported tokenizer under the tokenizers library: our ids on every text, and its vocabulary read back."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert.huggingface_tokenizer import read_tokenizer, write_tokenizer
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.codex import CodexTokenizer
from megatron_codex.tokenizer.ranks import build_ranks, printable

CONFIGS = {
    "codex": TokenizerConfig(),
    "gpt2": TokenizerConfig(max_run=1),
    "small": TokenizerConfig(vocab_size=1000),
    "long_runs": TokenizerConfig(vocab_size=400, min_run=4, max_run=9),
}
_WHITE = st.text(alphabet=" \n\t\r\u00a0\u2003\u3000\x85", max_size=40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("tokenizers")
    for name, config in CONFIGS.items():
        (directory / name).mkdir()
        write_tokenizer(directory / name, config, seq_length=64)
    return {name: directory / name for name in CONFIGS}


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest, folders: dict[str, Path]) -> tuple[CodexTokenizer, Tokenizer]:
    name = request.param
    return CodexTokenizer.from_config(CONFIGS[name]), Tokenizer.from_file(str(folders[name] / "tokenizer.json"))


def _require_equal(pair: tuple[CodexTokenizer, Tokenizer], text: str) -> None:
    ours, theirs = pair
    ids = ours.encode(text).tolist()
    assert theirs.encode(text).ids == ids, repr(text)[:200]
    assert theirs.decode(ids) == text


def test_ids_are_equal_on_the_standard_library(pair: tuple[CodexTokenizer, Tokenizer]) -> None:
    size = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        _require_equal(pair, text)
        size += len(text)
        if size > 400_000:
            return


def test_ids_are_equal_on_runs_of_every_length(pair: tuple[CodexTokenizer, Tokenizer]) -> None:
    """A run of spaces is put together from shorter ones, also where it is longer than any token."""
    for length in (*range(1, 80), 100, 101, 127, 128, 255, 256, 257, 1000):
        for text in (" " * length, "x" + " " * length + "y", "\n" + " " * length + "\n", "-" * length, "\t" * length):
            _require_equal(pair, text)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.one_of(st.text(max_size=30), _WHITE, st.text("ab_('s=0", max_size=30)), max_size=6))
def test_ids_are_equal_on_any_text(pair: tuple[CodexTokenizer, Tokenizer], parts: list[str]) -> None:
    text = "".join(parts)
    if not any("\ud800" <= char <= "\udfff" for char in text):
        _require_equal(pair, text)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_written_tokenizer_is_read_as_itself(folders: dict[str, Path], name: str) -> None:
    found, expected = read_tokenizer(folders[name]), CONFIGS[name]
    assert found.true_vocab_size == expected.true_vocab_size
    assert (found.num_ranks, found.num_runs) == (expected.num_ranks, expected.num_runs)
    assert build_ranks(found) == build_ranks(expected)


def test_gpt_2_s_first_files_and_added_runs_are_read(tmp_path: Path) -> None:
    """vocab.json alone, and runs of spaces as added tokens, as CodeGen's tokenizer has them."""
    vocabulary = {printable(token): rank for token, rank in build_ranks(TokenizerConfig(max_run=1)).items()}
    vocabulary["<|endoftext|>"] = 50256
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    assert read_tokenizer(tmp_path).true_vocab_size == 50257
    (tmp_path / "added_tokens.json").write_text(json.dumps({" " * run: 50255 + run for run in range(2, 26)}))
    assert build_ranks(read_tokenizer(tmp_path)) == build_ranks(TokenizerConfig())


def test_another_vocabulary_is_refused_with_its_first_difference(folders: dict[str, Path], tmp_path: Path) -> None:
    content = json.loads((folders["gpt2"] / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    by_id = {number: token for token, number in vocabulary.items()}
    vocabulary[by_id[300]], vocabulary[by_id[301]] = 301, 300
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"tokenizer\.json: got .*; id 300 must be b"):
        read_tokenizer(tmp_path)
    content["model"]["vocab"] = {"a": 0}
    content["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no token <\|endoftext\|>"):
        read_tokenizer(tmp_path)
