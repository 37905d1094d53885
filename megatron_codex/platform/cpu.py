"""Run megatron-core on a CPU with gloo: its CUDA calls are answered with their CPU counterparts.

In: nothing. Out: a process in which megatron-core 0.16.1 builds models, trains and saves without a CUDA device. Nothing
changes where CUDA is available, so one call at the start serves both machines (platform/megatron_core.py makes it).

megatron-core has no CPU mode: it names "cuda" in factory calls, asks torch.cuda for devices, streams and random states,
and tells dtypes by the type name "torch.cuda.FloatTensor". Each of these is answered here, and the factors of weight
gradients are laid out for a CPU; REPLACED lists the names that are replaced, and tests/platform says which one moved
when another version is installed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

PINNED_VERSION = "0.16.1"
"""Of megatron-core. Newer releases need Python 3.12 and were not tried."""

REPLACED: dict[str, tuple[str, ...]] = {
    "torch.cuda": (
        *("synchronize", "empty_cache", "set_device", "current_device", "current_stream", "default_stream"),
        *("stream", "Stream", "Event", "manual_seed", "get_rng_state", "set_rng_state"),
    ),
    "megatron.core.tensor_parallel.random": ("_get_cuda_rng_state", "_set_cuda_rng_state"),
    "megatron.core.tensor_parallel.layers": ("prepare_input_tensors_for_wgrad_compute",),
}
"""Module -> names that are replaced where there is no CUDA."""

_CPU = torch.device("cpu")
_modes: list[TorchFunctionMode] = []


@contextlib.contextmanager
def plain_fusions() -> Iterator[None]:
    """Import megatron-core inside this block: its fusions, wrapped by torch.compile when they are defined, stay plain
    functions where there is no CUDA. Compiling them takes most of a minute at the first step and gains nothing on a
    CPU; wrapping them alone imports torch's compiler, half of the time to start."""
    compile_function = torch.compile
    if not torch.cuda.is_available():
        torch.compile = lambda function=None, **kwargs: function or (lambda wrapped: wrapped)  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = compile_function


def answer_cuda_calls() -> None:
    """Let megatron-core's CUDA calls work on the CPU. Calling it again does nothing."""
    if torch.cuda.is_available() or _modes:
        return
    for module, names in REPLACED.items():
        for name in names:
            setattr(import_module(module), name, _answer(name))
    _modes.append(CudaNamesOnCpu())
    _modes[0].__enter__()


def missing_names() -> list[str]:
    """Names of REPLACED that this torch and megatron-core do not have (any more)."""
    return [
        f"{module}.{name}"
        for module, names in REPLACED.items()
        for name in names
        if not hasattr(import_module(module), name)
    ]


class CudaNamesOnCpu(TorchFunctionMode):
    """While active, torch calls that name a CUDA device mean the CPU, and Tensor.type() names the CUDA type."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.cuda:
            return args[0]
        if func is Tensor.type and len(args) == 1 and not kwargs:
            # megatron-core's optimizers sort parameters by "torch.cuda.FloatTensor" and its kin.
            return str(func(*args)).replace("torch.", "torch.cuda.", 1)
        if func is Tensor.to and len(args) > 1 and _names_cuda(args[1]):
            args = (args[0], _CPU, *args[2:])
        if not kwargs:
            return func(*args)
        kwargs = dict(kwargs)
        if _names_cuda(kwargs.get("device")):
            kwargs["device"] = _CPU
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        return func(*args, **kwargs)


def by_narrow_columns(gradient: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of a linear layer's weight gradient, gradient.t() @ inputs, as matrices [N, out] and [N, in].

    On a CPU the narrower one is laid out anew, column by column: in bf16 the product is up to three times as fast then,
    in fp32 that of the output layer by a quarter.
    """
    gradient_NO, inputs_NI = gradient.reshape(-1, gradient.shape[-1]), inputs.reshape(-1, inputs.shape[-1])
    if gradient_NO.device == _CPU:
        if inputs_NI.shape[1] <= gradient_NO.shape[1]:
            inputs_NI = inputs_NI.t().contiguous().t()
        else:
            gradient_NO = gradient_NO.t().contiguous().t()
    return gradient_NO, inputs_NI


class _Stream:
    """A CUDA stream or event where work is done as soon as it is called: nothing to wait for or to record."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def _answer(name: str) -> Any:
    """A new object for each name: torch.compile's registry rejects one function under two torch names."""
    stream = _Stream()
    answers: dict[str, Any] = {
        "current_device": lambda: _CPU,
        "current_stream": lambda *args, **kwargs: stream,
        "default_stream": lambda *args, **kwargs: stream,
        "stream": lambda *args, **kwargs: contextlib.nullcontext(),
        "Stream": type("Stream", (_Stream,), {}),
        "Event": type("Event", (_Stream,), {}),
        "manual_seed": lambda seed: torch.manual_seed(seed),
        "get_rng_state": lambda *args, **kwargs: torch.get_rng_state(),
        "set_rng_state": lambda state, *args, **kwargs: torch.set_rng_state(state),
        "_get_cuda_rng_state": lambda *args, **kwargs: torch.get_rng_state(),
        "_set_cuda_rng_state": lambda state, *args, **kwargs: torch.set_rng_state(state),
        "prepare_input_tensors_for_wgrad_compute": by_narrow_columns,
    }
    return answers.get(name) or (lambda *args, **kwargs: None)


def _names_cuda(device: object) -> bool:
    if isinstance(device, str):
        return device.startswith("cuda")
    return isinstance(device, torch.device) and device.type == "cuda"
