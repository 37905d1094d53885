from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from megatron_codex.corpus.workers import map_in_order
from megatron_codex.errors import InputError, WorkError


def slowest_first(number: int) -> int:
    time.sleep(0.05 if number == 0 else 0)
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise InputError("here", value=number, rule="is three", remedy="give four")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number


def process_of(number: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_the_order_of_the_items(num_workers: int) -> None:
    assert list(map_in_order(slowest_first, range(20), num_workers=num_workers)) == [n * n for n in range(20)]


def test_one_worker_is_this_process_and_two_are_others() -> None:
    assert set(map_in_order(process_of, range(3), num_workers=1)) == {os.getpid()}
    assert os.getpid() not in set(map_in_order(process_of, range(3), num_workers=2))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_bad_input_in_a_worker_is_the_same_line(num_workers: int) -> None:
    with pytest.raises(InputError) as caught:
        list(map_in_order(refuse_three, range(9), num_workers=num_workers))
    assert str(caught.value) == "here: got 3; is three; give four"


def test_a_worker_that_dies_is_work_that_failed() -> None:
    with pytest.raises(WorkError, match="a worker process died"):
        list(map_in_order(die_at_three, range(9), num_workers=2))


def test_items_are_taken_as_results_are() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_in_order(slowest_first, items(), num_workers=2)
    assert next(results) == 0
    assert len(taken) == 4
    results.close()
