"""Calls of kernels' C entry points: (name, arguments) with tensors come in; they are made here, or in another process.

In another process (replay.py, without torch) every tensor lies in its own exact piece of memory, which a sanitizer
guards, and a fault ends that process alone.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tests.ops.kernels import build

Argument = Tensor | int | float | ctypes.c_double | None
"""A tensor's address; an int64_t or int; a float; a double; null."""

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
FORWARD, REVERSE, RANDOM = 0, 1, 2
REPLAY = Path(__file__).with_name("replay.py")
PRELOADED = {"": None, "unoptimised": None, "address": "libasan.so", "thread": "libtsan.so"}


class KernelFault(Exception):
    """A status other than 0, or what the CPU execution found, or a sanitizer's report."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """In which order threads get their turns, and how many OS threads run blocks."""

    kind: int = FORWARD
    seed: int = 0
    num_workers: int = 1


ORDERS = {
    "forward": Order(),
    "reverse": Order(kind=REVERSE, num_workers=3),
    "random": Order(kind=RANDOM, seed=1),
    "random_3_workers": Order(kind=RANDOM, seed=2, num_workers=3),
}


@dataclass(frozen=True)
class Call:
    """One entry point's name, without `codex_`, and all of its arguments but the stream."""

    name: str
    arguments: Sequence[Argument] = field(default_factory=tuple)


def double(value: float) -> ctypes.c_double:
    """An argument that is a double in C; a Python float stands for a float."""
    return ctypes.c_double(value)


@cache
def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.codex_on_cpu_fault.restype = ctypes.c_char_p
    return library


def _c(argument: Argument) -> object:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr() if argument.numel() else 16)
    if isinstance(argument, ctypes.c_double):
        return argument
    return ctypes.c_float(argument) if isinstance(argument, float) else _integer(argument)


def _integer(argument: int | None) -> object:
    return ctypes.c_void_p(None) if argument is None else ctypes.c_int64(argument)


def size(library: Path, name: str, *sizes: int) -> int:
    """What an entry point that answers an int64_t says."""
    function = _load(library)[f"codex_{name}"]
    function.restype = ctypes.c_int64
    return int(function(*map(ctypes.c_int64, sizes)))


def status(library: Path, call: Call, order: Order = ORDERS["forward"]) -> int:
    """Makes one call in this process; answers its CodexStatus."""
    loaded = _load(library)
    assert loaded.codex_on_cpu_configure(order.kind, ctypes.c_uint64(order.seed), order.num_workers) == 1
    return int(loaded[f"codex_{call.name}"](*map(_c, call.arguments), ctypes.c_void_p(None)))


def run(library: Path, *calls: Call, order: Order = ORDERS["forward"]) -> None:
    """Makes the calls in this process.

    Raises: KernelFault.
    """
    for call in calls:
        if found := status(library, call, order):
            raise KernelFault(f"{call.name}: status {found}: {_load(library).codex_on_cpu_fault().decode()}")


def run_apart(library: Path, calls: Sequence[Call], *, sanitizer: str, orders: Sequence[Order]) -> list[list[bytes]]:
    """The bytes of all tensors after the calls, for each of the orders, from one process of its own.

    Raises: KernelFault.
    """
    tensors = list({id(a): a for call in calls for a in call.arguments if isinstance(a, Tensor)}.values())
    number = {id(tensor): at for at, tensor in enumerate(tensors)}
    plan = {
        "library": str(library),
        "orders": [[order.kind, order.seed, order.num_workers] for order in orders],
        "tensors": [_bytes(tensor).hex() for tensor in tensors],
        "calls": [[call.name, [_plain(argument, number) for argument in call.arguments]] for call in calls],
    }
    command = [sys.executable, "-S", "-E", str(REPLAY)]
    environment = {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "report_bugs=1:exitcode=66"}
    if preloaded := PRELOADED[sanitizer]:
        environment["LD_PRELOAD"] = _library_of_compiler(preloaded)
    if sanitizer == "thread":
        command = [*_fixed_addresses(), *command]
    done = subprocess.run(command, input=json.dumps(plan), capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise KernelFault(f"exit code {done.returncode}: {done.stderr[:4000]}")
    return [[bytes.fromhex(written) for written in results] for results in json.loads(done.stdout)]


@cache
def _fixed_addresses() -> list[str]:
    """ThreadSanitizer may not find room beside addresses that are drawn at random, and then says so. Containers can
    forbid to fix them: it is tried as it is there."""
    command = ["setarch", "-R"]
    allowed = (
        shutil.which("setarch") and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    )
    return command if allowed else []


@cache
def _library_of_compiler(name: str) -> str:
    return subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().view(torch.uint8).numpy()) if tensor.numel() else b""


def restored(tensor: Tensor, written: bytes) -> Tensor:
    """A tensor of the same shape with these bytes."""
    if not written:
        return tensor.clone()
    return torch.frombuffer(bytearray(written), dtype=tensor.dtype).view(tensor.shape)


def _plain(argument: Argument, number: dict[int, int]) -> list[object]:
    if isinstance(argument, Tensor):
        return ["tensor", number[id(argument)]]
    if isinstance(argument, ctypes.c_double):
        return ["double", argument.value]
    if isinstance(argument, float):
        return ["float", argument]
    return ["null", 0] if argument is None else ["int", argument]


def library(name: str) -> Path:
    """csrc/kernels/<name>.cu for this process."""
    return build.kernel(name)
