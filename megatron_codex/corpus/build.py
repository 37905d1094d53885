"""Files to a corpus: unique, filtered documents in shards, and a manifest of what was dropped why (section 3.1).

Workers read and filter units of the input, each into a part file; the parent goes through the parts in the input's
order, drops texts seen before, and writes the shards. So the first of equal files is kept, and the shards' bytes
depend on the input and the configuration only.

Memory: a worker holds one file and a row group of text (16 MB); the parent as much, and about 100 bytes a unique
document. Disk: the parts are removed as they are merged.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from megatron_codex.config.corpus import CorpusConfig, FilterConfig
from megatron_codex.corpus.candidates import DUPLICATE, KEPT, REASONS, Candidate, Tally
from megatron_codex.corpus.discover import Unit, find_units
from megatron_codex.corpus.filters import examine
from megatron_codex.corpus.readers import read_unit
from megatron_codex.corpus.shards import DocumentWriter, Row, ShardWriter, read_documents
from megatron_codex.corpus.workers import map_in_order
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_directory, sha256_file
from megatron_codex.log import progress
from megatron_codex.manifest import write_manifest


@dataclass(frozen=True)
class Extract:
    """A worker's answer for one unit."""

    part: Path
    """Parquet file of the documents that passed the filters."""
    tally: Tally
    digest: str
    """Hash of every candidate's name and content: what the unit held, dropped files included."""


@dataclass
class CorpusSummary:
    """What a build did."""

    tally: Tally = field(default_factory=Tally)
    shards: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def num_files(self) -> int:
        """Files met, kept or dropped; a damaged archive counts as one."""
        return self.tally.files.total()

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """(reason, files, bytes): KEPT, then each reason that dropped a file, in the order in which they are tried."""
        for reason in (KEPT, *REASONS):
            if self.tally.files[reason] or reason == KEPT:
                yield reason, self.tally.files[reason], self.tally.size_bytes[reason]


def build_corpus(config: CorpusConfig) -> CorpusSummary:
    """Read the inputs and make config.output: shards and manifest.json, whole or not at all.

    Raises: InputError when an input is missing or of no known kind, when the output exists, or when nothing is kept;
    WorkError when a worker dies.
    """
    started_at = time.time()
    units = find_units(config)
    summary = CorpusSummary()
    digests: dict[Path, list[str]] = defaultdict(list)
    with atomic_directory(config.output) as directory:
        parts = directory / "parts"
        parts.mkdir()
        tasks = [(unit, parts / f"{number:07}.parquet") for number, unit in enumerate(units)]
        run = map_in_order(partial(extract, config=config.filters), tasks, num_workers=config.num_workers)
        seen: set[bytes] = set()
        with closing(run) as extracts, ShardWriter(directory, shard_bytes=config.shard_bytes) as shards:
            bar = progress(extracts, total=len(units), description="corpus", unit="units")
            for unit, done in zip(units, bar, strict=True):
                summary.tally.add(done.tally)
                digests[unit.path].append(done.digest)
                _merge(done.part, shards, seen, summary.tally)
                done.part.unlink()
        parts.rmdir()
        _require_documents(config, summary.tally)
        summary.shards = [config.output / path.name for path in shards.paths]
        write_manifest(
            directory,
            command="build_corpus",
            config=config,
            inputs=[unit.path for unit in units if unit.kind != "files"],
            counts=_counts(summary.tally),
            started_at=started_at,
            extra={
                "directories": {str(unit.path): _joined(digests[unit.path]) for unit in units if unit.kind == "files"},
                "outputs": {path.name: {"sha256": sha256_file(path)} for path in shards.paths},
            },
        )
    summary.seconds = time.time() - started_at
    return summary


def extract(task: tuple[Unit, Path], *, config: FilterConfig) -> Extract:
    """Read and filter one unit; the documents that pass go to the task's part file."""
    unit, part = task
    tally, digest = Tally(), hashlib.sha256()
    with part.open("wb") as handle, DocumentWriter(handle) as writer:
        for candidate in read_unit(unit, max_bytes=config.max_file_bytes):
            decision, text = examine(candidate, config)
            tally.count(decision.reason, candidate.size_bytes)
            digest.update(_identity(candidate))
            if decision.keep:
                writer.add(_row(candidate, text))
    return Extract(part, tally, digest.hexdigest())


def _merge(part: Path, shards: ShardWriter, seen: set[bytes], tally: Tally) -> None:
    """Append a part's new documents. Equal hashes are taken for equal texts: among 54 million files (the paper's
    repositories) the chance that two differing texts share 128 bits is 4e-24.
    """
    for row in read_documents(part):
        key = bytes.fromhex(row["hash"])
        if key in seen:
            tally.move(KEPT, DUPLICATE, row["size_bytes"])
        else:
            seen.add(key)
            shards.add(row)


def _row(candidate: Candidate, text: str) -> Row:
    return {
        "content": text,
        "path": _storable(candidate.path),
        "repository": _storable(candidate.repository),
        "licence": _storable(candidate.licence),
        "source": _storable(candidate.source),
        "size_bytes": candidate.size_bytes,
        "hash": xxhash.xxh3_128_hexdigest(text.encode()),
    }


def _storable(name: str) -> str:
    """A name as text: bytes of a file name that are not UTF-8 (surrogates in Python) become "?"."""
    return name.encode("utf-8", "replace").decode()


def _identity(candidate: Candidate) -> bytes:
    content = candidate.content
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    name = candidate.path.encode("utf-8", "surrogatepass")
    return b"%s\0%d\0%s\0%s" % (name, candidate.size_bytes, candidate.fault.encode(), xxhash.xxh3_128_digest(data))


def _joined(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "files": {reason: tally.files[reason] for reason in (KEPT, *REASONS)},
        "bytes": {reason: tally.size_bytes[reason] for reason in (KEPT, *REASONS)},
    }


def _require_documents(config: CorpusConfig, tally: Tally) -> None:
    if tally.files[KEPT]:
        return
    dropped = ", ".join(f"{tally.files[reason]} {reason}" for reason in REASONS if tally.files[reason])
    rule = f"no document was kept ({dropped or 'no Python file in it'})"
    inputs = ", ".join(map(str, config.input))
    raise InputError(inputs, rule=rule, remedy="give other input, or other bounds with filters.*=")
