"""Left-padded, packed and one by one: the same loss and the same gradients, on one rank and on two in each layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parallel.prompt_layouts import FAULTS, Found, measure

pytestmark = pytest.mark.multirank

TP2, PP2 = {"tensor_model_parallel_size": 2}, {"pipeline_model_parallel_size": 2}
LAYOUTS = {"tp2": TP2, "pp2": PP2, "tp2_sp": TP2 | {"sequence_parallel": True}}
ARRANGEMENTS = ("left_padded", "packed", "one_by_one")
TOLERANCE = 1e-5
"""Of the loss, and of a gradient's element relative to its tensor's largest: fp32 sums in another order."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """Of each layout; and of each fault, put into ranks that share the layers or their matrices in turn."""
    directory: Path = tmp_path_factory.mktemp("prompt_layouts")
    cases = {name: {"parallel": parallel} for name, parallel in LAYOUTS.items()}
    faulty = {name: {"fault": name, "parallel": (TP2, PP2)[number % 2]} for number, name in enumerate(FAULTS)}
    return measure(1, {"one_rank": {"parallel": {}}}, directory / "one") | measure(2, cases | faulty, directory / "two")


def _difference(found: Found, expected: Found, arrangement: str) -> float:
    """The largest one of an arrangement's loss and gradients to those of the examples one by one."""
    (loss, gradients), (right_loss, right) = found[arrangement], expected["one_by_one"]
    assert gradients.keys() == right.keys()
    relative = [
        float((gradients[name] - gradient).abs().max() / gradient.abs().max()) for name, gradient in right.items()
    ]
    return max(abs(loss - right_loss), *relative)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("layout", ["one_rank", *LAYOUTS])
def test_an_arrangement_has_the_loss_and_gradients_of_single_examples(
    found: dict[str, Found], layout: str, arrangement: str
) -> None:
    assert all(float(gradient.abs().max()) > 1e-3 for gradient in found["one_rank"]["one_by_one"][1].values())
    assert _difference(found[layout], found["one_rank"], arrangement) <= TOLERANCE


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_one_arrangement_shows(found: dict[str, Found], fault: str) -> None:
    assert max(_difference(found[fault], found["one_rank"], each) for each in found[fault]) > 100 * TOLERANCE
