"""A model shared by ranks gives the samples of one rank: tensor and pipeline parallelism, further ranks as copies.

Tensor-parallel ranks add up parts of what one rank adds up in another order, so numbers differ in the last digits, and
a token may differ, but only where the choice is that close (docs/sampling.md): `could_be`. Each first difference of two
samples is checked so, under the prefix that they share.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from megatron_codex.config.sampling import DecodingParallelConfig, SamplingConfig
from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.sampling.loading import load_sampling_model
from megatron_codex.sampling.noise import sample_key, uniform
from megatron_codex.sampling.nucleus import choose_tokens
from megatron_codex.sampling.samples_file import write_samples
from megatron_codex.sampling.stopping import StopSequences
from megatron_codex.sampling.work import Prompt
from tests.parallel.ranks import call_on_ranks

STOP = StopSequences(("e", "\n"))
TEXTS = ("def f(x):\n", "# a longer prompt of other tokens\nclass Stack:\n    def push(self, item):\n", "x")
PROMPTS = [Prompt(str(number), text) for number, text in enumerate(TEXTS)]
LAYOUTS = {"tp2": (2, 1), "pp2": (1, 2), "tp2pp2": (2, 2), "tp4": (4, 1)}
"""(tensor, pipeline) ranks; what is left of four ranks are copies that share the prompts."""

BATCHES = [("tp2", 1), ("tp2", 7), ("tp2", 100), ("tp4", 7)]
"""Drawn once more in batches of this size, and with the prompts in the opposite order."""

IN_TORCH = {"tp2-reference": 192, "tp2-reference-drawn-4": 4}
"""With kernels = reference, in batches of this size; one with the prompts in the opposite order."""

DISTANCE = {"float32": 2.0**-15, "bfloat16": 2.0**-4}
"""By how much a layout may move a logit of this model, in log p. Measured: 2.4e-6 and 0.05."""

DRAWN: dict[str, Any] = {"num_samples": 5, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 14, "seed": 3}
GREEDY: dict[str, Any] = {"num_samples": 1, "temperature": 0.0, "max_new_tokens": 14}


def _runs(directory: Path) -> dict[str, SamplingConfig]:
    """Every layout drawn and greedy; one in several batches and with the prompts backwards; one in bf16."""
    paths = json.loads((directory / "paths.json").read_text())
    base = {"checkpoint": Path(paths["checkpoint"]), "problems": Path(paths["problems"]), "token_logps": True}
    made: dict[str, SamplingConfig] = {}

    def add(name: str, layout: str, **settings: Any) -> None:
        tensor, pipeline = LAYOUTS[layout]
        parallel = DecodingParallelConfig(tensor_model_parallel_size=tensor, pipeline_model_parallel_size=pipeline)
        made[name] = SamplingConfig(**base, output=directory / f"{name}.jsonl", parallel=parallel, **settings)

    for layout, (kind, settings) in product(LAYOUTS, (("drawn", DRAWN), ("greedy", GREEDY))):
        add(f"{layout}-{kind}", layout, **settings)
    for layout, size in BATCHES:
        add(f"{layout}-drawn-{size}", layout, **DRAWN, batch_size=size)
    for name, size in IN_TORCH.items():
        add(name, "tp2", **DRAWN, kernels="reference", batch_size=size)
    add("tp2pp2-bf16", "tp2pp2", **DRAWN, precision="bfloat16")
    return made


def _draw_all(directory: Path) -> None:
    """What each of four ranks does."""
    for name, config in _runs(directory).items():
        write_samples(config, PROMPTS[::-1] if "drawn-" in name else PROMPTS, stop=STOP)
    tensor = DecodingParallelConfig(tensor_model_parallel_size=4)
    refused = replace(config, parallel=tensor, output=directory / "tp2pp2-bf16.jsonl")
    try:
        write_samples(refused, PROMPTS, stop=STOP)
    except InputError as error:  # the first rank finds the output; the others learn it from that
        (directory / f"refused-{os.environ['RANK']}").write_text(str(error))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    directory = tmp_path_factory.mktemp("layouts")
    problems = directory / "problems.jsonl"
    write_jsonl(problems, [{"task_id": prompt.task_id} for prompt in PROMPTS])
    (directory / "paths.json").write_text(json.dumps({"checkpoint": str(checkpoint), "problems": str(problems)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", "4")
        names = list(_runs(directory))
    call_on_ranks(4, _draw_all, directory)
    assert all((directory / f"{name}.jsonl").exists() for name in names)
    return directory


@pytest.fixture(scope="module")
def alone(drawn: Path, checkpoint: Path) -> Callable[..., list[dict[str, Any]]]:
    """What one rank draws with these settings."""

    def draw(name: str, **settings: Any) -> list[dict[str, Any]]:
        output = drawn / f"alone-{name}.jsonl"
        if not output.exists():
            config = SamplingConfig(checkpoint=checkpoint, problems=drawn / "problems.jsonl", output=output, **settings)
            write_samples(replace(config, token_logps=True), PROMPTS, stop=STOP)
        return list(read_jsonl(output))

    return draw


def could_be(token: int, logits_V: Tensor, config: dict[str, Any], key: int, position: int, *, distance: float) -> bool:
    """Whether logits that are each within `distance` of these could have given this token by the same numbers.

    Greedy: no other logit is larger by more than twice the distance. Drawn: with a share e = 2 x distance / temperature
    of each probability in doubt, one of the numbers used falls into the token's interval, widened by e; and each
    number before it falls, so widened, on a token that lies outside the nucleus, give or take e.
    """
    logits_V = logits_V.double()
    if config["temperature"] == 0:
        return bool(logits_V[token] >= logits_V.max() - 2 * distance)
    doubt = 2 * distance / config["temperature"]
    probs_V = torch.softmax(logits_V / config["temperature"], dim=0)
    ends_V = probs_V.cumsum(0)
    ratio_VV = probs_V[None] / probs_V[:, None]
    likelier_V = ((ratio_VV > 1 + 2 * doubt) * probs_V).sum(dim=1)
    others_VV = (ratio_VV > 1 - 2 * doubt) & ~torch.eye(len(probs_V), dtype=torch.bool)
    perhaps_likelier_V = (others_VV * probs_V).sum(dim=1)
    for draw in range(8):
        number = float(uniform(np.array([key], dtype=np.uint64), position=position, draw=draw)[0])
        near_V = (ends_V - probs_V <= number + doubt) & (number - doubt <= ends_V)
        if near_V[token] and likelier_V[token] < config["top_p"] + doubt:
            return True
        if not bool((near_V & (perhaps_likelier_V >= config["top_p"] - doubt)).any()):
            return False  # this number was surely kept, for another token
    return True


def _check(
    rows: list[dict[str, Any]], expected: list[dict[str, Any]], model: Any, config: dict[str, Any], *, distance: float
) -> int:
    """Compare samples; each first difference must be one that could be. Returns how many differ."""
    flips = 0
    for row, other in zip(rows, expected, strict=True):
        assert (row["task_id"], row["sample_index"]) == (other["task_id"], other["sample_index"])
        same = next(
            (n for n, pair in enumerate(zip(row["tokens"], other["tokens"], strict=False)) if len(set(pair)) > 1),
            min(row["num_tokens"], other["num_tokens"]),
        )
        bound = 2 * distance
        assert row["token_logps"][:same] == pytest.approx(other["token_logps"][:same], abs=bound)
        if row["tokens"] == other["tokens"] and row["finish_reason"] == other["finish_reason"]:
            assert row["completion"] == other["completion"]
            continue
        flips += 1
        prompt = model.tokenizer.encode(TEXTS[int(row["task_id"])]).tolist()
        hidden_SH = model.decoder.encode(torch.tensor(prompt + row["tokens"][:same]))
        logits_V = model.decoder.logits(hidden_SH[-1:])[0]
        key = sample_key(config.get("seed", 0), row["task_id"], row["sample_index"])
        for sample in (row, other):
            token = sample["tokens"][same] if same < sample["num_tokens"] else None
            if token is not None:
                assert could_be(token, logits_V, config, key, same, distance=distance), (row, same)
    return flips


@pytest.mark.multirank
@pytest.mark.parametrize("kind", ["drawn", "greedy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_samples_of_one_rank(
    drawn: Path, alone: Callable[..., Any], checkpoint: Path, layout: str, kind: str
) -> None:
    settings = DRAWN if kind == "drawn" else GREEDY
    rows, expected = list(read_jsonl(drawn / f"{layout}-{kind}.jsonl")), alone(kind, **settings)
    assert sum(row["num_tokens"] for row in rows) > 15
    flips = _check(rows, expected, load_sampling_model(checkpoint), settings, distance=DISTANCE["float32"])
    assert flips == 0, "possible, but once in thousands of tokens: look whether these numbers really came that close"
    if layout == "pp2":  # stages hand numbers on and compute none
        assert rows == expected


@pytest.mark.multirank
@pytest.mark.parametrize(("layout", "size"), BATCHES)
def test_batches_and_order_change_no_bit_of_a_layout(drawn: Path, layout: str, size: int) -> None:
    rows = list(read_jsonl(drawn / f"{layout}-drawn-{size}.jsonl"))
    expected = list(read_jsonl(drawn / f"{layout}-drawn.jsonl"))
    assert sorted(rows, key=lambda row: (row["task_id"], row["sample_index"])) == expected


@pytest.mark.multirank
def test_in_plain_torch_batches_change_no_bit_and_layouts_no_token(
    drawn: Path, alone: Callable[..., Any], checkpoint: Path
) -> None:
    rows, in_batches = (list(read_jsonl(drawn / f"{name}.jsonl")) for name in IN_TORCH)
    assert sorted(in_batches, key=lambda row: (row["task_id"], row["sample_index"])) == rows
    model = load_sampling_model(checkpoint)
    for expected in (alone("reference", **DRAWN, kernels="reference"), alone("drawn", **DRAWN)):
        assert _check(rows, expected, model, DRAWN, distance=DISTANCE["float32"]) == 0


@pytest.mark.multirank
def test_in_bf16_samples_part_only_where_the_choice_is_close(
    drawn: Path, alone: Callable[..., Any], checkpoint: Path
) -> None:
    rows, expected = list(read_jsonl(drawn / "tp2pp2-bf16.jsonl")), alone("bf16", **DRAWN, precision="bfloat16")
    flips = _check(rows, expected, load_sampling_model(checkpoint), DRAWN, distance=DISTANCE["bfloat16"])
    assert flips > 0, "the check above should have had something to check"


def test_only_one_token_could_be_where_nothing_is_close() -> None:
    """The check itself: what was drawn could be, and hardly anything else at a distance of 1e-6, in 64 draws."""
    logits_NV = torch.randn(64, 40, generator=torch.Generator().manual_seed(2)) * 2
    keys = np.arange(64, dtype=np.uint64) * np.uint64(977)
    tokens_N, _ = choose_tokens(
        logits_NV, temperature=0.8, top_p=0.95, uniform=lambda draw: uniform(keys, position=3, draw=draw)
    )
    could = [
        [could_be(token, logits_V, DRAWN, int(key), 3, distance=1e-6) for token in range(40)]
        for logits_V, key in zip(logits_NV, keys, strict=True)
    ]
    assert all(row[token] for row, token in zip(could, tokens_N.tolist(), strict=True))
    assert sum(map(sum, could)) <= 65
    greedy = [could_be(token, logits_NV[0], GREEDY, 0, 0, distance=1e-6) for token in range(40)]
    assert sum(greedy) == 1 and greedy[int(logits_NV[0].argmax())]


@pytest.mark.multirank
def test_all_ranks_of_a_copy_learn_what_keeps_the_first_from_its_work(drawn: Path) -> None:
    said = {path.read_text() for path in drawn.glob("refused-*")}
    assert len(list(drawn.glob("refused-*"))) == 4
    assert len(said) == 1 and "the output exists already" in said.pop()
