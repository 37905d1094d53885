"""Which program each sample is, and of which task: a samples file in a few bytes a sample.

In: a samples file, problems. Out: arrays of numbers; equal completions of a task are one program. The programs
themselves stay in the file, which is read again when they are judged. Memory while it is read: 82 bytes a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_codex.errors import InputError
from megatron_codex.evaluation.pass_at_k import TaskCount
from megatron_codex.problems.samples import read_samples, source_of
from megatron_codex.records import Completion, Problem

Numbers = npt.NDArray[np.uint32]

_DIGEST_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class SampleIndex:
    """Samples, programs and tasks by number, each counted from 0 in the order in which it first comes."""

    path: Path
    tasks: list[str]
    program_of_sample: Numbers
    task_of_program: Numbers
    first_sample: Numbers
    """Of each program."""
    file_state: tuple[int, int]
    """Size and time of change of the file when it was read."""

    @property
    def num_samples(self) -> int:
        return len(self.program_of_sample)

    @property
    def num_programs(self) -> int:
        return len(self.task_of_program)

    def task_counts(self) -> dict[str, TaskCount]:
        """The samples of each task, before any is judged."""
        numbers = np.bincount(self.task_of_program[self.program_of_sample], minlength=len(self.tasks))
        return {
            task: TaskCount(num_samples=int(number), num_correct=0)
            for task, number in zip(self.tasks, numbers, strict=True)
        }

    def samples(self, problems: Mapping[str, Problem]) -> Iterator[Completion]:
        """The samples again, in order. Raises: InputError when the file is not the one that was indexed."""
        self._require_unchanged()
        number = 0
        for number, sample in enumerate(read_samples(self.path, problems, whole_programs=True), 1):
            if number > self.num_samples:
                break
            yield sample
        self._require_unchanged()
        assert number == self.num_samples

    def _require_unchanged(self) -> None:
        if _state_of(self.path) != self.file_state:
            remedy = "run again when nothing writes to it: what was judged of it is of the file as it was"
            raise InputError(str(self.path), rule="changed while it was judged", remedy=remedy)


def index_samples(path: Path, problems: Mapping[str, Problem]) -> SampleIndex:
    """Read and check every line. problems: by task_id.

    Raises: InputError naming the line, or a task of the samples that has no tests.
    """
    tasks: dict[str, int] = {}
    task_of_sample = bytearray()
    digests = bytearray()
    state = _state_of(path)
    for sample in read_samples(path, problems, whole_programs=True):
        problem = problems[sample.task_id]
        task = tasks.setdefault(problem.task_id, len(tasks))
        task_of_sample += task.to_bytes(4, "little")
        digest = hashlib.blake2b(task.to_bytes(8, "little"), digest_size=_DIGEST_BYTES)
        digest.update(source_of(sample, problem).encode(errors="surrogatepass"))
        digests += digest.digest()
    program_of_sample, first_sample = _number_equal_rows(digests)
    return SampleIndex(
        path=path,
        tasks=list(tasks),
        program_of_sample=program_of_sample,
        task_of_program=np.frombuffer(task_of_sample, "<u4")[first_sample],
        first_sample=first_sample,
        file_state=state,
    )


def _number_equal_rows(digests: bytearray) -> tuple[Numbers, Numbers]:
    """(number of each row's value, values numbered in the order in which they first come; first row of each value)."""
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = halves[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first_of_value = order[begins]  # lexsort is stable, so the first of equal rows leads
    by_first = np.argsort(first_of_value)
    number_of_value = np.empty(len(by_first), np.uint32)
    number_of_value[by_first] = np.arange(len(by_first), dtype=np.uint32)
    numbers = np.empty(len(order), np.uint32)
    numbers[order] = number_of_value[np.cumsum(begins) - 1]
    return numbers, first_of_value[by_first].astype(np.uint32)


def _state_of(path: Path) -> tuple[int, int]:
    if not path.exists():
        return 0, 0  # read_samples says what is wrong with it
    found = path.stat()
    return found.st_size, found.st_mtime_ns
