"""Problem sets to Problems: read, given a reference, verified in the judge, extended by a harvest, written down.

In: a MineConfig. Out: OUTPUT/problems.jsonl (every reference passes its own tests), without_reference.jsonl (tests, but
nobody's solution: for sampling and evaluation, not for training), dropped.jsonl, funnel.json, manifest.json, and with a
judge harvest.jsonl and submissions.jsonl. Codex paper, section 4.1. Memory: a batch of problems, and a hash of each.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from megatron_codex.config.contests import MineConfig
from megatron_codex.config.load import config_to_dict
from megatron_codex.files import atomic_directory, atomic_file, require_absent
from megatron_codex.jsonl import dump_line
from megatron_codex.log import progress
from megatron_codex.manifest import write_manifest
from megatron_codex.problems.contests.candidate import Candidate, Limits
from megatron_codex.problems.contests.formats import find_candidates, require_there
from megatron_codex.problems.contests.harvest import Harvester
from megatron_codex.problems.contests.journal import SubmissionJournal
from megatron_codex.problems.contests.references import References
from megatron_codex.problems.contests.site_client import HttpJudge
from megatron_codex.problems.contests.sorting import NO_REFERENCE, Sorter
from megatron_codex.problems.funnel import Funnel, write_funnel
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.unfinished import unfinished_work

logger = logging.getLogger(__name__)

_FILES = ("problems", "without_reference", "dropped")
_HARVEST = "harvest"
_BATCH = 128
_JOURNAL = "submissions.jsonl"
_NOT_THE_WORK = ("output", "timeout_s", "memory_bytes", "workers", "allow_level_b", "budget", "budget_per_problem")
"""What a run that goes on with a harvest may change."""


def mine_contests(config: MineConfig) -> Funnel:
    """Write the output directory; returns the funnel.

    A harvest that is stopped leaves OUTPUT.partial with its journal, and the same command goes on with it.
    Raises: InputError for inputs or references of no known form and an output that exists; WorkError when this machine
    cannot isolate programs, or the judge does not answer.
    """
    started_at = time.time()
    require_absent(config.output)
    for path in config.input:
        require_there(path)
    references = References(config.references)
    if config.judge is None:
        return _mine(config, references, None, started_at)
    judge = HttpJudge(config.judge)
    judge.task_ids()  # one that does not answer is named now, not after the first problems
    settings = {name: value for name, value in config_to_dict(config).items() if name not in _NOT_THE_WORK}
    fingerprint = {"command": "mine_contests.py", **settings}
    with (
        unfinished_work(
            config.output, fingerprint=fingerprint, outputs=[config.output], keep_on_bad_input=True
        ) as work,
        SubmissionJournal(work.directory / _JOURNAL) as journal,
    ):
        return _mine(config, references, Harvester(judge, journal, config), started_at)


def _mine(config: MineConfig, references: References, harvester: Harvester | None, started_at: float) -> Funnel:
    names = (*_FILES, *([_HARVEST] if harvester else []))
    with atomic_directory(config.output) as directory:
        with ExitStack() as stack:
            files = {name: stack.enter_context(atomic_file(directory / f"{name}.jsonl")) for name in names}
            pool = stack.enter_context(_pool(config))

            def write(name: str, row: dict[str, Any]) -> None:
                files[name].write(dump_line(row))

            sorter = Sorter(pool, write, min_outcomes=config.min_outcomes, harvester=harvester)
            for batch in _batches(_candidates(config, references)):
                sorter.sort(batch)
        if references.unused:
            logger.warning("%d references are of no problem of the inputs", len(references.unused))
        funnel = sorter.funnel
        if harvester:
            harvester.copy_journal(directory / _JOURNAL)
        write_funnel(directory / "funnel.json", funnel.to_json())
        inputs = [path for path in (*config.input, config.references) if path is not None and path.is_file()]
        counts: dict[str, Any] = {**funnel.counts, "without_reference": funnel.reasons["referenced"][NO_REFERENCE]}
        counts |= {"references_unused": len(references.unused)} if config.references else {}
        counts |= {"harvest": harvester.counts()} if harvester else {}
        write_manifest(
            directory,
            command="mine_contests.py",
            config=config,
            inputs=inputs,
            counts=counts,
            started_at=started_at,
        )
    return funnel


def _candidates(config: MineConfig, references: References) -> Iterator[Candidate]:
    limits = Limits(
        max_tests=config.max_tests, max_test_bytes=config.max_test_bytes, max_solutions=config.max_solutions
    )
    found = (each for path in config.input for each in find_candidates(path, config.format, limits))
    shown = progress(found, total=None, description="problems", unit="problems")
    return (references.add_to(each) for each in shown)


def _batches(candidates: Iterator[Candidate]) -> Iterator[list[Candidate]]:
    while batch := list(itertools.islice(candidates, _BATCH)):
        yield batch


def _pool(config: MineConfig) -> JudgePool:
    return JudgePool(
        config.workers,
        timeout_s=config.timeout_s,
        memory_bytes=config.memory_bytes,
        allow_level_b=config.allow_level_b,
    )
