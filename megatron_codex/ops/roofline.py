"""The least time of each kernel of csrc/kernels in a model's training step: computed from its shape, measured nowhere.

In: a model, tensor parallelism, a micro-batch, and a GPU's two rates. Out: bytes moved, floating-point operations and
the larger of their times, a line for each kernel. Every operand is counted once a pass over it; caches, launches and
the arithmetic units' other rates are left out, so a real kernel takes longer. None of these kernels uses tensor cores:
their operations are held against the vector units' fp32 rate.

Formulas are those of the comments in csrc/kernels/*.cu, which also have the times of the 12B model over 8 ranks: a test
holds them to what is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from megatron_codex.config.model import ModelConfig
from megatron_codex.errors import Fault, raise_faults

BF16_BYTES = 2
TRUE_VOCABULARY = 50_281
"""Ids of the Codex tokenizer (p50k_base with its special tokens), which the model's embedding is padded from."""
GELU_PARTIAL_SUMS, NORM_PARTIAL_SUMS = 128, 256
"""At most, of the parameters' gradients."""


DECODED_SAMPLES, DECODED_POSITIONS = 100, 256
"""Samples beside one prompt, as the paper draws for each problem to filter it, and the tokens that each has so far."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The rates that bound a kernel."""

    name: str
    source: str
    bytes_per_s: float
    fp32_flops: float
    bf16_flops: float
    """Dense, of the tensor cores: for the matrix products that the kernels stand beside."""


H100 = Gpu(
    name="H100 80GB SXM",
    source="NVIDIA H100 data sheet: 3.35 TB/s, fp32 67 TFLOP/s, bf16 1,979 TFLOP/s with sparsity, so 989.5 dense",
    bytes_per_s=3.35e12,
    fp32_flops=67e12,
    bf16_flops=989.5e12,
)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One kernel's least time."""

    kernel: str
    """Its file in csrc/kernels, and which of its passes."""
    work: str
    """On what, in words."""
    bytes_moved: float
    flops: float

    def seconds(self, gpu: Gpu) -> float:
        """The larger of the times of memory and of arithmetic."""
        return max(self.bytes_moved / gpu.bytes_per_s, self.flops / gpu.fp32_flops)

    def limit(self, gpu: Gpu) -> str:
        """Which of the two it is."""
        return "memory" if self.bytes_moved / gpu.bytes_per_s >= self.flops / gpu.fp32_flops else "fp32"


def bounds(
    model: ModelConfig, *, tensor_model_parallel_size: int, micro_batch_size: int, vocabulary: int = TRUE_VOCABULARY
) -> tuple[Bound, ...]:
    """Of one micro-batch in bf16 and one optimizer step, on one rank.

    Raises: ConfigError where tensor_model_parallel_size does not divide heads and MLP, or a size is below 1.
    """
    _check(model, tensor_model_parallel_size, micro_batch_size)
    given = (model, tensor_model_parallel_size, micro_batch_size)
    return (
        *_cross_entropy(*given, vocabulary),
        *_bias_gelu(*given),
        *_layer_norm(*given),
        *_causal_softmax(*given),
        *_flat_adam(model, tensor_model_parallel_size, vocabulary),
        *_shared_prefix(model, tensor_model_parallel_size),
    )


def roofline_table(model: ModelConfig, gpu: Gpu, *, tensor_model_parallel_size: int, micro_batch_size: int) -> str:
    """The bounds as Markdown, with what they were computed from."""
    sizes = {"tensor_model_parallel_size": tensor_model_parallel_size, "micro_batch_size": micro_batch_size}
    found = bounds(model, **sizes)
    lines = [
        f"Computed, not measured: {model.preset or 'a model'} of {model.num_layers} layers of {model.hidden_size}, "
        f"{model.num_attention_heads} heads, {model.seq_length} positions; TP {tensor_model_parallel_size}, "
        f"micro-batch {micro_batch_size}, bf16; {gpu.name} ({gpu.source}).",
        "",
        "| kernel | on | MB moved | MFLOP | at best, us | bound by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for bound in found:
        row = [f"{bound.bytes_moved / 1e6:,.2f}", f"{bound.flops / 1e6:,.1f}", f"{1e6 * bound.seconds(gpu):,.1f}"]
        lines.append(" | ".join(["| " + bound.kernel, bound.work, *row, bound.limit(gpu) + " |"]))
    return "\n".join(lines)


def _check(model: ModelConfig, tp_size: int, micro_batch_size: int) -> None:
    faults = []
    for field, value in (("tensor_model_parallel_size", tp_size), ("micro_batch_size", micro_batch_size)):
        if value < 1:
            faults.append(Fault(field=field, value=value, rule="must be at least 1", remedy="give a positive count"))
    if tp_size >= 1 and (model.num_attention_heads % tp_size or model.mlp_size % tp_size):
        rule = f"must divide {model.num_attention_heads} heads and an MLP of {model.mlp_size}"
        faults.append(Fault(field="tensor_model_parallel_size", value=tp_size, rule=rule, remedy="for example 1"))
    raise_faults(faults)


def _cross_entropy(model: ModelConfig, tp_size: int, samples: int, vocabulary: int) -> Iterator[Bound]:
    """All rows count, and the last rank's padding is left out. The pieces' forward pass, with what joins them."""
    rows, columns = samples * model.seq_length, -(-vocabulary // tp_size)
    logits = rows * columns
    work = f"{rows:,} x {columns:,} logits"
    moved = logits * BF16_BYTES + (9 + 12 + 28 + 12) * rows
    yield Bound(kernel="vocab_parallel_ce, forward", work=work, bytes_moved=moved, flops=5 * logits)
    moved = 2 * logits * BF16_BYTES
    yield Bound(kernel="vocab_parallel_ce, backward", work=work, bytes_moved=moved, flops=5 * logits)


def _bias_gelu(model: ModelConfig, tp_size: int, samples: int) -> Iterator[Bound]:
    rows, features = samples * model.seq_length, model.mlp_size // tp_size
    elements, bias = rows * features, features * BF16_BYTES
    work = f"{rows:,} x {features:,}, each of {model.num_layers} layers"
    moved = 2 * elements * BF16_BYTES + bias
    yield Bound(kernel="bias_gelu, forward", work=work, bytes_moved=moved, flops=12 * elements)
    moved = 3 * elements * BF16_BYTES + bias + (8 * min(GELU_PARTIAL_SUMS, rows) + 4) * features
    yield Bound(kernel="bias_gelu, backward", work=work, bytes_moved=moved, flops=22 * elements)


def _layer_norm(model: ModelConfig, tp_size: int, samples: int) -> Iterator[Bound]:
    rows = samples * -(-model.seq_length // tp_size)  # sequence parallelism shares the positions
    hidden, elements = model.hidden_size, rows * model.hidden_size
    work = f"{rows:,} x {hidden:,}, {2 * model.num_layers + 1} times"
    moved = 2 * elements * BF16_BYTES + 8 * rows + 2 * hidden * BF16_BYTES
    yield Bound(kernel="layer_norm, forward", work=work, bytes_moved=moved, flops=8 * elements)
    partial_sums = 16 * min(NORM_PARTIAL_SUMS, rows) * hidden
    moved = 3 * elements * BF16_BYTES + 8 * rows + hidden * BF16_BYTES + partial_sums + 8 * hidden
    yield Bound(kernel="layer_norm, backward", work=work, bytes_moved=moved, flops=15 * elements)


def _causal_softmax(model: ModelConfig, tp_size: int, samples: int) -> Iterator[Bound]:
    """Half of the scores are seen; all of the probabilities are written."""
    heads, positions = model.num_attention_heads // tp_size, model.seq_length
    scores, seen = samples * heads * positions**2, samples * heads * positions * (positions + 1) // 2
    work = f"{samples} x {heads} x {positions:,} x {positions:,} scores, each layer with attention_backend=unfused"
    yield Bound(kernel="causal_softmax, forward", work=work, bytes_moved=(seen + scores) * BF16_BYTES, flops=8 * seen)
    moved = (2 * seen + scores) * BF16_BYTES
    yield Bound(kernel="causal_softmax, backward", work=work, bytes_moved=moved, flops=5 * seen)


def _flat_adam(model: ModelConfig, tp_size: int, vocabulary: int) -> Iterator[Bound]:
    """fp32 gradients, three fp32 states, and bf16 parameters."""
    parameters = model.num_parameters(vocabulary) // tp_size
    work = f"{parameters / 1e6:,.0f} M parameters of this rank, no data-parallel sharing"
    yield Bound(kernel="flat_adam, norm", work=work, bytes_moved=4 * parameters, flops=2 * parameters)
    moved = (24 + 4 + BF16_BYTES) * parameters
    yield Bound(kernel="flat_adam, step", work=work, bytes_moved=moved, flops=15 * parameters)


def _shared_prefix(model: ModelConfig, tp_size: int) -> Iterator[Bound]:
    samples, own, heads = DECODED_SAMPLES, DECODED_POSITIONS, model.num_attention_heads // tp_size
    size, queries = model.hidden_size // model.num_attention_heads, samples * heads
    work = f"{samples} samples, {own} own positions, {heads} heads of {size}, each layer"
    yield Bound(
        kernel="decode_suffix",
        work=work,
        bytes_moved=(2 * own + 2) * queries * size * BF16_BYTES + 4 * queries + 4 * samples,
        flops=4 * queries * own * (size + 1),
    )
    moved = 3 * queries * size * BF16_BYTES + 12 * queries
    yield Bound(kernel="merge_attn_states", work=work, bytes_moved=moved, flops=(3 * size + 10) * queries)
