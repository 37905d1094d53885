"""Files to a corpus: unique, filtered documents in shards, and a manifest of what was dropped why (section 3.1).

Stages, each of many tasks (execution.py): units of the input to parts of filtered documents; equal documents found
among all parts; shards of those that are kept. OUTPUT.partial holds the parts and all between: a run that was killed
or stopped goes on from there. The shards' bytes depend on the input and the configuration only; of equal files the
first is kept.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.corpus.candidates import CONTAMINATED, DUPLICATE, KEPT, NEAR_DUPLICATE, REASONS, Tally
from megatron_codex.corpus.discover import Unit, find_units
from megatron_codex.corpus.divide import divide_units
from megatron_codex.corpus.duplicates import find_duplicates
from megatron_codex.corpus.execution import RunTasks, executor
from megatron_codex.corpus.pack import CODES, OUTCOMES, Shard, plan_shards, write_shard
from megatron_codex.corpus.parts import Extraction, PartList, extract, extraction_of, read_counts, read_facts
from megatron_codex.corpus.passes import contaminated, near_duplicates, require_problems
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_absent, sha256_file, sync_directory
from megatron_codex.jsonl import write_jsonl
from megatron_codex.manifest import write_manifest
from megatron_codex.unfinished import partial_path, unfinished_work

Codes = NDArray[np.uint8]

LEDGER = "contamination.jsonl"
"""Of the output: a line for each problem in each document, whatever became of the document."""


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


def build_corpus(config: CorpusConfig) -> CorpusSummary | None:
    """Read the inputs and make config.output: shards and manifest.json, whole or not at all.

    None: on MPI ranks but the first, which work for it. Raises: InputError when an input is missing, damaged as a whole
    or of no known kind, when the output exists, or when nothing is kept; WorkError when workers die again and again.
    """
    with executor(config, folder=partial_path(config.output) / "slurm") as run:
        if run is None:
            return None
        require_absent(config.output)
        require_problems(config.decontamination)
        units = find_units(config)
        # Parts are named by what they are made of: those that fit are of use to any build, and after bad input too.
        fingerprint = {"command": "build_corpus"}
        with unfinished_work(
            config.output, fingerprint=fingerprint, outputs=(config.output,), keep_on_bad_input=True
        ) as work:
            return _build(config, units, run, work.directory)


def _build(config: CorpusConfig, units: Sequence[Unit], run: RunTasks, work: Path) -> CorpusSummary:
    started_at = time.time()
    extractions, tally, digests = _read_all(config, units, run, work / "parts")
    stage = work / _stage_name(extractions, config)
    out = stage / "out"
    (out / "rejects" if config.keep_rejects else out).mkdir(parents=True, exist_ok=True)
    parts = PartList.make([task.part for task in extractions], stage)
    codes = _outcomes(config, parts, run, stage, out)
    _count_outcomes(parts, codes, tally)
    if not tally.files[KEPT]:
        raise _nothing_kept(config, tally)
    shards = plan_shards(parts, codes, out, shard_bytes=config.shard_bytes, keep_rejects=config.keep_rejects)
    run(partial(write_shard, folder=stage), shards, done=Shard.is_done, description="shards")
    if config.keep_rejects:
        for number, task in enumerate(extractions):
            if task.part.rejects.exists():
                shutil.copyfile(task.part.rejects, out / "rejects" / f"unit-{number:07}.parquet")
    write_manifest(
        out,
        command="build_corpus",
        config=config,
        inputs=[unit.path for unit in units if unit.path.is_file()],
        counts=_counts(tally),
        started_at=started_at,
        extra={
            "directories": {str(unit.path): _joined(digests[unit.path]) for unit in units if unit.path.is_dir()},
            "outputs": {shard.path.name: {"sha256": sha256_file(shard.path)} for shard in shards},
        },
    )
    if config.output.exists():
        config.output.rmdir()  # an empty directory, as require_absent saw
    out.replace(config.output)
    sync_directory(config.output.parent)
    return CorpusSummary(tally, [config.output / shard.path.name for shard in shards], time.time() - started_at)


def _read_all(
    config: CorpusConfig, units: Sequence[Unit], run: RunTasks, folder: Path
) -> tuple[list[Extraction], Tally, dict[Path, list[str]]]:
    """Each unit's task, done; the counts of all; the digests of each input's units."""
    folder.mkdir(exist_ok=True)
    units = divide_units(units, config, run=run, folder=folder)
    extractions = [extraction_of(unit, folder, config) for unit in units]
    run(partial(extract, config=config), extractions, done=Extraction.is_done, description="read and filter")
    tally = Tally()
    digests: dict[Path, list[str]] = defaultdict(list)
    for task in extractions:
        counts = read_counts(task.part)
        tally.add(counts.tally)
        digests[task.unit.path].append(counts.digest)
    if not tally.files[KEPT]:
        shutil.rmtree(folder)  # nothing to go on from
        raise _nothing_kept(config, tally)
    return extractions, tally, digests


def _outcomes(config: CorpusConfig, parts: PartList, run: RunTasks, stage: Path, out: Path) -> Codes:
    """What becomes of each document, [number of documents]: places in OUTCOMES. Saved for the shards' tasks."""
    codes = np.zeros(parts.num_documents, np.uint8)
    codes[find_duplicates(parts, run=run, folder=stage)] = OUTCOMES.index(DUPLICATE)
    if config.near_duplicates.enabled:
        alike = near_duplicates(parts, codes > 0, config.near_duplicates, run=run, folder=stage)
        codes[alike] = OUTCOMES.index(NEAR_DUPLICATE)
    if config.decontamination.problems:
        found, ledger = contaminated(parts, config.decontamination, run=run, folder=stage)
        codes[found & (codes == 0)] = OUTCOMES.index(CONTAMINATED)
        _write_ledger(out / LEDGER, ledger, codes)
    with atomic_file(stage / CODES) as handle:
        np.save(handle, codes)
    return codes


def _stage_name(extractions: Sequence[Extraction], config: CorpusConfig) -> str:
    """Changes with the parts and with what is done to them all: what an earlier run left is used only for the same."""
    names = [task.part.stem.name for task in extractions]
    problems = [sha256_file(path) for path in config.decontamination.problems]
    stages = (config.near_duplicates, config.decontamination, problems, config.shard_bytes, config.keep_rejects)
    return "merge-" + xxhash.xxh3_128_hexdigest(repr((names, stages)).encode())


def _write_ledger(path: Path, ledger: list[dict[str, Any]], codes: Codes) -> None:
    for row in ledger:
        row["outcome"] = OUTCOMES[codes[row.pop("document")]]
    write_jsonl(path, ledger)


def _count_outcomes(parts: PartList, codes: Codes, tally: Tally) -> None:
    for part, begin, end in zip(parts.parts, parts.first[:-1], parts.first[1:], strict=True):
        own, sizes = codes[begin:end], read_facts(part)["size_bytes"]
        for code in np.flatnonzero(np.bincount(own, minlength=len(OUTCOMES))[1:]) + 1:
            chosen = own == code
            tally.move(KEPT, OUTCOMES[code], int(sizes[chosen].sum()), files=int(chosen.sum()))


def _joined(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "files": {reason: tally.files[reason] for reason in (KEPT, *REASONS)},
        "bytes": {reason: tally.size_bytes[reason] for reason in (KEPT, *REASONS)},
    }


def _nothing_kept(config: CorpusConfig, tally: Tally) -> InputError:
    dropped = ", ".join(f"{tally.files[reason]} {reason}" for reason in REASONS if tally.files[reason])
    rule = f"no document was kept ({dropped or 'no Python file in it'})"
    inputs = ", ".join(map(str, config.input))
    return InputError(inputs, rule=rule, remedy="give other input, or other bounds with filters.*=")
