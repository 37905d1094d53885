"""A training step on this CPU beside Hugging Face's and megatron-core's, interleaved: prints ratios.

    python tests/benchmarks/training.py [--sizes S L] [--dtypes bf16 fp32] [--rounds 5] [--threads 2]

S: 6 layers of 256 (17.6M parameters); L: 12 of 768 (124M); vocabulary 50,304, sequences of 512, batches of 4. Each side
is a process of its own, all with the same setting of the allocator, takes three steps to warm up, then one step a
round, in turns. Ours is the step that tools/train.py takes. The peers: transformers' GPT2LMHeadModel (SDPA) under
autocast with torch's AdamW, plain and fused, and megatron-core's GPTModel of stock local layers with its own optimizer.
The bound is the time of the step's matrix products alone. Needs transformers. Timings are no tests: run this by hand,
alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from interleaved import interleave, serve, spread

VOCAB, SEQ, BATCH = 50_304, 512, 4
SHAPES = {"S": (6, 256, 4), "L": (12, 768, 12)}
TRUE_VOCAB = 50_281  # what our tokenizer has; ours pads it to VOCAB as the peers do
SIDES = ("ours", "hugging_face", "hugging_face_fused_adam", "megatron_core", "bound")
WARM_UP = 3

Step = Callable[[], float]
UNTIL_THE_END = ExitStack()
"""Holds a side's process groups."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        be_side(*arguments.side)
        return
    for size in arguments.sizes:
        for dtype in arguments.dtypes:
            compare(size, dtype, arguments.sides, arguments.rounds, arguments.threads)


def compare(size: str, dtype: str, names: list[str], rounds: int, threads: int) -> None:
    """One shape and dtype: every side in turn, then the medians."""
    commands = {name: [sys.executable, __file__, "--side", name, size, dtype] for name in names}
    found = interleave(commands, rounds=rounds, warm_up=WARM_UP, threads=threads)
    print(f"{size} {dtype}, {threads} threads, {rounds} rounds")
    for name in names:
        wall, cpu = (statistics.median(step[kind] for step in found[name]) for kind in ("seconds", "processor"))
        ratios, work = (
            [other[kind] / mine[kind] for other, mine in zip(found[name], found[names[0]], strict=True)]
            for kind in ("seconds", "processor")
        )
        print(
            f"  {name}: {BATCH * SEQ / wall:.0f} tokens/s, {cpu:.2f} processor seconds, loss "
            f"{found[name][-1]['loss']:.3f}; its time / {names[0]}'s {spread(ratios)}, "
            f"processor time {spread(work)}",
            flush=True,
        )


def be_side(name: str, size: str, dtype: str) -> None:
    """One side: a step for each line, until an empty one."""
    import torch

    from megatron_codex.platform.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    builders = {"ours": ours, "megatron_core": megatron_core, "bound": bound}
    step = builders[name](size, dtype) if name in builders else hugging_face(size, dtype, fused="fused" in name)
    serve(lambda: {"loss": step()})


def tokens() -> Any:
    """[BATCH, SEQ + 1] ids, the same for every side."""
    import torch

    return torch.randint(0, TRUE_VOCAB, (BATCH, SEQ + 1), generator=torch.Generator().manual_seed(1))


def ours(size: str, dtype: str) -> Step:
    import numpy as np

    from megatron_codex.config.load import build_config
    from megatron_codex.config.training import TrainConfig
    from megatron_codex.data.batch import Batch
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks
    from megatron_codex.training.batches import GlobalBatches
    from megatron_codex.training.engine import build_engine
    from megatron_codex.training.state import initialise
    from megatron_codex.training.step import train_step

    ids = tokens().numpy()

    class Source:
        def __len__(self) -> int:
            return BATCH

        def sequence_length(self, indices: object) -> int:
            return SEQ

        def fingerprint(self) -> str:
            return ""

        def batch(self, indices: object, *, seq_length: int) -> Batch:
            positions = np.broadcast_to(np.arange(SEQ), (BATCH, SEQ)).copy()
            mask = np.ones((BATCH, SEQ), np.float32)
            return Batch(tokens=ids[:, :-1], labels=ids[:, 1:], loss_mask=mask, position_ids=positions)

    layers, hidden, heads = SHAPES[size]
    model = {"num_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "seq_length": SEQ}
    training = {"output_dir": "unused", "train_iters": 1, "precision": dtype}
    training |= {"global_batch_size": BATCH, "micro_batch_size": BATCH}
    tree = {"model": model, "training": training, "optimizer": {"lr": 1e-4}, "data": {"data_prefix": "unused"}}
    config = build_config(TrainConfig, tree)
    assert config.tokenizer.true_vocab_size == TRUE_VOCAB
    UNTIL_THE_END.enter_context(joined_ranks())
    layout = UNTIL_THE_END.enter_context(model_parallel(config.parallel))
    engine = build_engine(config)
    initialise(engine, config)
    batches = GlobalBatches(
        source=Source(),
        order=lambda positions: positions % BATCH,
        global_batch_size=BATCH,
        micro_batch_size=BATCH,
        dp_rank=0,
        dp_size=1,
    )

    def step() -> float:
        result = train_step(engine, batches, layout, step=0, learning_rate=1e-4, vocab_size=TRUE_VOCAB)
        assert result.loss is not None
        return result.loss

    return step


def hugging_face(size: str, dtype: str, *, fused: bool) -> Step:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, hidden, heads = SHAPES[size]
    config = GPT2Config(vocab_size=VOCAB, n_positions=SEQ, n_embd=hidden, n_layer=layers, n_head=heads)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    config._attn_implementation = "sdpa"
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True if fused else None)
    ids = tokens()

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def megatron_core(size: str, dtype: str) -> Step:
    """megatron-core's own layers, loss and optimizer; what our platform repairs for a CPU is the same as in ours."""
    import torch
    import torch.nn.functional as F

    from megatron_codex.config.parallel import ParallelConfig
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks
    from megatron_codex.platform import megatron_core as core

    UNTIL_THE_END.enter_context(joined_ranks())
    UNTIL_THE_END.enter_context(model_parallel(ParallelConfig()))
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec

    core.model_parallel_cuda_manual_seed(1)
    layers, hidden, heads = SHAPES[size]
    precision = torch.bfloat16 if dtype == "bf16" else torch.float32
    config = core.TransformerConfig(
        num_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        use_cpu_initialization=True,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_func=lambda x: F.gelu(x, approximate="tanh"),
        params_dtype=precision,
        pipeline_dtype=precision,
        bf16=dtype == "bf16",
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        batch_p2p_comm=False,
    )
    gpt = core.GPTModel(
        config,
        get_gpt_layer_local_spec(),
        vocab_size=VOCAB,
        max_sequence_length=SEQ,
        share_embeddings_and_output_weights=True,
        position_embedding_type="learned_absolute",
    )
    wrapped = core.Float16Module(config, gpt) if dtype == "bf16" else gpt
    chunk = core.DistributedDataParallel(config, core.DistributedDataParallelConfig(grad_reduce_in_fp32=True), wrapped)
    settings = core.OptimizerConfig(
        optimizer="adam", lr=1e-4, weight_decay=0.1, clip_grad=1.0, bf16=dtype == "bf16", params_dtype=precision
    )
    optimizer = core.get_megatron_optimizer(settings, [chunk], use_gloo_process_groups=False)
    config.finalize_model_grads_func = core.finalize_model_grads
    forward_backward = core.get_forward_backward_func()
    ids = tokens()
    positions = torch.arange(SEQ)[None].expand(BATCH, -1).contiguous()
    mask = torch.ones(1, 1, SEQ, SEQ, dtype=torch.bool).triu(1)

    def forward_step(_: object, model: Any) -> tuple[Any, Any]:
        output = model(ids[:, :-1].contiguous(), positions, mask, labels=ids[:, 1:].contiguous())
        return output, lambda losses: (losses.float().mean(), {"loss": losses.detach().float().mean()})

    def step() -> float:
        chunk.zero_grad_buffer()
        optimizer.zero_grad()
        found = forward_backward(
            forward_step_func=forward_step,
            data_iterator=None,
            model=chunk,
            num_microbatches=1,
            seq_length=SEQ,
            micro_batch_size=BATCH,
            forward_only=False,
        )
        optimizer.step()
        return float(found[0]["loss"])

    return step


def bound(size: str, dtype: str) -> Step:
    """The products of a step alone: output, input gradient and weight gradient of every matrix, and of attention."""
    import torch

    layers, hidden, heads = SHAPES[size]
    precision = torch.bfloat16 if dtype == "bf16" else torch.float32
    num_rows = BATCH * SEQ

    def products(inner: int, outer: int) -> Callable[[], None]:
        x, weight = torch.randn(num_rows, inner).to(precision), torch.randn(outer, inner).to(precision)
        gradient = torch.randn(num_rows, outer).to(precision)

        def run() -> None:
            torch.mm(x, weight.t())
            torch.mm(gradient, weight)
            torch.mm(gradient.t(), x)

        return run

    sizes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden)]
    layer, head = [products(*pair) for pair in sizes], products(hidden, VOCAB)
    wide = torch.randn(BATCH * heads, SEQ, SEQ).to(precision)
    thin = torch.randn(BATCH * heads, SEQ, hidden // heads).to(precision)

    def step() -> float:
        for _ in range(layers):
            for run in layer:
                run()
            for _ in range(2):  # scores and the gradient of probabilities
                torch.bmm(thin, thin.transpose(1, 2))
            for _ in range(4):  # outputs and the gradients of values, queries and keys
                torch.bmm(wide, thin)
        head()
        return 0.0

    return step


if __name__ == "__main__":
    main()
