"""The lines of a JSON Lines file that begin in a range of its bytes, so that many can read one file.

In: a .jsonl(.gz|.zst) file and a range. Out: its lines in blocks, or as objects. Ranges that lie end to end in a file
have each of its lines once. Memory: three times _BLOCK_BYTES, or three times the longest line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from megatron_codex.errors import InputError
from megatron_codex.files import require_file
from megatron_codex.jsonl import DECODE_ERRORS, Row, not_text, open_bytes, parse_line

WHOLE = range(sys.maxsize)
"""All positions of any file."""

_BLOCK_BYTES = 8_000_000
_COMPRESSED_READ_BYTES = 1 << 18


def byte_ranges(size: int, range_bytes: int) -> list[tuple[int, int]]:
    """(first byte, one past the last) of ranges that cover a plain file of `size` bytes."""
    return [(begin, min(begin + range_bytes, size)) for begin in range(0, size, range_bytes)]


def line_place(path: Path, positions: range, number: int) -> str:
    """ "file:line" of a line that is counted from 1 in a range. Reads all that is before the range."""
    return f"{path}:{_count_lines(path, positions.start) + number}"


def read_rows(path: Path, positions: range = WHOLE) -> Iterator[tuple[int, Row]]:
    """Yield (line from 1, counted in the range, and its object); blank lines are skipped.

    Raises: InputError naming file and line (counted in the file) of a line that is not one JSON object.
    """
    require_file(path, "JSON Lines")
    number = 1
    try:
        for block in line_blocks(path, positions):
            for line in bytes(block).removesuffix(b"\n").split(b"\n"):
                text = line.decode()
                if text.strip():
                    yield number, _object_of(text, path, positions, number)
                number += 1
    except DECODE_ERRORS as error:
        raise not_text(line_place(path, positions, number), error) from error


def _object_of(text: str, path: Path, positions: range, number: int) -> Row:
    try:
        return parse_line(text, "")
    except InputError as error:  # where it is costs a look at all lines before it: asked for now only
        where = line_place(path, positions, number)
        raise InputError(where, value=error.value, rule=error.rule, remedy=error.remedy) from error


def line_blocks(path: Path, positions: range) -> Iterator[memoryview]:
    """The lines that begin at one of the positions, in blocks of whole lines; of a compressed file, of what it holds.

    What can be read before an error is given before it. Raises: one of DECODE_ERRORS.
    """
    with open_bytes(path) as binary:
        yield from _whole_lines(
            binary, positions, read_bytes=_BLOCK_BYTES if path.suffix == ".jsonl" else _COMPRESSED_READ_BYTES
        )


def _whole_lines(binary: IO[bytes], positions: range, *, read_bytes: int) -> Iterator[memoryview]:
    """The lines that begin at one of the positions, in blocks. What can be read before an error is given before it."""
    if positions.start:
        binary.seek(positions.start - 1)
        position = positions.start - 1 + len(binary.readline())
    else:
        position = 0
    pending = b""
    reads = _blocks(binary, read_bytes)
    while position < positions.stop:
        content = next(reads, None)
        if content is None:
            if pending:
                yield memoryview(pending)
            return
        block = pending + content
        end = block.rfind(b"\n") + 1
        if end > positions.stop - position:
            # The last line that belongs here is the one that ends at the first line feed from there.
            yield memoryview(block)[: block.index(b"\n", positions.stop - position - 1) + 1]
            return
        if end:
            yield memoryview(block)[:end]
        pending = block[end:]
        position += end


def _blocks(binary: IO[bytes], read_bytes: int) -> Iterator[bytes]:
    """The stream in blocks of about _BLOCK_BYTES, the last shorter; an error comes after what was read before it."""
    while True:
        reads: list[bytes] = []
        fault: Exception | None = None
        try:
            while len(reads) * read_bytes < _BLOCK_BYTES and (content := binary.read(read_bytes)):
                reads.append(content)
        except DECODE_ERRORS as error:
            fault = error
        if reads:
            yield reads[0] if len(reads) == 1 else b"".join(reads)
        if fault is not None:
            raise fault
        if not reads:
            return


def _count_lines(path: Path, end: int) -> int:
    """Lines that begin before a position at which one begins, or in which the position lies."""
    if end == 0:
        return 0
    count = 0
    with path.open("rb") as handle:
        while end > 0 and (content := handle.read(min(end, _BLOCK_BYTES))):
            count += content.count(b"\n")
            end -= len(content)
            last = content
    return count + (not last.endswith(b"\n"))
