from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.corpus.components import Components


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_components_are_those_of_a_search_from_each_document(graph: tuple[int, list[tuple[int, int]]]) -> None:
    num_documents, pairs = graph
    found = Components(num_documents)
    for part in (pairs[::2], pairs[1::2]):
        left, right = np.array(part, np.int64).reshape(-1, 2).T
        found.join(left, right)
    expected = list(range(num_documents))
    for _ in range(num_documents):
        for left, right in pairs:
            expected[left] = expected[right] = min(expected[left], expected[right])
    assert found.firsts(np.arange(num_documents)).tolist() == expected
    assert found.all_firsts().tolist() == expected


def test_a_chain_of_a_million_documents_is_joined_in_a_few_rounds() -> None:
    found = Components(1_000_000)
    numbers = np.arange(1_000_000)
    found.join(numbers[:-1], numbers[1:])
    assert not found.all_firsts().any()
