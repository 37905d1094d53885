"""Hold the time model against Megatron-LM's published runs on H100. By hand: python tests/planning/published_runs.py

Source: NVIDIA/Megatron-LM, README.md and images/model_table.png at commit d98e8a64 ("Performance Benchmarks":
vocabulary 131,072, sequence length 4,096, batch in sequences, end-to-end throughput).

The table does not give the micro-batch size, the interleaving or the recomputation; here: the fastest of 1, 2 and 4
that fits; as many chunks as divide a stage's layers, up to 5 (none without a pipeline); none. Those runs used
Transformer Engine's fused kernels and overlapped tensor-parallel collectives; this project's layers are plain torch. So
two numbers are given: "plain" is the model as it stands; "bound" leaves out operations bound by memory and
tensor-parallel collectives, as if fusion and overlap were perfect. A published run should lie between them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from megatron_codex.config.hardware import HardwareConfig
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.optimizer import OptimizerConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.config.planning import PlanConfig, PlannedTrainingConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import ConfigError
from megatron_codex.planning.hardware_files import load_hardware
from megatron_codex.planning.probe import Probe, probe
from megatron_codex.planning.search import Estimate, estimate
from megatron_codex.training.metrics import model_flops

VOCAB_SIZE = 131_072

# parameters, heads, hidden size, layers, tensor, pipeline, GPUs, batch, teraFLOP/s a GPU, MFU in per cent
ROWS = (
    ("1.7B", 16, 2048, 24, 1, 1, 48, 192, 408.8, 41),
    ("7.1B", 32, 4096, 30, 2, 1, 96, 192, 465.9, 47),
    ("16B", 48, 6144, 32, 4, 1, 192, 192, 489.1, 49),
    ("32B", 56, 7168, 48, 8, 1, 384, 192, 459.6, 46),
    ("70B", 64, 8192, 84, 8, 2, 768, 384, 419.7, 42),
    ("119B", 80, 10240, 92, 8, 4, 1536, 768, 420.5, 43),
    ("177B", 96, 12288, 96, 8, 6, 2304, 1152, 432.8, 44),
    ("314B", 128, 16384, 96, 8, 8, 3072, 1536, 474.4, 48),
    ("462B", 144, 18432, 112, 8, 16, 6144, 3072, 459.9, 47),
)


@dataclass(frozen=True, kw_only=True)
class PublishedTokenizer(TokenizerConfig):
    """A vocabulary that this project has no tokenizer for."""

    @property
    def true_vocab_size(self) -> int:
        return VOCAB_SIZE


def published_config(row: tuple[str, int, int, int, int, int, int, int, float, int]) -> PlanConfig:
    """A row of the table as a plan's configuration."""
    _, heads, hidden, layers, tensor, pipeline, world_size, batch, _, _ = row
    chunks = max(n for n in range(1, 6) if layers // pipeline % n == 0) if pipeline > 1 else 1
    return PlanConfig(
        model=ModelConfig(num_layers=layers, hidden_size=hidden, num_attention_heads=heads, seq_length=4096),
        tokenizer=PublishedTokenizer(),
        parallel=ParallelConfig(
            tensor_model_parallel_size=tensor,
            pipeline_model_parallel_size=pipeline,
            virtual_pipeline_model_parallel_size=chunks if chunks > 1 else None,
            sequence_parallel=tensor > 1,
            use_distributed_optimizer=True,
            overlap_grad_reduce=True,
            overlap_param_gather=True,
        ),
        optimizer=OptimizerConfig(lr=1e-4),
        training=PlannedTrainingConfig(train_iters=1, global_batch_size=batch, precision="bf16"),
        world_size=world_size,
    )


def without_memory_and_tensor_time(found: Probe) -> Probe:
    """The same costs with perfect fusion and overlap."""
    return replace(
        found,
        layer_operations=Counter({k: n for k, n in found.layer_operations.items() if k[1].sort != "memory"}),
        end_operations=Counter({k: n for k, n in found.end_operations.items() if k[1].sort != "memory"}),
        layer_collectives=Counter({c: n for c, n in found.layer_collectives.items() if c.group != "tensor"}),
        end_collectives=Counter({c: n for c, n in found.end_collectives.items() if c.group != "tensor"}),
    )


def guesses(config: PlanConfig, hardware: HardwareConfig, found: Probe) -> Iterator[Estimate]:
    """The row with each micro-batch size that divides its batch."""
    for size in (1, 2, 4):
        sized = replace(config, training=replace(config.training, micro_batch_size=size))
        try:
            sized.check_world_size(config.world_size)
        except ConfigError:
            continue
        yield estimate(sized, hardware, found)


def mfu(config: PlanConfig, hardware: HardwareConfig, found: Probe) -> float:
    """Model FLOP/s over the peak, as the table counts them: attention in full. Of the best micro-batch size."""
    tokens = config.training.global_batch_size * config.model.seq_length
    flops = model_flops(config.model, vocab_size=VOCAB_SIZE, num_positions=tokens, seq_length=config.model.seq_length)
    step_s = min(
        (guess.time.step_s for guess in guesses(config, hardware, found) if guess.peak_bytes <= hardware.usable_bytes),
        default=estimate(config, hardware, found).time.step_s,
    )
    return flops / step_s / hardware.peak_flops("bf16") / config.world_size


def main() -> None:
    hardware = load_hardware("h100-80")
    print("| model | published MFU | plain (error) | bound (error) |\n| --- | --- | --- | --- |")
    print(f"product efficiency {hardware.product_efficiency}")
    for row in ROWS:
        config = published_config(row)
        found = probe(config)
        published = row[8] * 1e12 / hardware.peak_flops("bf16")
        cells = []
        for costs in (found, without_memory_and_tensor_time(found)):
            share = mfu(config, hardware, costs)
            cells.append(f"{100 * share:.1f} % ({100 * (share / published - 1):+.0f} %)")
        print(f"| {row[0]} | {100 * published:.1f} % | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
