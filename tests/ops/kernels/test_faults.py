"""Injected faults are caught: faults.py has each with what catches it; test_sanitizers.py has the sound kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.kernels import build
from tests.ops.kernels.calls import ORDERS, RANDOM, KernelFault, Order
from tests.ops.kernels.faults import EXECUTION, FAULTS, RACE, RESULTS, Fault


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_fault_is_caught(fault: Fault, tmp_path: Path) -> None:
    build.need_compiler()
    name = f"{fault.case.__name__}-{tmp_path.name}"
    source = fault.inject(tmp_path / "csrc")
    library = build.compile_for_cpu(source, sanitizer=fault.sanitizer, name=name, faulty=True)
    orders = [Order(kind=RANDOM, seed=5, num_workers=2)] if fault.caught_by == RACE else list(ORDERS.values())
    with pytest.raises((KernelFault, AssertionError)) as caught:
        fault.case().check(library, sanitizer=fault.sanitizer, orders=orders)
    if fault.caught_by == RESULTS:
        assert caught.type is AssertionError
    elif fault.caught_by == EXECUTION:
        assert "status 4: " in str(caught.value)
    else:
        assert fault.caught_by in str(caught.value)
