"""A step of Codex-S beside TRL's padding-free SFTTrainer and left-padded Hugging Face: completion tokens a second.

    python tests/benchmarks/models.py sft [--dtypes bf16 fp32] [--rounds 7] [--threads 2] [--sides ours_packed ...]

The 17.6M shape, prompts 70 % of the tokens, lengths 60 to 400. Each side is a process with the same setting of the
allocator; it takes 4 steps to warm up, then one a round, in turns. A step is everything from the examples to the new
weights: collation, forward, backward, clipping, AdamW. About 8 examples: ours is the step of tools/train.py on 4 packed
rows of 512, or on 8 left-padded rows of like lengths; TRL's is SFTTrainer.train itself, whose callbacks wait between
steps; the loop is transformers' model with its own loss and torch's fused AdamW. The peers run bf16 under autocast, as
TRL does. Needs trl, transformers, datasets and accelerate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from typing import Any

from interleaved import answer, interleave, serve, spread
from sft_examples import EOD, HEADS, HIDDEN, LAYERS, SEQ, TRUE_VOCAB, VOCAB, dataset, engine_of, examples

SIDES = ("ours_packed", "ours_left_padded", "trl_padding_free", "hugging_face_left_padded")
BATCH, ROWS, WARM_UP = 8, 4, 4
NUM_EXAMPLES = 512


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args(argv)
    for dtype in arguments.dtypes:
        commands = {name: [sys.executable, __file__, name, dtype] for name in arguments.sides}
        found = interleave(commands, rounds=arguments.rounds, warm_up=WARM_UP, threads=arguments.threads)
        print(f"17.6M, {dtype}, {arguments.threads} threads, {arguments.rounds} rounds")
        first = found[arguments.sides[0]]
        for name, steps in found.items():
            speeds = [step["completion_tokens"] / step["seconds"] for step in steps]
            ratios, work = (
                [
                    (mine["completion_tokens"] / mine[kind]) / (other["completion_tokens"] / other[kind])
                    for mine, other in zip(first, steps, strict=True)
                ]
                for kind in ("seconds", "processor")
            )
            print(
                f"  {name}: {statistics.median(speeds):.0f} completion tokens/s, loss {steps[-1]['loss']:.2f}; "
                f"{arguments.sides[0]} is faster by {spread(ratios)}, in processor time by {spread(work)}",
                flush=True,
            )


def be_side(name: str, dtype: str) -> None:
    import torch

    from megatron_codex.platform.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    if name == "trl_padding_free":
        trl(dtype)
    elif name == "hugging_face_left_padded":
        hugging_face(dtype)
    else:
        ours(dtype, layout=name.removeprefix("ours_"))


def ours(dtype: str, *, layout: str) -> None:
    from megatron_codex.training.batches import run_batches
    from megatron_codex.training.step import train_step

    size = ROWS if layout == "packed" else BATCH
    with engine_of(dtype, layout=layout, global_batch_size=size, micro_batch_size=size) as (config, ranks, engine):
        batches = run_batches(config, dataset(examples(NUM_EXAMPLES), layout=layout), ranks)
        number = 0

        def step() -> dict[str, float]:
            nonlocal number
            result = train_step(engine, batches, ranks, step=number, learning_rate=1e-4, vocab_size=TRUE_VOCAB)
            number += 1
            assert result.loss is not None
            return {"loss": result.loss, "completion_tokens": result.num_tokens}

        serve(step)


def model() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=VOCAB, n_positions=2 * SEQ, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    config.bos_token_id = config.eos_token_id = config.pad_token_id = EOD
    config._attn_implementation = "sdpa"
    return GPT2LMHeadModel(config).train()


def hugging_face(dtype: str) -> None:
    import torch

    network, made, number = model(), examples(NUM_EXAMPLES), 0
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.1, fused=True)

    def step() -> dict[str, float]:
        nonlocal number
        batch = [made[(number * BATCH + place) % NUM_EXAMPLES] for place in range(BATCH)]
        number += 1
        prompts, completions = (max(len(each[part]) for each in batch) for part in (0, 1))
        ids = torch.full((BATCH, prompts + completions), EOD)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, (prompt, completion) in enumerate(batch):
            span = slice(prompts - len(prompt), prompts + len(completion))
            ids[row, span] = torch.tensor(prompt + completion)
            mask[row, span] = 1
            labels[row, prompts : prompts + len(completion)] = torch.tensor(completion)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            out = network(input_ids=ids, attention_mask=mask, position_ids=positions, labels=labels, use_cache=False)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": float(out.loss.detach()), "completion_tokens": sum(len(each[1]) for each in batch)}

    serve(step)


def trl(dtype: str) -> None:
    import pyarrow
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    made = examples(NUM_EXAMPLES)
    rows = [
        {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion} for prompt, completion in made
    ]
    vocabulary = {f"t{number}": number for number in range(EOD)} | {"<eod>": EOD}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<eod>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eod>", pad_token="<eod>")
    counted: list[int] = []

    class Turns(TrainerCallback):
        """Waits between steps; a step's time begins when it is asked for, before its batch is made."""

        started, used = 0.0, 0.0

        def wait(self) -> None:
            if not sys.stdin.readline().strip():
                os._exit(0)
            self.started, self.used = time.perf_counter(), time.process_time()

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.wait()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            seconds, processor = time.perf_counter() - self.started, time.process_time() - self.used
            found = {"seconds": seconds, "processor": processor, "loss": float(trainer.last_loss)}
            answer({**found, "completion_tokens": counted[-1]})
            self.wait()

    class Trainer(SFTTrainer):
        last_loss: Any = 0.0

        def training_step(self, model: Any, inputs: Any, *args: Any) -> Any:
            counted.append(int((inputs["labels"] != -100).sum()))
            self.last_loss = super().training_step(model, inputs, *args)
            return self.last_loss

    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        max_steps=1_000_000,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        weight_decay=0.1,
        bf16=dtype == "bf16",
        use_cpu=True,
        padding_free=True,
        max_length=None,
        completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        gradient_checkpointing=False,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_num_workers=0,
    )
    turns = Turns()
    trainer = Trainer(
        model=model(),
        args=settings,
        train_dataset=Dataset(pyarrow.Table.from_pylist(rows), fingerprint="examples"),
        processing_class=tokenizer,
        callbacks=[turns],
    )
    trainer.train()


if __name__ == "__main__":
    be_side(*sys.argv[1:])
