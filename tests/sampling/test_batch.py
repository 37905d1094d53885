"""Batches of samples: each sample is what it would be alone; limits and greedy decoding."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.sampling.batch import SampleRequest, decode_batch
from megatron_codex.sampling.loading import SamplingModel
from megatron_codex.sampling.stopping import GrowingSample, StopSequences

CONFIG = GenerationConfig(num_samples=7, temperature=0.9, max_new_tokens=60, seed=4)
STOP = StopSequences(("e", "\n"))
"""Frequent enough that samples of a random model leave the batch at many different steps."""


def _prompt(length: int) -> tuple[int, ...]:
    return tuple(torch.randint(1, 250, (length,), generator=torch.Generator().manual_seed(length)).tolist())


REQUESTS = [
    SampleRequest(f"task {length}", index, _prompt(length)) for length in (5, 1, 33, 64, 20) for index in range(7)
]


def _decode(
    model: SamplingModel, requests: list[SampleRequest], config: GenerationConfig = CONFIG
) -> list[GrowingSample]:
    return decode_batch(model, requests, config=config, stop=STOP)


def _in_batches(model: SamplingModel, size: int) -> list[GrowingSample]:
    starts = range(0, len(REQUESTS), size)
    return [sample for start in starts for sample in _decode(model, REQUESTS[start : start + size])]


def _same(samples: list[GrowingSample], others: list[GrowingSample]) -> None:
    assert [(bytes(s.text), s.finish_reason) for s in samples] == [(bytes(s.text), s.finish_reason) for s in others]
    for sample, other in zip(samples, others, strict=True):
        assert sample.logps == pytest.approx(other.logps, abs=1e-4)  # fp32 sums in another order


@pytest.mark.parametrize("size", [1, 4, 11], ids=lambda size: f"batches of {size}")
def test_samples_do_not_depend_on_the_batch(model: SamplingModel, size: int) -> None:
    together = _decode(model, REQUESTS)
    assert len({len(sample.logps) for sample in together}) > 5, "samples should end at different steps"
    _same(_in_batches(model, size), together)


def test_samples_do_not_depend_on_the_order(model: SamplingModel) -> None:
    _same(_decode(model, REQUESTS[::-1])[::-1], _decode(model, REQUESTS))


def test_samples_are_equal_to_the_last_bit_where_the_machine_sums_rows_alike(any_model: SamplingModel) -> None:
    """Otherwise one draw in millions could fall on the other side of a border."""
    x, weight = torch.randn(64, 128), torch.randn(32, 128)
    few, many = torch.nn.functional.linear(x[:16], weight), torch.nn.functional.linear(x, weight)
    if not torch.equal(few, many[:16]):
        pytest.skip("this machine's BLAS sums 16 rows in another order than 64")
    assert _in_batches(any_model, 4) == _decode(any_model, REQUESTS)


def test_samples_of_one_task_differ_and_another_seed_gives_others(model: SamplingModel) -> None:
    samples = _decode(model, REQUESTS[:7])
    assert len({bytes(sample.text) for sample in samples}) > 1
    assert _decode(model, REQUESTS[:7], dataclasses.replace(CONFIG, seed=5)) != samples


def test_greedy_follows_the_argmax_and_scores_it(any_model: SamplingModel) -> None:
    config = GenerationConfig(temperature=0, max_new_tokens=12)
    prompt = _prompt(9)
    sample = decode_batch(
        any_model, [SampleRequest("t", 0, prompt)], config=config, stop=StopSequences(("no such text",))
    )[0]
    tokens, logps = list(prompt), []
    while len(logps) < 12:
        logp = torch.log_softmax(any_model.decoder.logits(any_model.decoder.encode(torch.tensor(tokens)))[-1], dim=-1)
        tokens.append(int(logp.argmax()))
        if tokens[-1] == any_model.tokenizer.eod:
            break
        logps.append(float(logp.max()))
    assert bytes(sample.text) == b"".join(any_model.token_bytes[token] for token in tokens[9 : 9 + len(logps)])
    assert sample.logps == pytest.approx(logps, abs=1e-4)


@pytest.mark.parametrize(
    ("length", "max_new_tokens", "expected"),
    [(90, 60, 7), (96, 60, 1), (10, 3, 3)],
    ids=["the context ends", "one token left", "the limit"],
)
def test_length_is_the_limit_or_the_context(
    model: SamplingModel, length: int, max_new_tokens: int, expected: int
) -> None:
    """96 positions: a prompt of 90 leaves 6, and the token drawn at the last of them needs no position."""
    config = dataclasses.replace(CONFIG, max_new_tokens=max_new_tokens)
    never = StopSequences(("\0\0no such text\0",))
    requests = [SampleRequest("t", index, _prompt(length)) for index in range(7)]
    samples = decode_batch(model, requests, config=config, stop=never)
    whole = [sample for sample in samples if sample.finish_reason == "length"]
    assert whole and all(len(sample.logps) == expected for sample in whole)


def test_a_prompt_longer_than_the_context_gives_no_text_and_says_so(model: SamplingModel) -> None:
    samples = _decode(model, [SampleRequest("long", 0, _prompt(97)), REQUESTS[0]])
    assert (bytes(samples[0].text), samples[0].logps, samples[0].finish_reason) == (b"", [], "prompt_too_long")
    assert samples[1] == _decode(model, REQUESTS[:1])[0]
