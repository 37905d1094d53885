"""The texts of a JSON Lines file in batches (text_batches.py), read from any position in it.

In: a .jsonl(.gz|.zst) file, a range of its bytes, the field that holds the text. Out: TextBatches of the lines that
begin in the range, in order.

The C++ library (csrc/cpu/json) takes the texts out of the lines it has no doubt about; the others, and all where there
is no library, go through Python's parser, which decides what they mean and says what is wrong with them.

Memory: as line_ranges.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_codex.corpus.line_ranges import line_blocks, line_place
from megatron_codex.corpus.text_batches import TextBatch, no_text
from megatron_codex.errors import InputError
from megatron_codex.jsonl import DECODE_ERRORS, not_text, parse_line
from megatron_codex.native.library import library

_TEXT, _BLANK, _DOUBTFUL = range(3)  # csrc/cpu/json/lines.h


@dataclass(frozen=True, kw_only=True)
class LineTexts:
    """The texts of a block of lines."""

    texts: bytes | memoryview
    """End to end, of the lines of kind _TEXT."""
    text_starts: NDArray[np.int64]
    """Where each line's begins, and the end, [num_lines + 1]."""
    line_starts: NDArray[np.int64]
    """Where each line begins in the block, and its end, [num_lines + 1]."""
    kinds: NDArray[np.uint8]
    """_TEXT, _BLANK, or _DOUBTFUL: Python's parser is to decide. [num_lines]"""


def line_batches(path: Path, positions: range, key: str) -> Iterator[TextBatch]:
    """The texts of the lines that begin at one of the positions; blank lines are skipped.

    positions: in bytes, of the file; of a compressed file, of what it holds, from 0.
    Raises: InputError naming file and line (from 1) of a line that is no JSON object or has no text under `key`.
    """
    num_lines = 0
    blocks = line_blocks(path, positions)
    while True:
        try:
            block = next(blocks, None)
        except DECODE_ERRORS as error:
            raise not_text(line_place(path, positions, num_lines + 1), error) from error
        if block is None:
            return
        found = extract_texts(block, key)
        parsed: dict[int, bytes | None] = {}
        for line in np.flatnonzero(found.kinds == _DOUBTFUL).tolist():
            try:
                parsed[line] = _parsed_text(bytes(block[found.line_starts[line] : found.line_starts[line + 1]]), key)
            except UnicodeDecodeError as error:
                raise not_text(line_place(path, positions, num_lines + line + 1), error) from error
            except InputError as error:
                where = line_place(path, positions, num_lines + line + 1)
                raise InputError(where, value=error.value, rule=error.rule, remedy=error.remedy) from error
        num_lines += len(found.kinds)
        yield _batch(found, parsed)


def extract_texts(block: memoryview, key: str) -> LineTexts:
    """The texts under `key` of a block of whole lines, as far as the C++ library has no doubt; without it, of none."""
    native = library()
    if native is not None:
        texts, text_starts, line_starts, kinds = native.extract_texts(block, key=key)
        return LineTexts(texts=texts.data, text_starts=text_starts, line_starts=line_starts, kinds=kinds)
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    if len(ends) == 0 or ends[-1] != len(block):
        ends = np.append(ends, len(block))
    return LineTexts(
        texts=b"",
        text_starts=np.zeros(len(ends) + 1, np.int64),
        line_starts=np.concatenate([[0], ends]),
        kinds=np.full(len(ends), _DOUBTFUL, np.uint8),
    )


def _parsed_text(content: bytes, key: str) -> bytes | None:
    """A line's text by Python's parser; None when it is blank. The InputError that it raises names no place."""
    line = content.decode()
    if not line.strip():
        return None
    row = parse_line(line, "")
    text = row.get(key)
    if not isinstance(text, str):
        raise no_text("", key, list(row))
    return text.encode("utf-8", "surrogatepass")


def _batch(found: LineTexts, parsed: dict[int, bytes | None]) -> TextBatch:
    """What the library found and what was parsed, in the order of the lines."""
    sizes = np.diff(found.text_starts)
    kept = found.kinds != _BLANK
    pieces: list[bytes | memoryview] = []
    start = 0
    for line, text in parsed.items():
        stop = int(found.text_starts[line])
        pieces += [found.texts[start:stop], text or b""]
        start = stop
        kept[line] = text is not None
        sizes[line] = len(text or b"")
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[kept])])
    data = b"".join([*pieces, found.texts[start:]]) if parsed else found.texts
    return TextBatch(data=data, offsets=offsets, is_utf8=not parsed)  # a parsed one may hold lone surrogates
