"""Units that are large files to ranges of them, so that many workers read one file.

In: units, in order. Out: units, in order, whose documents are those of the first, in their order.
Divided are JSON Lines (at line ends), Parquet (at row groups) and plain tars, in which a first pass over the headers
finds where members begin: a task of its own for each, since it takes a good part of what reading takes. A compressed
file is one stream, into which only its first byte leads; a zip's and a repository's directory would have to be read for
each range: these stay whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.corpus.discover import Unit
from megatron_codex.corpus.execution import RunTasks
from megatron_codex.corpus.line_ranges import byte_ranges
from megatron_codex.corpus.parts import unit_name
from megatron_codex.corpus.readers import container_of
from megatron_codex.corpus.tables import open_parquet
from megatron_codex.corpus.tars import tar_ranges
from megatron_codex.files import atomic_file

RANGE_BYTES = 64_000_000
"""Of a range, about: seconds of work. Smaller files are not divided."""
_COMPRESSED = 8
"""Times that text shrinks in Parquet, at most about: smaller files are not looked into."""
DIVIDED_TAR_BYTES = 250_000_000
"""Smaller tars are read whole: the pass over their headers would cost more than it gains."""
_DIVIDED_TAR_SHARE = 0.01
"""Of all the input's bytes, likewise: where every tar is less, there are enough tasks."""


@dataclass(frozen=True)
class _Pass:
    """A task: where the members of a tar begin."""

    unit: Unit
    output: Path
    range_bytes: int

    def __str__(self) -> str:
        return str(self.unit)

    def is_done(self) -> bool:
        return self.output.exists()


def divide_units(units: Sequence[Unit], config: CorpusConfig, *, run: RunTasks, folder: Path) -> list[Unit]:
    """The units, large files among them as several. folder: takes what the passes over tars found.

    Raises: InputError for a Parquet file that is damaged.
    """
    total = sum(_size(unit) for unit in units if unit.kind not in ("files", "git"))
    large = [unit for unit in units if _is_plain_tar(unit) and _size(unit) >= _DIVIDED_TAR_SHARE * total]
    passes = {unit: _pass(unit, config, folder) for unit in large}
    if passes:
        function = partial(_find_ranges, max_bytes=config.filters.max_file_bytes)
        run(function, list(passes.values()), done=_Pass.is_done, description="headers of tars")
    divided: list[Unit] = []
    for unit in units:
        if unit in passes:
            for begin, end, licence in json.loads(passes[unit].output.read_text()):
                divided.append(replace(unit, begin=begin, end=end, licence=licence and tuple(licence)))
        else:
            divided += [replace(unit, begin=begin, end=end) for begin, end in _ranges(unit)]
    return divided


def _is_plain_tar(unit: Unit) -> bool:
    return unit.kind == "tar" and unit.path.suffix.lower() == ".tar" and _size(unit) >= DIVIDED_TAR_BYTES


def _size(unit: Unit) -> int:
    return unit.path.stat().st_size


def _ranges(unit: Unit) -> list[tuple[int, int]]:
    whole = [(unit.begin, unit.end)]
    if unit.kind == "jsonl" and unit.path.suffix.lower() == ".jsonl" and _size(unit) > RANGE_BYTES:
        return byte_ranges(_size(unit), RANGE_BYTES)
    if unit.kind == "parquet" and _size(unit) > RANGE_BYTES // _COMPRESSED:
        groups = _row_groups(unit.path)
        return groups if len(groups) > 1 else whole
    return whole


def _row_groups(path: Path) -> list[tuple[int, int]]:
    """Ranges of row groups of at least RANGE_BYTES before compression, but for the last."""
    with open_parquet(path) as file:
        borders, size = [0], 0
        for number in range(file.metadata.num_row_groups):
            if size >= RANGE_BYTES:
                borders.append(number)
                size = 0
            size += file.metadata.row_group(number).total_byte_size
        return list(pairwise([*borders, file.metadata.num_row_groups]))


def _pass(unit: Unit, config: CorpusConfig, folder: Path) -> _Pass:
    settings = {"max_file_bytes": config.filters.max_file_bytes, "range_bytes": RANGE_BYTES}
    return _Pass(unit, folder / f"ranges-{unit_name(unit, settings)}.json", RANGE_BYTES)


def _find_ranges(task: _Pass, *, max_bytes: int) -> None:
    unit = task.unit
    found = tar_ranges(
        unit.path,
        container_of(unit, max_bytes=max_bytes),
        max_archive_bytes=unit.max_archive_bytes,
        range_bytes=task.range_bytes,
    )
    with atomic_file(task.output, "w") as handle:
        json.dump([(each.begin, each.end, each.licence) for each in found], handle)
