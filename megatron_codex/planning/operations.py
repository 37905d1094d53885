"""What one torch operation costs: floating-point operations and bytes of memory read and written.

Only matrix products and attention have floating-point operations worth counting; everything else is bound by memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

_PRODUCTS = {"aten::mm": (0, 1), "aten::bmm": (0, 1), "aten::addmm": (1, 2), "aten::baddbmm": (1, 2)}
"""Operation -> positions of the two matrices among its arguments."""

_ATTENTION = "aten::_scaled_dot_product"


@dataclass(frozen=True, order=True)
class Operation:
    """One sort of operation: equal cost."""

    sort: Literal["product", "attention", "memory"]
    flops: int
    """By convention: attention in full although it is causal, its backward pass twice its forward pass."""
    work_flops: float
    """What a fused kernel carries out: the causal half, and the scores once more in the backward pass."""
    memory_bytes: int
    """Read and written."""


_FREE = Operation("memory", 0, 0, 0)


def operation(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Operation:
    """The cost of `out = func(*args, **kwargs)`, a call that reached torch's dispatcher."""
    name = func.name().split(".")[0]
    results = [out] if isinstance(out, Tensor) else [t for t in out if isinstance(t, Tensor)] if _many(out) else []
    inputs = _inputs(args)
    if _is_view(func, inputs, results) or (not inputs and "empty" in name):
        return _FREE
    size = sum(t.numel() * t.element_size() for t in (*inputs, *results))
    if name in _PRODUCTS:
        left, right = (args[position] for position in _PRODUCTS[name])
        flops = 2 * left.numel() * right.shape[-1]
        return Operation("product", flops, flops, size)
    if name.startswith(_ATTENTION):
        flops, work = _attention_flops(func, args, kwargs, backward=name.endswith("backward"))
        return Operation("attention", flops, work, size)
    return Operation("memory", 0, 0, size)


def _attention_flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, backward: bool) -> tuple[int, float]:
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    query, key = given["query"], given["key"]
    product = 2 * query.numel() * key.shape[-2]  # one [.., S, D] x [.., D, S]
    share = 0.5 if given.get("is_causal", False) else 1.0
    return (4 * product, 5 * product * share) if backward else (2 * product, 2 * product * share)


def _inputs(args: Any) -> list[Tensor]:
    found = []
    for arg in args:
        if isinstance(arg, Tensor):
            found.append(arg)
        elif _many(arg):
            found += _inputs(arg)
    return found


def _many(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_view(func: Any, inputs: list[Tensor], results: list[Tensor]) -> bool:
    """Whether the results are the inputs' memory seen otherwise: nothing is read or written."""
    if func._schema.is_mutable or not inputs or not results:
        return False
    storages = {id(t.untyped_storage()) for t in inputs}
    return all(id(t.untyped_storage()) in storages for t in results)
