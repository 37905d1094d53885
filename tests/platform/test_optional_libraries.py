"""Transformer Engine and Apex: where they are missing, each setting that needs them is refused in one line."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.optimizer import OptimizerConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.model.layers import layer_parts
from megatron_codex.ops.choice import operations
from megatron_codex.platform import adam, apex, transformer_engine
from megatron_codex.platform.megatron_core import optimizer as core
from megatron_codex.training.engine import fused_adam
from megatron_codex.training.flat_adam import FlatAdam

SHAPE = {"num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 8}
without_apex = pytest.mark.skipif(find_spec("apex") is not None, reason="needs a machine without apex")
without_engine = pytest.mark.skipif(
    find_spec("transformer_engine") is not None, reason="needs a machine without transformer_engine"
)


@without_apex
def test_apexs_layer_norm_is_refused() -> None:
    model = ModelConfig(**SHAPE, layer_norm_backend="apex")
    line = r"^model\.layer_norm_backend: got 'apex'; needs NVIDIA Apex, which cannot be imported \(.*\); build it from "
    with pytest.raises(InputError, match=line):
        layer_parts(model, operations("auto"))


@without_engine
def test_transformer_engines_layers_are_refused() -> None:
    model = ModelConfig(**SHAPE, transformer_impl="transformer_engine")
    line = (
        r"^model\.transformer_impl: got 'transformer_engine'; needs Transformer Engine, which cannot be imported \(.*\)"
    )
    with pytest.raises(InputError, match=line):
        layer_parts(model, operations("auto"))


@pytest.mark.parametrize(
    "backend", [pytest.param("apex", marks=without_apex), pytest.param("transformer_engine", marks=without_engine)]
)
def test_their_adam_is_refused(backend: str) -> None:
    with pytest.raises(InputError, match=rf"^optimizer\.backend: got '{backend}'; needs .* or leave this field out$"):
        fused_adam(OptimizerConfig(lr=1e-3, backend=backend).backend)


def test_the_configuration_decides_which_adam_is_built() -> None:
    """Not what is installed: by itself megatron-core takes Transformer Engine's or Apex's where it finds one."""
    before = core.Adam
    with adam.adam_class(fused_adam("flat_adam")):
        assert core.Adam is FlatAdam and not core.USING_PYTORCH_OPTIMIZER
    with adam.adam_class(fused_adam("torch")):
        assert core.Adam is torch.optim.AdamW and core.USING_PYTORCH_OPTIMIZER
    assert core.Adam is before


def test_two_norms_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"layer_norm_backend: got 'apex'; is not read with transformer_impl"):
        ModelConfig(**SHAPE, transformer_impl="transformer_engine", layer_norm_backend="apex")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_installed_libraries_give_their_parts() -> None:
    if find_spec("apex") is None and find_spec("transformer_engine") is None:
        pytest.skip("needs apex or transformer_engine")
    if find_spec("apex") is not None:
        assert apex.fused_adam("optimizer.backend").__name__ == "FusedAdam"
    if find_spec("transformer_engine") is not None:
        assert len(transformer_engine.layers("model.transformer_impl")) == 3
