"""Every kernel under AddressSanitizer and UndefinedBehaviorSanitizer, those whose threads share memory under
ThreadSanitizer: no report, and the right results, in a forward and a random order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ops.kernels import build, cases
from tests.ops.kernels.calls import FORWARD, RANDOM, Order

SHARING = (
    *(cases.vocab_parallel_ce, cases.merge_attn_states, cases.decode_suffix),
    *(cases.causal_softmax, cases.layer_norm),
)
"""Over shared memory or, in place, over their rows. flat_adam's square sum shares as layer_norm does (block_sum)."""


@pytest.mark.parametrize("make", cases.CASES, ids=lambda make: make.__name__)
def test_addresses_and_undefined_behaviour(make: Callable[[], cases.Case]) -> None:
    case = make()
    library = build.kernel(case.kernel, sanitizer="address")
    case.check(library, sanitizer="address", orders=[Order(), Order(kind=RANDOM, seed=3, num_workers=2)])


@pytest.mark.parametrize("make", SHARING, ids=lambda make: make.__name__)
def test_races(make: Callable[[], cases.Case]) -> None:
    case = make()
    library = build.kernel(case.kernel, sanitizer="thread")
    case.check(library, sanitizer="thread", orders=[Order(kind=FORWARD, num_workers=2)])
