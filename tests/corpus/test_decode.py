from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.corpus.decode import NotText, decode_source, decode_utf8


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param("x = 'é中'\n".encode(), "x = 'é中'\n", id="utf-8-by-default"),
        pytest.param("# coding: latin-1\nx = 'é'\n".encode("latin-1"), "# coding: latin-1\nx = 'é'\n", id="cookie"),
        pytest.param(
            b"#!/bin/sh\n# -*- coding: cp1252 -*-\n\x80", "#!/bin/sh\n# -*- coding: cp1252 -*-\n€", id="line-2"
        ),
        pytest.param(codecs.BOM_UTF8 + b"x = 1\n", "x = 1\n", id="mark-left-out"),
        pytest.param(b"x = 1\r\ny = 2\r\n", "x = 1\r\ny = 2\r\n", id="line-ends-kept"),
        pytest.param(b"", "", id="empty"),
        pytest.param(b"\0", "\0", id="nul-is-text"),
    ],
)
def test_a_file_is_read_as_python_would(data: bytes, text: str) -> None:
    assert decode_source(data) == text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"x = '\xe9'\n", id="latin-1-without-cookie"),
        pytest.param(b"x\n" * 1000 + b"\xff", id="fault-far-down"),
        pytest.param("x = 1\n".encode("utf-16"), id="utf-16"),
        pytest.param(b"# coding: klingon\n", id="unknown-encoding"),
        pytest.param(codecs.BOM_UTF8 + b"# coding: latin-1\n", id="mark-against-cookie"),
        pytest.param(b"# coding: rot13\nk = 1\n", id="rot13"),
        pytest.param(b"# coding: zlib\n", id="zlib"),
        pytest.param(b"# coding: unicode_escape\n'\\ud800'\n", id="unicode-escape"),
        pytest.param(b"# coding: raw-unicode-escape\n", id="raw-unicode-escape"),
        pytest.param(b"# coding: punycode\n" + b"a" * 900_000 + b"-b", id="quadratic-punycode"),
        pytest.param(b"# coding: idna\n" + b"a." * 400_000, id="quadratic-idna"),
        pytest.param(b"# coding: utf-7\n+2AA-\n", id="lone-surrogate"),
    ],
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(NotText):
        decode_source(data)


@given(st.one_of(st.binary(), st.binary().map(lambda data: b"# coding: " + data)))
def test_any_bytes_are_text_or_not_text(data: bytes) -> None:
    try:
        text = decode_source(data)
    except NotText:
        return
    assert isinstance(text.encode(), bytes)


@given(st.text())
def test_utf8_comes_back(text: str) -> None:
    data = ("#\n#\n" + text).encode()
    assert decode_source(data).encode() == data


def test_other_languages_are_utf8_whatever_they_declare() -> None:
    assert decode_utf8(codecs.BOM_UTF8 + "// coding: latin-1\r\né".encode()) == "// coding: latin-1\r\né"
    for data in (b"// coding: latin-1\n\xe9", "x".encode("utf-16"), b"\xed\xa0\x80"):
        with pytest.raises(NotText):
            decode_utf8(data)
