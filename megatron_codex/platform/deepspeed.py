"""DeepSpeed, imported here only, so that it starts quietly and builds nothing.

In: nothing. Out: the module deepspeed, ready for `initialize`, or an InputError that says what is missing.

By itself DeepSpeed compiles C++ at the first start: shared-memory collectives on a CPU, its own Adam for offload. That
needs a compiler, takes minutes, and a `lock` file that a killed build left behind makes every later start wait for
ever. Neither is used: collectives go through torch.distributed, and the optimizer is torch's fused AdamW, on CPU and
GPU alike. So there is no build, no cache of extensions and no lock.
"""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

import torch

from megatron_codex.errors import InputError

PINNED_VERSION = "0.19.8"
"""training/deepspeed_state.py reads this version's partitions."""

_NEVER_BUILT = ("deepspeed_shm_comm", "deepspeed_ccl_comm", "cpu_adam", "fused_adam")


def require_deepspeed() -> None:
    """Raise InputError, without importing it, when DeepSpeed is not installed or is another version."""
    try:
        found = version("deepspeed")
    except PackageNotFoundError:
        _refuse("needs the package deepspeed, which is not installed")
    if found != PINNED_VERSION:
        _refuse(f"needs deepspeed {PINNED_VERSION}; {found} is installed")


def load_deepspeed() -> Any:
    """The module deepspeed, which will not compile anything. Raises: InputError when it cannot be imported."""
    require_deepspeed()
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.setdefault("LOCAL_RANK", "0")  # it asks for what a launcher sets, of a plain `python` too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at import, of optional libraries
        try:
            deepspeed = importlib.import_module("deepspeed")
        except ImportError as error:
            _refuse(f"cannot import deepspeed ({error})")
        importlib.import_module("deepspeed.utils").logger.setLevel(logging.WARNING)
        # Its own switch: what is not compatible is not built, and torch.distributed does the work.
        compatible = importlib.import_module("deepspeed.ops").__compatible_ops__
        compatible.update(dict.fromkeys(_NEVER_BUILT, False))
    return deepspeed


def _refuse(rule: str) -> NoReturn:
    remedy = f"DS_BUILD_OPS=0 pip install deepspeed=={PINNED_VERSION} (the extra [deepspeed]), or engine=megatron"
    raise InputError("engine", value="deepspeed", rule=rule, remedy=remedy)
