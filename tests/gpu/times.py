"""Times of the CUDA kernels beside torch, torch.compile, Transformer Engine, Apex, Liger and flash-attn. Needs a GPU.

    python tests/gpu/times.py [--preset codex_12b] [--tensor-model-parallel-size 8] [--output times.md]

Writes a table: for each operation and each program that is installed, the median of CUDA events over 50 calls, taken in
turns, and beside it the least time that ops/roofline.py computes for this shape on an H100. A program that is not
installed is a line that says so. The results here are pending: no GPU was available where this was written.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F

from megatron_codex.config.model import ModelConfig
from megatron_codex.files import atomic_file
from megatron_codex.ops import bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax
from megatron_codex.ops.cuda_library import why_missing
from megatron_codex.ops.roofline import DECODED_POSITIONS, DECODED_SAMPLES, H100, TRUE_VOCABULARY, bounds

CALLS, WARM_UP = 50, 10
PROMPT_POSITIONS = 1024
Program = Callable[[], Any]
Programs = dict[str, Program | str]
"""By name: what is timed, or why it is not there."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="codex_12b")
    parser.add_argument("--tensor-model-parallel-size", type=int, default=8)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    reason = "torch finds no CUDA device" if not torch.cuda.is_available() else why_missing()
    if reason is not None:
        sys.exit(f"error: nothing can be timed: {reason}")
    model, tp_size = ModelConfig(preset=arguments.preset), arguments.tensor_model_parallel_size
    table = "\n".join(lines(model, tp_size))
    print(table)
    if arguments.output is not None:
        with atomic_file(arguments.output, "w") as handle:
            handle.write(table + "\n")


def lines(model: ModelConfig, tp_size: int) -> Iterator[str]:
    """The table, operation after operation."""
    found = bounds(model, tensor_model_parallel_size=tp_size, micro_batch_size=1)
    least: dict[str, float] = {}
    for bound in found:  # forward and backward together, as they are timed
        operation = bound.kernel.partition(",")[0]
        least[operation] = least.get(operation, 0.0) + bound.seconds(H100)
    least["decode_suffix"] += least.pop("merge_attn_states")
    least["flat_adam"] *= _adam_elements(model) / (model.num_parameters(TRUE_VOCABULARY) // tp_size)
    yield f"Measured on {torch.cuda.get_device_name()}, torch {torch.__version__}; medians of {CALLS} calls."
    yield f"Shapes: {model.preset}, TP {tp_size}, micro-batch 1, bf16. Forward and backward, but for Adam and decoding."
    yield from ("", "| operation | program | us | H100 roofline, computed, us |", "| --- | --- | --- | --- |")
    for operation, programs in cases(model, tp_size):
        timed = times({name: program for name, program in programs.items() if not isinstance(program, str)})
        for name, program in programs.items():
            words = program if isinstance(program, str) else f"{timed[name]:,.1f}"
            yield f"| {operation} | {name} | {words} | {1e6 * least[operation]:,.1f} |"


def times(programs: dict[str, Program]) -> dict[str, float]:
    """Microseconds of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(WARM_UP + CALLS):
        for name, program in programs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            program()
            end.record()
            end.synchronize()
            if number >= WARM_UP:
                taken[name].append(1e3 * start.elapsed_time(end))
    return {name: statistics.median(found) for name, found in taken.items()}


def cases(model: ModelConfig, tp_size: int) -> Iterator[tuple[str, Programs]]:
    """Each operation, and the programs that do it."""
    yield "vocab_parallel_ce", _cross_entropy(model, tp_size)
    yield "bias_gelu", _bias_gelu(model, tp_size)
    yield "layer_norm", _layer_norm(model, tp_size)
    yield "causal_softmax", _causal_softmax(model, tp_size)
    yield "flat_adam", _adam(model)
    yield "decode_suffix", _decoding(model, tp_size)


def both_ways(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> Program:
    """Forward and backward of a function of leaves."""

    def run() -> None:
        out = function(*inputs)
        torch.autograd.grad(out, [x for x in inputs if x.requires_grad], torch.ones_like(out))

    return run


def _leaf(*shape: int) -> torch.Tensor:
    return torch.randn(shape, device="cuda").bfloat16().requires_grad_()


def _optional(make: Callable[[], Program]) -> Program | str:
    try:
        return make()
    except (ImportError, OSError) as error:
        return f"not installed ({' '.join(str(error).split())[:60]})"


def _cross_entropy(model: ModelConfig, tp_size: int) -> Programs:
    columns = -(-TRUE_VOCABULARY // tp_size)
    logits = _leaf(model.seq_length, columns)
    labels = torch.randint(0, columns, (model.seq_length,), device="cuda")

    def plain(x: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(x.float(), labels, reduction="none")

    def liger() -> Program:
        from liger_kernel.transformers.functional import liger_cross_entropy

        return both_ways(lambda x: liger_cross_entropy(x * 1, labels, reduction="none"), logits)

    return {
        "ours": both_ways(lambda x: cross_entropy.cross_entropy(x, labels), logits),
        "torch": both_ways(plain, logits),
        "torch.compile": both_ways(torch.compile(plain), logits),
        "Liger": _optional(liger),
    }


def _bias_gelu(model: ModelConfig, tp_size: int) -> Programs:
    inputs = _leaf(model.seq_length, model.mlp_size // tp_size), _leaf(model.mlp_size // tp_size)

    def plain(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.gelu(x + bias, approximate="tanh")

    def megatrons() -> Program:
        from megatron.core.fusions.fused_bias_gelu import bias_gelu_impl

        return both_ways(bias_gelu_impl, *inputs)

    return {
        "ours": both_ways(bias_gelu.bias_gelu, *inputs),
        "torch": both_ways(plain, *inputs),
        "torch.compile": both_ways(torch.compile(plain), *inputs),
        "megatron-core": _optional(megatrons),
    }


def _layer_norm(model: ModelConfig, tp_size: int) -> Programs:
    hidden = model.hidden_size
    inputs = _leaf(model.seq_length // tp_size, hidden), _leaf(hidden), _leaf(hidden)

    def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (hidden,), weight, bias, 1e-5)

    def apexs() -> Program:
        from apex.normalization.fused_layer_norm import fused_layer_norm_affine

        return both_ways(lambda x, weight, bias: fused_layer_norm_affine(x, weight, bias, (hidden,), 1e-5), *inputs)

    def engines() -> Program:
        import transformer_engine.pytorch as engine

        module = engine.LayerNorm(hidden, eps=1e-5, params_dtype=torch.bfloat16, device="cuda")
        return both_ways(module, inputs[0])

    def ligers() -> Program:
        from liger_kernel.transformers.functional import liger_layer_norm

        return both_ways(lambda x, weight, bias: liger_layer_norm(x, weight, bias, 1e-5), *inputs)

    return {
        "ours": both_ways(lambda *x: layer_norm.layer_norm(*x, 1e-5), *inputs),
        "torch": both_ways(plain, *inputs),
        "Apex": _optional(apexs),
        "Transformer Engine (gradient of x only)": _optional(engines),
        "Liger": _optional(ligers),
    }


def _causal_softmax(model: ModelConfig, tp_size: int) -> Programs:
    positions, heads = model.seq_length, model.num_attention_heads // tp_size
    size = model.hidden_size // model.num_attention_heads
    scores, hidden = _leaf(1, heads, positions, positions), torch.ones(positions, positions, device="cuda").triu_(1)
    hidden_mask = hidden.bool()

    def plain(x: torch.Tensor) -> torch.Tensor:
        return (x * 0.1).masked_fill(hidden_mask, -torch.inf).softmax(-1)

    def flash() -> Program:
        from flash_attn import flash_attn_func

        return both_ways(
            lambda q, k, v: flash_attn_func(q, k, v, causal=True), *(_leaf(1, positions, heads, size) for _ in range(3))
        )

    attention = [_leaf(1, heads, positions, size) for _ in range(3)]
    return {
        "ours": both_ways(lambda x: softmax.causal_softmax(x, scale=0.1), scores),
        "torch": both_ways(plain, scores),
        "torch.compile": both_ways(torch.compile(plain), scores),
        "torch SDPA (the whole attention)": both_ways(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), *attention
        ),
        "flash-attn (the whole attention)": _optional(flash),
    }


def _decoding(model: ModelConfig, tp_size: int) -> Programs:
    """One new token of each sample of one prompt: over the prompt and over 256 own positions."""
    heads, size = model.num_attention_heads // tp_size, model.hidden_size // model.num_attention_heads

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device="cuda").bfloat16()

    samples = torch.arange(DECODED_SAMPLES, device="cuda")
    prompts = shared_prefix.Prompts(
        keys=normal(1, heads, size, PROMPT_POSITIONS),
        values=normal(1, heads, PROMPT_POSITIONS, size),
        lengths=torch.tensor([PROMPT_POSITIONS], dtype=torch.int32, device="cuda"),
        prompt_of=torch.zeros_like(samples),
        place_of=samples,
        most_samples=DECODED_SAMPLES,
    )
    queries = normal(DECODED_SAMPLES, heads, size)
    own = [normal(DECODED_SAMPLES, heads, DECODED_POSITIONS, size) for _ in range(2)]
    lengths = torch.full((DECODED_SAMPLES,), DECODED_POSITIONS, dtype=torch.int32, device="cuda")
    given = (queries, prompts, *(x.transpose(1, 2) for x in own), lengths)
    of_prompt = prompts.keys.transpose(2, 3), prompts.values
    # What is done without sharing: every sample has the prompt's keys and values beside its own.
    keys, values = (
        torch.cat((x.expand(DECODED_SAMPLES, -1, -1, -1), y), dim=2) for x, y in zip(of_prompt, own, strict=True)
    )

    def flash() -> Program:
        from flash_attn import flash_attn_func

        flat = [x.transpose(1, 2).contiguous() for x in (queries[:, :, None], keys, values)]
        return lambda: flash_attn_func(*flat)

    return {
        "ours (with the prompt's products)": lambda: shared_prefix.shared_prefix_attention(*given, scale=size**-0.5),
        "torch, in the same parts": lambda: shared_prefix.reference_shared_prefix_attention(*given, scale=size**-0.5),
        "torch SDPA, a prompt a sample": lambda: F.scaled_dot_product_attention(queries[:, :, None], keys, values),
        "flash-attn, a prompt a sample": _optional(flash),
    }


def _adam_elements(model: ModelConfig) -> int:
    """An eighth of one layer's parameters, so that all programs' state fits beside each other."""
    return 12 * model.hidden_size**2 // 8


def _adam(model: ModelConfig) -> Programs:
    how = {"lr": 1e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}

    def weight() -> torch.Tensor:
        tensor = torch.randn(_adam_elements(model), device="cuda", requires_grad=True)
        tensor.grad = torch.randn_like(tensor)
        return tensor

    def apexs() -> Program:
        from apex.optimizers import FusedAdam

        return FusedAdam([weight()], **how).step

    def engines() -> Program:
        from transformer_engine.pytorch.optimizers import FusedAdam

        return FusedAdam([weight()], **how).step

    return {
        "ours (norm, clipping and bf16 copy included)": _flat_adam(weight().detach()),
        "torch fused": torch.optim.AdamW([weight()], fused=True, **how).step,
        "Apex": _optional(apexs),
        "Transformer Engine": _optional(engines),
    }


def _flat_adam(master: torch.Tensor) -> Program:
    gradients, means = torch.randn_like(master), torch.zeros(2, len(master), device="cuda")
    parameters = master.bfloat16()
    step, plan = torch.zeros(1, dtype=torch.int64, device="cuda"), torch.zeros(flat_adam.PLAN_SIZE, device="cuda")
    ends, decays = torch.tensor([len(master)], device="cuda"), torch.tensor([0.1], device="cuda")

    def run() -> None:
        total = flat_adam.flat_adam_square_sum(gradients)
        flat_adam.flat_adam_plan_(total, step, plan, clip_grad=1.0, lr=1e-4, betas=(0.9, 0.95))
        flat_adam.flat_adam_step_(
            *(gradients, master, *means, parameters),
            segment_ends_S=ends,
            weight_decays_S=decays,
            plan=plan,
            lr=1e-4,
            betas=(0.9, 0.95),
            eps=1e-8,
        )

    return run


if __name__ == "__main__":
    main()
