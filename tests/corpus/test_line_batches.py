"""The texts of JSON Lines against Python's parser, line by line: with the C++ library, without, and from any byte."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from megatron_codex.corpus import line_batches as module
from megatron_codex.corpus import line_ranges
from megatron_codex.corpus.line_batches import extract_texts, line_batches
from megatron_codex.errors import InputError
from megatron_codex.native.library import library

TEXT, BLANK, DOUBTFUL = range(3)
ALL = range(1 << 60)


@pytest.fixture(params=["native", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "python":
        monkeypatch.setattr(module, "library", lambda: None)
    elif library() is None:
        pytest.skip("the C++ library is not built")
    return str(request.param)


def texts(path: Path, positions: range = ALL, key: str = "text") -> list[bytes]:
    found = []
    for batch in line_batches(path, positions, key):
        ends = batch.offsets.tolist()
        found += [bytes(batch.data[start:end]) for start, end in pairwise(ends)]
        if batch.is_utf8:
            bytes(batch.data).decode()
    return found


def by_python(line: bytes, key: str = "text") -> bytes | None:
    """The text of a line, None when it has none: what json.loads says."""
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    text = row.get(key) if isinstance(row, dict) else None
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else None


def by_library(line: bytes) -> tuple[int, bytes]:
    found = extract_texts(memoryview(line), "text")
    assert found.line_starts.tolist() == [0, len(line)]
    return int(found.kinds[0]), bytes(found.texts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(st.sampled_from(["text", "texts", "é", "a"]), JSON, max_size=4) | JSON


@pytest.mark.skipif(library() is None, reason="the C++ library is not built")
@settings(max_examples=300, deadline=None)
@given(
    row=ROWS,
    ascii_only=st.booleans(),
    damage=st.none()
    | st.tuples(st.integers(0, 200), st.sampled_from([b"", b'"', b"\\", b"}", b"\x00", b"\xff", b","])),
)
@example(row={"text": "\U0001f600 \ud800"}, ascii_only=True, damage=None)
@example(row={"text": "x" * 9 + '\\"\n\t\r\b\f/'}, ascii_only=True, damage=None)
def test_the_library_decides_as_python_does_or_not_at_all(
    row: object, ascii_only: bool, damage: tuple[int, bytes] | None
) -> None:
    line = json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if damage is not None:
        position = damage[0] % (len(line) + 1)
        line = line[:position] + damage[1] + line[position + 1 :]
    line = line.replace(b"\n", b" ") or b" "
    kind, text = by_library(line)
    if kind == TEXT:
        assert text == by_python(line)
    elif kind == BLANK:
        assert not line.strip()
        assert text == b""
    else:
        assert text == b""


@pytest.mark.skipif(library() is None, reason="the C++ library is not built")
@pytest.mark.parametrize(
    "line",
    [
        b'{"text": "plain"}',
        b' \t{ "a" : [1, -0.5e+3, {"b": [], "c": {}}, true, false, null] , "text" : "\\u00e9\\ud83d\\ude00\\/" } \r',
        b'{"text": "no", "text": "yes"}',
        '{"text": "é中😀", "é": "\\n"}'.encode(),
        b'{"text": ""}',
        b'{"text": "' + b"a" * 1000 + b'\\n"}',
    ],
    ids=lambda line: line[:20].decode(),
)
def test_usual_lines_need_no_python(line: bytes) -> None:
    assert by_library(line) == (TEXT, by_python(line))


@pytest.mark.skipif(library() is None, reason="the C++ library is not built")
@pytest.mark.parametrize(
    "line",
    [
        b'{"text": "a"',
        b'{"text": "a"} x',
        b'{"text": "a",}',
        b'{"text": "a" "b": 1}',
        b'{"text": "a\\x"}',
        b'{"text": "a\\u12g4"}',
        b'{"text": "a\tb"}',
        b'{"text": "a\x80"}',
        b'{"text": "\xed\xa0\x80"}',
        b'{"a": "\xff", "text": "a"}',
        b'{"a": 01, "text": "a"}',
        b'{"a": .5, "text": "a"}',
        b'{"a": 1., "text": "a"}',
        b'{"a": NaN, "text": "a"}',
        b'{"a": tru, "text": "a"}',
        b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b', "text": "a"}',
        b'{"a": ' + b"1" * 5000 + b', "text": "a"}',
        b'{"\\u0074ext": "b", "text": "a"}',
        b'{"text": "\\ud800"}',
        b'{"text": "\\udc00\\ud800"}',
        b'{"text": "a", "text": null}',
        b'{"text": 1, "text": "a"}',
        b'["text"]',
        b'"text"',
        b"{}",
        b"\xef\xbb\xbf{}",
        b"\x0c",
    ],
    ids=lambda line: repr(line[:24]),
)
def test_whatever_is_unusual_is_left_to_python(line: bytes) -> None:
    assert by_library(line) == (DOUBTFUL, b"")


LINES = [
    b'{"text": "one"}',
    b"",
    b'{"a": NaN, "text": "two \xc3\xa9"}',
    b" \t\r",
    b'{"text": "\\ud800"}',
    b'{"text": ""}',
    b'{"a": {"text": "x"}, "text": "a longer line than the others"}',
    b"\xe3\x80\x80",
    b'{"text": "last"}',
]
EXPECTED = [text for line in LINES if line.decode().strip() for text in [by_python(line)] if text is not None]


@pytest.mark.parametrize("block_bytes", [1, 17, 64, 8_000_000])
@pytest.mark.parametrize("end", [b"", b"\n"], ids=["no-newline", "newline"])
@pytest.mark.usefixtures("parser")
def test_any_division_of_the_bytes_gives_each_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, end: bytes
) -> None:
    monkeypatch.setattr(line_ranges, "_BLOCK_BYTES", block_bytes)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(LINES) + end)
    size = path.stat().st_size
    assert texts(path) == EXPECTED
    for cut in range(size + 1):
        assert texts(path, range(cut)) + texts(path, range(cut, size)) == EXPECTED


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.usefixtures("parser")
def test_compressed_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(line_ranges, "_COMPRESSED_READ_BYTES", 7)
    monkeypatch.setattr(line_ranges, "_BLOCK_BYTES", 20)
    compress = gzip.compress if suffix == ".gz" else zstandard.compress
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compress(b"\n".join(LINES)))
    assert texts(path) == EXPECTED


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(b'{"text": 5}', "needs a text under 'text'; 'text' holds no text", id="no-text"),
        pytest.param(b'{"a": 1, "b": 2}', "needs a text under 'text'; has the fields a, b", id="no-key"),
        pytest.param(b'{"text": "x"', r"""got '\{"text": "x"'; not valid JSON \(Expecting ',' delimiter""", id="json"),
        pytest.param(b"[1]", r"got '\[1\]'; not a JSON object", id="no-object"),
        pytest.param(b'{"text": "\xff"}', "not readable as UTF-8 text .*0xff in position 10", id="no-utf-8"),
    ],
)
@pytest.mark.parametrize("start", [0, 1, 20], ids=lambda start: f"from-{start}")
@pytest.mark.usefixtures("parser")
def test_the_line_is_named_wherever_reading_begins(tmp_path: Path, line: bytes, message: str, start: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n\n{"text": "good too"}\n' + line + b"\n")
    with pytest.raises(InputError, match=rf"a\.jsonl:4: {message}"):
        texts(path, range(start, path.stat().st_size))


@pytest.mark.usefixtures("parser")
def test_a_broken_stream_is_named_by_the_line_it_breaks_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_ranges, "_COMPRESSED_READ_BYTES", 100)
    path = tmp_path / "a.jsonl.gz"
    content = b"".join(b'{"text": "%d"}\n' % number for number in range(100_000))
    path.write_bytes(gzip.compress(content)[:-200])
    with pytest.raises(InputError, match=r"a\.jsonl\.gz:\d{5}: not readable as UTF-8 text \(Compressed file ended"):
        texts(path)
