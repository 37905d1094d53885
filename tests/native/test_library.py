from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from megatron_codex.native import library as library_module
from megatron_codex.native.library import instructions, library
from megatron_codex.tokenizer.encoders import build_encoder


@pytest.fixture
def fresh() -> Iterator[None]:
    library.cache_clear()
    yield
    library.cache_clear()


def test_the_library_is_built_where_the_tests_run() -> None:
    assert instructions()[-1] == "scalar"


def test_without_the_library_its_twin_takes_over_and_says_so_once(
    fresh: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(library_module, "import_module", missing)
    with caplog.at_level(logging.WARNING):
        encoder = build_encoder({bytes([byte]): byte for byte in range(256)})
        assert instructions() == ()
    assert encoder.name == "tiktoken"
    assert len(caplog.records) == 1 and "install a C++17 compiler" in caplog.text


def test_faulty_arguments_are_refused_before_anything_is_read() -> None:
    native = library()
    assert native is not None
    tokens = [bytes([byte]) for byte in range(256)]
    tokenizer = native.Tokenizer(tokens, "scalar")
    faults = {
        "offsets: must rise": (b"abc", [0, 4]),
        "offsets: must rise ": (b"abc", [0, 2, 1]),
        "offsets: must rise from": (b"abc", [-1, 2]),
        "offsets: must be a list": (b"abc", []),
    }
    for message, (data, offsets) in faults.items():
        with pytest.raises(ValueError, match=message):
            tokenizer.encode_documents(data, offsets, is_utf8=False, end=-1, num_threads=1)
    with pytest.raises(ValueError, match="num_threads"):
        tokenizer.encode_documents(b"abc", [0, 3], is_utf8=False, end=-1, num_threads=0)
    with pytest.raises(ValueError, match="byte 255 has no token"):
        native.Tokenizer(tokens[:-1], "scalar")
    with pytest.raises(ValueError, match="token 256 has the bytes"):
        native.Tokenizer([*tokens, b"a"], "scalar")
    with pytest.raises(ValueError, match="must be avx512, avx2 or scalar"):
        native.Tokenizer(tokens, "mmx")
