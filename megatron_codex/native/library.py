"""The C++ library, or why there is none.

setup.py builds megatron_codex/native/_cpu from csrc/cpu where it finds a C++17 compiler. Who calls it has a twin in
Python for machines without one; `library()` says so once, since the twin gives the same results many times slower.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from typing import Any

_logger = logging.getLogger(__name__)
_MODULE = "megatron_codex.native._cpu"


@lru_cache(maxsize=1)
def library() -> Any | None:
    """The module, or None with one warning that says why and how to have it."""
    try:
        return import_module(_MODULE)
    except ImportError as error:
        _logger.warning(
            "the C++ library is not there (%s): the same in Python, many times slower; install a C++17 compiler, then "
            "megatron-codex again",
            error,
        )
        return None


def fastest() -> tuple[Any, str] | None:
    """(the module, the best instruction set that it can use here), or None without the library."""
    found = library()
    return None if found is None else (found, instructions()[0])


def instructions() -> tuple[str, ...]:
    """The instruction sets that the library can use on this processor, the best first; none without the library."""
    found = library()
    return () if found is None else tuple(found.available_instructions())
