"""Which program does an operation, and why, in words: the choice of `kernels` (auto, reference, own) on a kind of
device. No torch here until the CUDA library is looked at.

In: an operation's name, the choice, "cpu" or "cuda". Out: an Active, or the refusal of `own` where the library it needs
is missing. ops/choice.py has the functions that go with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from megatron_codex.errors import InputError
from megatron_codex.native.library import fastest
from megatron_codex.ops.cuda_library import why_missing

Kernels = Literal["auto", "reference", "own"]
Device = Literal["cpu", "cuda"]
FIELD = "model.kernels"

CROSS_ENTROPY, GELU, SOFTMAX = "cross entropy", "GELU", "causal softmax"
LAYER_NORM, ADAM, LINEAR = "layer norm", "Adam", "linear layers"
DECODING, DRAWING = "decoding beside a shared prefix", "drawing tokens"

HEAD_SIZES = (64, 80, 96, 128)
"""Channels of a head that decode_suffix.cu is compiled for: those of the paper's sizes."""

_IN_CPP = {
    CROSS_ENTROPY: "csrc/cpu/rows",
    GELU: "csrc/cpu/rows",
    SOFTMAX: "csrc/cpu/rows, in plainly causal attention that is short and bf16, or attention_backend=unfused",
    DECODING: "csrc/cpu/attention",
    DRAWING: "csrc/cpu/rows",
}
_NOT_IN_CPP = {
    LAYER_NORM: "no C++ twin: torch's is one pass",
    ADAM: "no C++ twin of flat_adam: the same in torch",
}
_IN_CUDA = {
    CROSS_ENTROPY: "csrc/kernels/vocab_parallel_ce.cu",
    GELU: "csrc/kernels/bias_gelu.cu",
    SOFTMAX: "csrc/kernels/causal_softmax.cu, with attention_backend=unfused, bands and left padding too",
    LAYER_NORM: "csrc/kernels/layer_norm.cu",
    ADAM: "csrc/kernels/flat_adam.cu",
    DECODING: "csrc/kernels/decode_suffix.cu, merge_attn_states.cu, after a matrix product with the prompt",
}
_NOT_IN_CUDA = {DRAWING: "no CUDA kernel: the same in torch"}


@dataclass(frozen=True, kw_only=True)
class Active:
    """What does one operation."""

    operation: str
    program: str
    """CUDA kernel, CPU C++, torch, or a library's name."""
    why: str


def one(name: str, kernels: Kernels, *, device: Device, field: str = FIELD) -> Active:
    """What does one operation of this project's. field: the setting that `kernels` comes from."""
    if kernels == "reference":
        return Active(operation=name, program="torch", why=f"{field}=reference")
    return _on_cuda(name) if device == "cuda" else _on_cpu(name)


def of_sampling(
    kernels: Kernels, *, device: Device, head_size: int | None = None, field: str = FIELD
) -> tuple[Active, ...]:
    """What does each operation of sampling. head_size: channels of the model's heads, where they are known."""
    decoding = one(DECODING, kernels, device=device, field=field)
    if decoding.program == "CUDA kernel" and head_size is not None and head_size not in HEAD_SIZES:
        decoding = Active(operation=DECODING, program="torch", why=_other_heads(head_size))
    return decoding, one(DRAWING, kernels, device=device, field=field)


def require_kernels(kernels: Kernels, *, device: Device, field: str = FIELD, head_size: int | None = None) -> None:
    """Raise InputError where `own` is asked for and cannot be had on this kind of device.

    head_size: channels of the heads that are to be decoded beside a shared prefix; none: nothing is.
    """
    if kernels != "own":
        return
    remedy = "build it, or give auto, which does without"
    if device == "cuda":
        if (reason := why_missing()) is not None:
            raise InputError(field, value=kernels, rule=f"needs the CUDA library: {reason}", remedy=remedy)
        if head_size is not None and head_size not in HEAD_SIZES:
            raise InputError(field, value=kernels, rule=f"cannot be: {_other_heads(head_size)}", remedy="give auto")
    elif fastest() is None:
        rule = "needs the C++ library, which is not built here"
        remedy = "install a C++17 compiler, then megatron-codex again; or give auto, which does without"
        raise InputError(field, value=kernels, rule=rule, remedy=remedy)


def in_words(found: tuple[Active, ...]) -> str:
    """One line: "CPU C++ (avx512): cross entropy, GELU; torch: layer norm"."""
    by_program: dict[str, list[str]] = {}
    for each in found:
        by_program.setdefault(each.program, []).append(each.operation)
    return "; ".join(f"{program}: {', '.join(names)}" for program, names in by_program.items())


def _other_heads(head_size: int) -> str:
    sizes = ", ".join(map(str, HEAD_SIZES))
    return f"csrc/kernels/decode_suffix.cu is for heads of {sizes} channels, not of {head_size}"


def _on_cuda(name: str) -> Active:
    if name in _NOT_IN_CUDA:
        return Active(operation=name, program="torch", why=_NOT_IN_CUDA[name])
    reason = why_missing()
    if reason is not None:
        return Active(operation=name, program="torch", why=f"the CUDA library: {reason}")
    return Active(operation=name, program="CUDA kernel", why=_IN_CUDA[name])


def _on_cpu(name: str) -> Active:
    if name not in _IN_CPP:
        return Active(operation=name, program="torch", why=_NOT_IN_CPP[name])
    found = fastest()
    if found is None:
        return Active(operation=name, program="torch", why="the C++ library is not built here")
    return Active(operation=name, program=f"CPU C++ ({found[1]})", why=_IN_CPP[name])
