"""JSON Lines, plain or compressed (.gz, .zst): the form in which problems, samples and results travel."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_file

Row = dict[str, Any]

DECODE_ERRORS = (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
"""What reading a damaged file raises."""


def read_jsonl(path: Path | str) -> Iterator[Row]:
    """Yield each line's object; blank lines are skipped.

    Raises: InputError naming file and line for a line that is not one JSON object, or a broken compressed stream.
    """
    for _, row in read_numbered_jsonl(path):
        yield row


def read_numbered_jsonl(path: Path | str) -> Iterator[tuple[int, Row]]:
    """Yield (line number from 1, object); as read_jsonl, for callers that name the line of a bad row."""
    path = require_file(path, "JSON Lines")
    number = 0
    try:
        with open_bytes(path) as binary, io.TextIOWrapper(binary, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, parse_line(line, f"{path}:{number}")
    except DECODE_ERRORS as error:
        raise not_text(f"{path}:{number + 1}", error) from error


def not_text(where: str, error: Exception) -> InputError:
    """The error for bytes that are not UTF-8, or for a compressed stream that breaks off."""
    remedy = "the file is truncated or of another format: write it again from its source"
    return InputError(where, rule=f"not readable as UTF-8 text ({error})", remedy=remedy)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A JSON Lines file's bytes, decompressed by its suffix; reading may raise one of DECODE_ERRORS."""
    with path.open("rb") as raw:
        if path.suffix == ".gz":
            with gzip.open(raw, "rb") as handle:
                yield handle  # type: ignore[misc]
        elif path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
                yield stream
        else:
            yield raw


def write_jsonl(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows atomically (compressed by suffix) and return their number."""
    path = Path(path)
    count = 0
    with atomic_file(path) as raw, _compressing(path, raw) as binary:
        for row in rows:
            binary.write(dump_line(row))
            count += 1
    return count


def dump_line(row: Mapping[str, Any]) -> bytes:
    """One JSON line in UTF-8, newline included; lone surrogates are kept as \\u escapes."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row).encode() + b"\n"


def parse_line(line: str, where: str) -> Row:
    """The object of one line. where: "file:line", named by the InputError when it is not one JSON object."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            where,
            value=line.strip()[:60],
            rule=f"not valid JSON ({error})",
            remedy="one JSON object a line: mend or delete this line",
        ) from error
    if not isinstance(row, dict):
        raise InputError(
            where, value=line.strip()[:60], rule="not a JSON object", remedy="one JSON object a line: mend this line"
        )
    return row


@contextmanager
def _compressing(path: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        # No name and no time in the header: equal rows give equal bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as handle:
            yield handle  # type: ignore[misc]
    elif path.suffix == ".zst":
        with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as stream:
            yield stream
    else:
        yield raw
