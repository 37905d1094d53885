from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_jsonl, write_jsonl

ROWS = [{"text": "é\n\u2028 line separator", "n": 1}, {"text": "\ud800 lone surrogate"}, {}]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_rows_come_back_as_they_went(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    assert write_jsonl(path, ROWS) == 3
    assert list(read_jsonl(path)) == ROWS


def test_equal_rows_give_equal_compressed_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_jsonl(tmp_path / name, ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"a": 1}\n{"a": \n', ":2: "),
        (b'{"a": 1}\n\n[1]\n', ":3: "),
        (b'{"a": 1}\n{"a": "\xff"}\n', "not readable as UTF-8"),
        (b"[" * 100_000, ":1: "),
    ],
    ids=["broken", "not-an-object", "not-utf8", "too-deep"],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, where: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=where):
        list(read_jsonl(path))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_stream_is_bad_input(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.jsonl{suffix}"
    write_jsonl(whole, [{"text": str(number) * 50} for number in range(2000)])
    cut = tmp_path / f"cut.jsonl{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut\.jsonl"):
        list(read_jsonl(cut))


def test_a_gz_name_on_plain_text_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_text('{"a": 1}\n')
    with pytest.raises(InputError, match=r"x\.jsonl\.gz"):
        list(read_jsonl(path))


def test_nothing_is_written_when_a_row_fails(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_jsonl(tmp_path / "x.jsonl", [{"a": 1}, {"a": object()}])
    assert list(tmp_path.iterdir()) == []


def test_gzip_reads_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert list(read_jsonl(path)) == [{"a": 1}]
