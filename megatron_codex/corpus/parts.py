"""One unit of the input to one part: the documents that passed the filters, and what later stages need to know of them.

In: a Unit. Out: PART.parquet (documents), PART.npy (a FACTS record a document), PART.json (counts; written last, so it
says that the part is whole), and PART.rejects.parquet on request. Memory: three times _BATCH_BYTES of text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.config.load import config_to_dict
from megatron_codex.corpus.candidates import KEPT, Candidate, Tally
from megatron_codex.corpus.discover import Unit
from megatron_codex.corpus.filters import Examined, examine
from megatron_codex.corpus.readers import read_unit
from megatron_codex.corpus.shards import REJECTS_SCHEMA, SCHEMA, TableWriter
from megatron_codex.corpus.statistics import hash_text
from megatron_codex.files import atomic_file

FACTS = np.dtype([("hash_low", np.uint64), ("hash_high", np.uint64), ("size_bytes", np.int64)])
"""Of a document in a part: XXH3-128 of its text in UTF-8, and the size of its file."""

_BATCH_BYTES = 16_000_000


@dataclass(frozen=True)
class Part:
    """The files that come of a unit."""

    stem: Path

    @property
    def documents(self) -> Path:
        """Parquet of SCHEMA; absent when there are none."""
        return self.stem.with_suffix(".parquet")

    @property
    def facts(self) -> Path:
        """Array of FACTS, one record a document."""
        return self.stem.with_suffix(".npy")

    @property
    def rejects(self) -> Path:
        """Parquet of REJECTS_SCHEMA, on request; absent when there are none."""
        return self.stem.with_suffix(".rejects.parquet")

    @property
    def counts(self) -> Path:
        """JSON of PartCounts; there when the part is whole."""
        return self.stem.with_suffix(".json")


@dataclass(frozen=True)
class Extraction:
    """A task: read a unit, write its part."""

    unit: Unit
    part: Part

    def __str__(self) -> str:
        return str(self.unit)

    def is_done(self) -> bool:
        """Whether the part is whole."""
        return self.part.counts.exists()


@dataclass(frozen=True)
class PartCounts:
    """What a unit held."""

    tally: Tally
    digest: str
    """Of a unit of a directory or repository: hash of every candidate's name and content, dropped files included."""


@dataclass(frozen=True, eq=False)
class PartList:
    """Parts in the input's order; their documents are numbered through."""

    parts: list[Part]
    first: NDArray[np.int64]
    """Number of each part's first document, and of all documents, [len(parts) + 1]."""

    @classmethod
    def make(cls, parts: Sequence[Part], folder: Path) -> PartList:
        """Count the documents, and save the list for tasks on other machines."""
        first = np.cumsum([0, *(len(read_facts(part)) for part in parts)], dtype=np.int64)
        with atomic_file(folder / "first.npy") as handle:
            np.save(handle, first)
        with atomic_file(folder / "parts.json", "w") as handle:
            json.dump([str(part.stem) for part in parts], handle)
        return cls(list(parts), first)

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls, folder: Path) -> PartList:
        """The list that `make` saved, read once by each process: its tasks all ask for it."""
        stems = json.loads((folder / "parts.json").read_text())
        return cls([Part(Path(stem)) for stem in stems], np.load(folder / "first.npy"))

    @property
    def num_documents(self) -> int:
        """Documents in all parts."""
        return int(self.first[-1])


def extraction_of(unit: Unit, folder: Path, config: CorpusConfig) -> Extraction:
    """The unit's task. The part's name changes with the unit's files (names, sizes, times) and with what is done."""
    settings = {"filters": config_to_dict(config.filters), "keep_rejects": config.keep_rejects}
    return Extraction(unit, Part(folder / unit_name(unit, settings)))


def unit_name(unit: Unit, settings: Mapping[str, Any]) -> str:
    """A name for what is made of a unit, which changes with its files, with what is read of them, and with settings."""
    chosen = [unit.selection.languages, unit.selection.notebooks, unit.max_archive_bytes]
    if unit.kind == "git":
        chosen.append(unit.git_timeout_s)
    of_it = [unit.begin, unit.end, unit.licence]
    content = [unit.kind, str(unit.path), unit.names, of_it, _states(unit), chosen, settings]
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())


def extract(task: Extraction, *, config: CorpusConfig) -> None:
    """Read and filter a unit; write its part. Raises: InputError as read_unit."""
    part = task.part
    tally, digest = Tally(), hashlib.sha256()
    in_directory = task.unit.path.is_dir()  # any other input is hashed as a file
    facts: list[NDArray[Any]] = [np.empty(0, FACTS)]
    with TableWriter(part.documents, SCHEMA) as documents, TableWriter(part.rejects, REJECTS_SCHEMA) as rejects:
        for batch in _batches(read_unit(task.unit, max_bytes=config.filters.max_file_bytes)):
            examined = examine(batch, config.filters)
            for candidate, reason in zip(batch, examined.reasons, strict=True):
                tally.count(reason, candidate.size_bytes)
                if in_directory:
                    digest.update(_identity(candidate))
            kept = examined.kept()
            facts.append(_facts(examined, kept))
            documents.add(_documents(examined, kept), facts[-1]["size_bytes"])
            if config.keep_rejects:
                rejects.add(*_rejects(examined))
    with atomic_file(part.facts) as handle:
        np.save(handle, np.concatenate(facts))
    with atomic_file(part.counts, "w") as handle:
        json.dump({"files": tally.files, "bytes": tally.size_bytes, "digest": digest.hexdigest()}, handle)


def read_counts(part: Part) -> PartCounts:
    """The counts of a part that is whole."""
    content = json.loads(part.counts.read_text())
    return PartCounts(Tally.of(content["files"], content["bytes"]), content["digest"])


def read_facts(part: Part) -> NDArray[Any]:
    """FACTS of the part's documents, [number of documents], memory-mapped."""
    array: NDArray[Any] = np.load(part.facts, mmap_mode="r")
    return array


def _states(unit: Unit) -> list[tuple[int, int]]:
    """Size and time of change of each file that the unit reads, or that says what it reads."""
    if unit.kind == "files":
        paths = [unit.path / name for name in unit.names]
    elif unit.kind == "git":
        paths = [unit.path / "HEAD", unit.path / "packed-refs", *sorted((unit.path / "refs").rglob("*"))]
    else:
        paths = [unit.path]
    states = []
    for path in paths:
        try:
            status = path.lstat()
            states.append((status.st_size, status.st_mtime_ns))
        except OSError:
            states.append((-1, -1))
    return states


def _batches(found: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    batch: list[Candidate] = []
    num_bytes = 0
    for candidate in found:
        batch.append(candidate)
        num_bytes += len(candidate.content)
        if num_bytes >= _BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _facts(examined: Examined, kept: NDArray[np.int64]) -> NDArray[Any]:
    facts = np.empty(len(kept), FACTS)
    facts["hash_low"], facts["hash_high"] = examined.facts["hash_low"][kept], examined.facts["hash_high"][kept]
    facts["size_bytes"] = [examined.candidates[i].size_bytes for i in kept.tolist()]
    return facts


def _documents(examined: Examined, kept: NDArray[np.int64]) -> pa.Table:
    columns = _columns([examined.candidates[i] for i in kept.tolist()])
    low, high = examined.facts["hash_low"][kept].tolist(), examined.facts["hash_high"][kept].tolist()
    columns["hash"] = pa.array(map(hash_text, low, high), pa.string())
    columns["content"] = _texts(examined).take(pa.array(kept))
    return pa.table(columns).select(SCHEMA.names).cast(SCHEMA)


def _texts(examined: Examined) -> pa.Array:
    """Every candidate's text, without a copy of the batch."""
    buffers = [None, pa.py_buffer(examined.offsets), pa.py_buffer(examined.data)]
    return pa.Array.from_buffers(pa.large_string(), len(examined.candidates), buffers)


def _rejects(examined: Examined) -> tuple[pa.Table, NDArray[np.int64]]:
    dropped = [i for i, reason in enumerate(examined.reasons) if reason != KEPT]
    found = [examined.candidates[i] for i in dropped]
    columns = _columns(found)
    columns["reason"] = pa.array([examined.reasons[i] for i in dropped], pa.string())
    columns["content"] = pa.array(map(_raw, found), pa.binary())
    table = pa.table(columns).select(REJECTS_SCHEMA.names).cast(REJECTS_SCHEMA)
    return table, np.array([len(_raw(candidate)) for candidate in found], np.int64)


def _columns(found: Sequence[Candidate]) -> dict[str, pa.Array]:
    names = {name: [_storable(getattr(item, name)) for item in found] for name in _NAMES}
    columns = {name: pa.array(values, pa.string()) for name, values in names.items()}
    columns["size_bytes"] = pa.array([item.size_bytes for item in found], pa.int64())
    return columns


_NAMES = ("path", "repository", "licence", "language", "source")


def _storable(name: str) -> str:
    """A name as text: bytes of a file name that are not UTF-8 (surrogates in Python) become "?"."""
    return name.encode("utf-8", "replace").decode()


def _raw(candidate: Candidate) -> bytes:
    content = candidate.content
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content


def _identity(candidate: Candidate) -> bytes:
    name = candidate.path.encode("utf-8", "surrogatepass")
    data = xxhash.xxh3_128_digest(_raw(candidate))
    return b"%s\0%d\0%s\0%s" % (name, candidate.size_bytes, candidate.fault.encode(), data)
