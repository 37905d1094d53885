from __future__ import annotations

import multiprocessing
import pickle
import random
import sysconfig
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiktoken_ext.openai_public import r50k_pat_str

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.tokenizer.codex import CodexTokenizer
from megatron_codex.tokenizer.ranks import build_ranks

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])

# GPT-2's own pattern, from its encoder.py, of which p50k_base's is a faster rewriting.
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

# What source code is made of, so that pieces, runs of spaces, contractions and faulty bytes meet.
SNIPPETS = [b"def ", b"    ", b"  ", b" ", b"\n", b"\r\n", b"\t", b"x1", b"don't", b"'ll", b"==", b"1234", b"\xc3\xa9"]
FAULTY = [b"\xff", b"\xc3", b"\xe4\xb8", b"\xed\xa0\x80", b"\x00", b"\x85", b"\xc2\x85", b"\xe3\x80\x80"]

code_like = st.lists(st.sampled_from(SNIPPETS + FAULTY), max_size=24).map(b"".join)


@lru_cache
def oracle() -> tiktoken.Encoding:
    """tiktoken's p50k_base: its pattern, and ranks proved equal to OpenAI's file in test_ranks.py."""
    return encoding_with(r50k_pat_str)


def encoding_with(pattern: str) -> tiktoken.Encoding:
    ranks, special = build_ranks(TokenizerConfig()), {"<|endoftext|>": 50256}
    return tiktoken.Encoding("oracle", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


@lru_cache
def tokenizer() -> CodexTokenizer:
    return CodexTokenizer()


def test_known_ids() -> None:
    ids = tokenizer().encode("def f(x):\n    if x:\n        return x\n")
    assert ids.tolist() == [4299, 277, 7, 87, 2599, 198, 50258, 611, 2124, 25, 198, 50262, 1441, 2124, 198]
    assert ids.dtype == np.uint16


@pytest.mark.parametrize("length", [1, 2, 3, 24, 25, 26, 60])
def test_a_run_of_spaces_is_as_few_tokens_as_openai_s(length: int) -> None:
    text = " " * length + "x"
    assert tokenizer().encode(text).tolist() == oracle().encode_ordinary(text)
    if 3 <= length <= 26:
        assert tokenizer().encode(text).tolist() == [50257 + length - 3, 2124]


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_text_gives_the_oracle_s_ids_and_comes_back(text: str) -> None:
    ids = tokenizer().encode(text)
    assert ids.tolist() == oracle().encode_ordinary(text)
    assert tokenizer().encode(text.encode()).tolist() == ids.tolist()
    assert tokenizer().decode(ids).decode() == text


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=200), code_like))
@example(b"ab  \n \xff  cd")
@example(b"\xff")
def test_any_bytes_give_the_oracle_s_ids_and_come_back(data: bytes) -> None:
    ids = tokenizer().encode(data)
    assert ids.tolist() == oracle()._encode_bytes(data)
    assert tokenizer().decode(ids) == data


def test_ten_thousand_random_byte_strings() -> None:
    source = random.Random(0)
    for _ in range(10_000):
        data = source.randbytes(source.randrange(64))
        ids = tokenizer().encode(data)
        assert ids.tolist() == oracle()._encode_bytes(data)
        assert tokenizer().decode(ids) == data


@pytest.mark.parametrize("every", [pytest.param(8, id="eighth"), pytest.param(1, id="whole", marks=pytest.mark.slow)])
def test_the_standard_library_gives_the_oracle_s_ids(every: int) -> None:
    paths = [path for path in sorted(STANDARD_LIBRARY.rglob("*.py")) if "site-packages" not in path.parts]
    assert len(paths) > 500
    for path in paths[::every]:
        assert np.array_equal(tokenizer().encode(path.read_bytes()), oracle()._encode_bytes(path.read_bytes())), path


def test_gpt2_s_own_pattern_gives_the_same_ids() -> None:
    gpt2 = encoding_with(GPT2_PATTERN)
    for path in sorted(STANDARD_LIBRARY.glob("[a-d]*.py")):
        assert tokenizer().encode(path.read_bytes()).tolist() == gpt2._encode_bytes(path.read_bytes()), path


@pytest.mark.parametrize(
    "unit", [" ", "\n", "\t", "\xa0", " \n", "\u3000\r\n"], ids=["space", "newline", "tab", "nbsp", "mixed", "wide"]
)
@pytest.mark.parametrize("tail", ["", "x", " x", "x\ny"], ids=repr)
def test_cutting_a_long_run_of_white_space_changes_no_id(unit: str, tail: str) -> None:
    """At a length that tiktoken itself still takes, above the length from which runs are cut."""
    text = "a" + unit * (120_000 // len(unit)) + tail
    assert tokenizer().encode(text).tolist() == oracle()._encode_bytes(text.encode())
    data = text.encode() + b"\xff  z"
    assert tokenizer().encode(data).tolist() == oracle()._encode_bytes(data)


@pytest.mark.parametrize("unit", [" ", "\n", "\xa0", "a", "=", "7", "中"], ids=repr)
def test_a_line_of_a_million_characters_is_encoded(unit: str) -> None:
    data = (unit * 1_000_000 + "\nx").encode()
    assert tokenizer().decode(tokenizer().encode(data)) == data


@pytest.mark.parametrize("text", ["\ud800", "a \udfff  b", "\ud83d\ude00", "é\ud800"], ids=ascii)
def test_lone_surrogates_are_kept(text: str) -> None:
    assert tokenizer().decode(tokenizer().encode(text)).decode("utf-8", "surrogatepass") == text


def test_the_end_of_document_in_a_file_is_text() -> None:
    assert tokenizer().encode("<|endoftext|>").tolist() == [27, 91, 437, 1659, 5239, 91, 29]
    assert 50256 not in tokenizer().encode(b"\xff<|endoftext|>")


@pytest.mark.parametrize("text", ["a  <|endoftext|> b<|endoftext|>", "<|endoftext|>", "none"], ids=repr)
def test_the_end_of_document_is_special_on_request(text: str) -> None:
    expected = oracle().encode(text, allowed_special="all")
    assert tokenizer().encode(text, allow_special=True).tolist() == expected
    assert tokenizer().encode(text.encode(), allow_special=True).tolist() == expected
    assert tokenizer().decode(expected) == text.encode()


def test_nothing_encodes_to_nothing() -> None:
    assert tokenizer().encode("").tolist() == tokenizer().encode(b"").tolist() == []
    assert tokenizer().encode("").dtype == np.uint16
    assert tokenizer().decode([]) == b""


@pytest.mark.parametrize("vocab_size", [281, 512, 1_000, 8_192, 50_281])
def test_a_small_vocabulary_loses_nothing_and_names_no_id_beyond_it(vocab_size: int) -> None:
    small = CodexTokenizer(vocab_size)
    data = Path(__file__).read_bytes() + b"\xff\x00 \xc3" + "é中".encode() + b" " * 100
    ids = small.encode(data)
    assert small.vocab_size == vocab_size
    assert small.decode(ids) == data
    assert ids.max() < vocab_size
    assert small.eod not in ids
    assert small.token_bytes(small.eod) == b"<|endoftext|>"


def test_runs_can_be_left_out() -> None:
    plain = CodexTokenizer(max_run=1)
    assert plain.vocab_size == 50_257
    assert plain.encode("     x").tolist() == [220, 220, 220, 220, 2124]


def test_every_token_has_its_bytes() -> None:
    ranks = build_ranks(TokenizerConfig())
    assert all(tokenizer().token_bytes(rank) == token for token, rank in ranks.items())


@pytest.mark.parametrize("token", [-1, 50_281, 65_535])
def test_an_id_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(InputError, match=f"token id: got {token}; must lie between 0 and 50280"):
        tokenizer().decode([0, token])


@pytest.mark.parametrize(("multiple", "padded"), [(1, 50_281), (128, 50_304), (1024, 51_200), (50_281, 50_281)])
def test_the_padded_size_is_the_next_multiple(multiple: int, padded: int) -> None:
    assert tokenizer().padded_vocab_size(multiple) == padded
    assert tokenizer().vocab_size == 50_281


def test_the_padded_size_needs_a_multiple() -> None:
    with pytest.raises(InputError, match="vocabulary padding"):
        tokenizer().padded_vocab_size(0)


def test_a_faulty_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size: got 10"):
        CodexTokenizer(10)


def test_a_pickled_tokenizer_is_the_same_and_small() -> None:
    small = CodexTokenizer(512, max_run=4)
    content = pickle.dumps(small)
    assert len(content) < 200
    assert pickle.loads(content).config == small.config


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_tokenizer_works_in_another_process(method: str) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        assert executor.submit(tokenizer().encode, "  x").result().tolist() == tokenizer().encode("  x").tolist()
