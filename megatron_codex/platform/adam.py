"""Which Adam megatron-core builds: torch's, ours, Apex's or Transformer Engine's, as the configuration says.

In: the choice. Out: a context in which megatron-core builds it. By itself it takes Transformer Engine's where that is
installed, then Apex's, then torch's: what a run computes with would depend on the machine. Apex and Transformer Engine
are imported by platform/apex.py and platform/transformer_engine.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from megatron_codex.platform.megatron_core import distrib_optimizer
from megatron_codex.platform.megatron_core import optimizer as core


@contextmanager
def adam_class(fused: type[Any] | None) -> Iterator[None]:
    """Inside, megatron-core builds this class, which takes Apex's arguments; none: torch.optim.AdamW."""
    plain = fused is None
    chosen = torch.optim.AdamW if plain else fused
    # The distributed optimizer asks for an Adam that it knows.
    known = patch.object(distrib_optimizer, "Adam", chosen)
    with patch.multiple(core, USING_PYTORCH_OPTIMIZER=plain, Adam=chosen), known:
        yield
