"""config.json to ModelConfig: what GPT-2's and GPT-Neo's have in common, and what a Codex model cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.errors import ConfigError, InputError

_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
_ANOTHER = "this model cannot be written as a Codex model"


def require_values(config: Mapping[str, Any], path: Path, allowed: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise InputError when config.json has another value of a field than a Codex model can have; the first is what
    transformers takes for a missing one."""
    for name, values in allowed.items():
        found = config.get(name, values[0])
        if found not in values:
            rule = f"{name} must be {' or '.join(map(repr, values))}"
            raise InputError(str(path), value=found, rule=rule, remedy=_ANOTHER)


def read_model(
    config: Mapping[str, Any], path: Path, fields: Mapping[str, str], *, ffn_hidden_size: str, **further: Any
) -> ModelConfig:
    """The ModelConfig of fields that config.json has under other names (ours -> theirs).

    ffn_hidden_size: their name of the MLP's width, which may be missing or null. further: values of other fields.
    Raises: InputError for a missing or faulty one.
    """
    require_values(config, path, {"activation_function": _TANH_GELU, "tie_word_embeddings": (True,)})
    for theirs in fields.values():
        if not isinstance(config.get(theirs), int):
            rule, remedy = f"{theirs} must be a whole number", "copy config.json again"
            raise InputError(str(path), value=config.get(theirs), rule=rule, remedy=remedy)
    values = {ours: config[theirs] for ours, theirs in fields.items()} | further
    if config.get(ffn_hidden_size) not in (None, 4 * values["hidden_size"]):
        values["ffn_hidden_size"] = config[ffn_hidden_size]
    values["layernorm_epsilon"] = config.get("layer_norm_epsilon", 1e-5)
    try:
        return build_config(ModelConfig, values)
    except ConfigError as error:
        raise InputError(str(path), rule=str(error.faults[0]), remedy=_ANOTHER) from error
