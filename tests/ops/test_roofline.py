"""The computed table: known counts, and the rule that a byte or an operation more never takes less time."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.config.model import ModelConfig
from megatron_codex.errors import ConfigError
from megatron_codex.ops.roofline import H100, Bound, bounds, roofline_table

KERNELS = Path(__file__).parents[2] / "csrc" / "kernels"
SMALL = {"num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 8}


def _by_name(model: ModelConfig, **sizes: int) -> dict[str, Bound]:
    return {bound.kernel: bound for bound in bounds(model, **sizes)}


def test_counts_of_a_small_model() -> None:
    found = _by_name(ModelConfig(**SMALL), tensor_model_parallel_size=2, micro_batch_size=3, vocabulary=101)
    rows, columns = 3 * 8, 51
    # Logits in bf16, read; pieces: 21 bytes a row, loss: 40.
    assert found["vocab_parallel_ce, forward"].bytes_moved == rows * (2 * columns + 61)
    assert found["bias_gelu, forward"].bytes_moved == 2 * 2 * rows * 128 + 2 * 128
    assert found["layer_norm, forward"].bytes_moved == 3 * 4 * (2 * 2 * 64 + 8) + 2 * 2 * 64
    assert found["causal_softmax, forward"].flops == 8 * 3 * 2 * (8 * 9 / 2)
    parameters = (2 * (12 * 64**2 + 13 * 64) + 2 * 64 + (101 + 8) * 64) // 2
    assert found["flat_adam, step"].bytes_moved == 30 * parameters


@pytest.mark.parametrize("source", sorted(KERNELS.glob("*.cu")), ids=lambda path: path.stem)
def test_each_kernels_file_says_its_time(source: Path) -> None:
    """Of the 12B model over 8 ranks; a change of its formula must reach both places."""
    found = _by_name(ModelConfig(preset="codex_12b"), tensor_model_parallel_size=8, micro_batch_size=1)
    own = {name.partition(", ")[2]: bound for name, bound in found.items() if name.partition(",")[0] == source.stem}
    times = ", ".join(f"{part} {1e6 * bound.seconds(H100):,.1f} us".strip() for part, bound in own.items())
    said = f"// At best, computed: codex_12b at TP = 8, micro-batch 1, on an {H100.name}: {times}.\n"
    assert own and said in source.read_text(encoding="utf-8"), said


def test_the_larger_time_bounds() -> None:
    memory = Bound(kernel="a", work="", bytes_moved=3.35e12, flops=1)
    arithmetic = Bound(kernel="b", work="", bytes_moved=1, flops=2 * 67e12)
    assert (memory.seconds(H100), memory.limit(H100)) == (1.0, "memory")
    assert (arithmetic.seconds(H100), arithmetic.limit(H100)) == (2.0, "fp32")


def test_the_table_says_what_it_is() -> None:
    table = roofline_table(ModelConfig(preset="codex_12b"), H100, tensor_model_parallel_size=8, micro_batch_size=1)
    assert table.startswith("Computed, not measured: codex_12b of 40 layers of 5120, 40 heads")
    assert H100.source in table and table.count("\n") == 3 + 12
    assert table in (KERNELS.parents[1] / "docs" / "ops.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("size", [0, 3])
def test_a_size_that_does_not_divide_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="tensor_model_parallel_size: got"):
        bounds(ModelConfig(**SMALL), tensor_model_parallel_size=size, micro_batch_size=1)
