"""Attention beside shared prompts: C++ against fp64, with every instruction set; a sample's bits are its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from megatron_codex.native.library import instructions, library
from megatron_codex.ops import shared_prefix
from megatron_codex.ops.shared_prefix import Prompts, reference_shared_prefix_attention, shared_prefix_attention

SCALE = 0.1
"""Of heads of about a hundred channels: scores are of size 1, and their rounding does not grow in the exponential."""

TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 1.6e-2}
"""Values are up to 4. fp32: sums in another order; bf16: the result's rounding to 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """rows: samples of each prompt. lengths: own positions, over and over. room: of prompts beyond the longest."""

    rows: tuple[int, ...]
    prompts: tuple[int, ...]
    heads: int = 2
    head_size: int = 64
    lengths: tuple[int, ...] = (9,)
    room: int = 0


CASES = {
    "one_block": Case(rows=(16,), prompts=(150,), heads=4, head_size=80, lengths=(20,), room=10),
    "prompts_of_unlike_length": Case(rows=(3, 1, 9), prompts=(5, 33, 1), lengths=(7, 1, 5), room=3),
    "first_token": Case(rows=(5, 2), prompts=(12, 1), lengths=(1,)),
    "no_own_positions": Case(rows=(2, 2), prompts=(9, 4), heads=3, head_size=7, lengths=(0, 5)),
    "no_prompt": Case(rows=(1, 5), prompts=(4, 0), heads=1, head_size=20, lengths=(8, 3)),
    "nothing_at_all": Case(rows=(2,), prompts=(0,), lengths=(0,), room=2),
    "long": Case(rows=(13,), prompts=(300,), heads=1, head_size=128, lengths=(97,)),
}
WINDOWS = [0, 1, 6, 40]


@pytest.fixture(params=instructions())
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each instruction set in turn, on two threads."""
    monkeypatch.setattr(shared_prefix, "fastest", lambda: (library(), request.param))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    yield request.param


@pytest.fixture(params=TOLERANCES, ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


Inputs = tuple[Tensor, Prompts, Tensor, Tensor, Tensor]


def _inputs(case: Case, dtype: torch.dtype) -> Inputs:
    """As sampling has them: queries beside keys and values of one product, own positions of a head side by side."""
    draw = torch.Generator().manual_seed(len(case.rows))
    B, P, A, D = sum(case.rows), len(case.rows), case.heads, case.head_size
    T, S = max(case.prompts) + case.room, max(case.lengths)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw).to(dtype)

    prompts = Prompts(
        keys=normal(P, A, D, T),
        values=normal(P, A, T, D),
        lengths=torch.tensor(case.prompts, dtype=torch.int32),
        prompt_of=torch.repeat_interleave(torch.arange(P), torch.tensor(case.rows)),
        place_of=torch.cat([torch.arange(count) for count in case.rows]),
        most_samples=max(2, *case.rows),
    )
    lengths_B = torch.tensor([case.lengths[row % len(case.lengths)] for row in range(B)], dtype=torch.int32)
    keys_BSAD, values_BSAD = (normal(B, A, S, D).transpose(1, 2) for _ in range(2))
    beyond_BS = torch.arange(S) >= lengths_B[:, None]
    for own_BSAD in (keys_BSAD, values_BSAD):
        own_BSAD[beyond_BS] = torch.nan
    return normal(B, 3, A, D)[:, 0], prompts, keys_BSAD, values_BSAD, lengths_B


def _exact(inputs: Inputs, *, scale: float, window: int) -> Tensor:
    """A sample and head at a time, fp64, over the positions that are seen."""
    queries_BAD, prompts, keys_BSAD, values_BSAD, lengths_B = inputs
    attended_BAD = torch.zeros(queries_BAD.shape, dtype=torch.float64)
    for sample, length in enumerate(lengths_B.tolist()):
        prompt = int(prompts.prompt_of[sample])
        end = int(prompts.lengths[prompt])
        for head in range(queries_BAD.shape[1]):
            keys_SD = torch.cat((prompts.keys[prompt, head, :, :end].T, keys_BSAD[sample, :length, head])).double()
            values_SD = torch.cat((prompts.values[prompt, head, :end], values_BSAD[sample, :length, head])).double()
            seen = slice(max(0, len(keys_SD) - window) if window else 0, None)
            if len(keys_SD):
                shares_S = torch.softmax(keys_SD[seen] @ queries_BAD[sample, head].double() * scale, dim=0)
                attended_BAD[sample, head] = shares_S @ values_SD[seen]
    return attended_BAD


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cpp_is_the_textbooks_attention(chosen: str, dtype: torch.dtype, case: Case, window: int) -> None:
    inputs = _inputs(case, dtype)
    got = shared_prefix_attention(*inputs, scale=SCALE, window=window)
    assert got.dtype == dtype and got.is_contiguous()
    assert (got.double() - _exact(inputs, scale=SCALE, window=window)).abs().max() <= TOLERANCES[dtype]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_reference_is_the_textbooks_attention(dtype: torch.dtype, case: Case, window: int) -> None:
    """Also by its two operations. In bf16 weights are rounded before the product, and both parts before they join."""
    inputs = _inputs(case, dtype)
    exact = _exact(inputs, scale=SCALE, window=window)
    queries, prompts, *own = inputs
    flat = (prompts.keys, prompts.values, prompts.lengths, prompts.prompt_of, prompts.place_of, prompts.most_samples)
    for got in (
        reference_shared_prefix_attention(*inputs, scale=SCALE, window=window),
        shared_prefix._in_parts(queries, *flat, *own, window, SCALE),
    ):
        assert got.dtype == dtype
        assert (got.double() - exact).abs().max() <= 3 * TOLERANCES[dtype]


@pytest.mark.parametrize("head_size", [64, 23])
def test_no_bit_depends_on_the_other_samples_or_threads(
    chosen: str, dtype: torch.dtype, head_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of eight rows, of four and of one; sizes that give threads work."""
    case = Case(rows=(15, 6), prompts=(70, 33), heads=3, head_size=head_size, lengths=(11,))
    queries, prompts, keys, values, lengths = _inputs(case, dtype)
    for window in (0, 30):
        together = shared_prefix_attention(queries, prompts, keys, values, lengths, scale=SCALE, window=window)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
        for some in ([3], [20], [1, 2, 3, 14, 15], list(range(2, 14))):
            of_some = replace(prompts, prompt_of=prompts.prompt_of[some], place_of=prompts.place_of[some])
            own = (keys[some], values[some], lengths[some])
            got = shared_prefix_attention(queries[some], of_some, *own, scale=SCALE, window=window)
            assert torch.equal(got, together[some])


def test_layouts_that_cpp_does_not_read_are_copied(chosen: str, dtype: torch.dtype) -> None:
    queries, prompts, keys, values, lengths = _inputs(CASES["prompts_of_unlike_length"], dtype)
    expected = shared_prefix_attention(queries, prompts, keys, values, lengths, scale=SCALE)
    apart = [torch.stack((x, x), dim=-1)[..., 0] for x in (queries, keys, prompts.keys)]
    given = replace(prompts, keys=apart[2], lengths=prompts.lengths.repeat(2, 1).t()[:, 0])
    assert torch.equal(shared_prefix_attention(apart[0], given, apart[1], values, lengths, scale=SCALE), expected)
    assert torch.equal(
        shared_prefix_attention(queries, prompts, keys, values.contiguous(), lengths, scale=SCALE), expected
    )


def test_what_cpp_cannot_read_is_refused_in_one_line() -> None:
    queries, prompts, keys, values, lengths = _inputs(CASES["first_token"], torch.float32)
    with pytest.raises(
        ValueError, match=r"^shared_prefix_attention: lengths: got \(7,\) of torch.int64 on cpu; must be"
    ):
        shared_prefix_attention(queries, prompts, keys, values, lengths.long(), scale=SCALE)
    with pytest.raises(ValueError, match=r"^shared_prefix_attention: values: got .* of torch.bfloat16"):
        shared_prefix_attention(queries, prompts, keys, values.bfloat16(), lengths, scale=SCALE)
    for field, number in (("lengths", 99), ("prompt_of", 2)):
        wrong = replace(prompts, **{field: torch.full_like(getattr(prompts, field), number)})
        with pytest.raises(ValueError, match=rf"{field}.*: must"):
            shared_prefix_attention(queries, wrong, keys, values, lengths, scale=SCALE)
    with pytest.raises(ValueError, match="lengths: must be within the rows' room"):
        shared_prefix_attention(queries, prompts, keys, values, lengths + 1, scale=SCALE)


def test_without_the_library_the_parts_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = _inputs(CASES["one_block"], torch.float32)
    monkeypatch.setattr(shared_prefix, "fastest", lambda: None)
    got = shared_prefix_attention(*inputs, scale=SCALE)
    assert torch.equal(got, reference_shared_prefix_attention(*inputs, scale=SCALE))
