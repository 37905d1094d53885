"""Made-up prompts and completions for the benchmarks of fine-tuning, and our step on them.

60 to 400 tokens an example, 70 % of them prompt (each between 55 and 85 %); every side gets the same token ids.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

VOCAB, TRUE_VOCAB, EOD = 50_304, 50_281, 50_280
LAYERS, HIDDEN, HEADS, SEQ = 6, 256, 4, 512
"""The 17.6M shape."""

Example = tuple[list[int], list[int]]
"""Prompt, and completion with the end of document."""


def examples(number: int, *, seed: int = 1) -> list[Example]:
    draw = random.Random(seed)
    made = []
    for _ in range(number):
        length = draw.randint(60, 400)
        prompt = round(length * draw.uniform(0.55, 0.85))
        ids = [draw.randrange(EOD) for _ in range(length - 1)]
        made.append((ids[:prompt], [*ids[prompt:], EOD]))
    return made


class IdsAsText:
    """A tokenizer of texts that are token ids with spaces between them."""

    eod = EOD

    def encode(self, text: str) -> np.ndarray:
        return np.array(text.split(), np.int64)


def dataset(made: list[Example], *, layout: str) -> Any:
    """These examples as tools/train.py would read them."""
    from megatron_codex.data.prompted import PromptedDataset

    texts = [(" ".join(map(str, prompt)), " ".join(map(str, completion[:-1]))) for prompt, completion in made]
    return PromptedDataset(texts, tokenizer=IdsAsText(), seq_length=SEQ, layout=layout)  # type: ignore[arg-type]


@contextmanager
def engine_of(dtype: str, *, layout: str, **training: Any) -> Iterator[Any]:
    """(configuration, layout of one rank, engine with weights)."""
    from megatron_codex.config.load import build_config
    from megatron_codex.config.training import TrainConfig
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks
    from megatron_codex.training.engine import build_engine
    from megatron_codex.training.randomness import seed_step
    from megatron_codex.training.state import initialise

    tree = {
        "task": "codex_s",
        "model": {"num_layers": LAYERS, "hidden_size": HIDDEN, "num_attention_heads": HEADS, "seq_length": SEQ},
        "training": {"output_dir": "unused", "train_iters": 1, "precision": dtype, **training},
        "optimizer": {"lr": 1e-4},
        "data": {"problems": "unused", "layout": layout, "group_by_length": layout == "left_padded"},
    }
    config = build_config(TrainConfig, tree)
    with ExitStack() as stack:
        stack.enter_context(joined_ranks())
        ranks = stack.enter_context(model_parallel(config.parallel))
        seed_step(config.training.seed, 0, ranks)
        engine = build_engine(config)
        initialise(engine, config)
        yield config, ranks, engine
