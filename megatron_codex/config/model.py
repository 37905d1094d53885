"""The model's shape: a GPT with pre-norm, tanh-GELU, learned positions, biases and tied embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from megatron_codex.config.presets import PRESETS, PresetName
from megatron_codex.errors import Fault, raise_faults

_SHAPE = ("num_layers", "hidden_size", "num_attention_heads", "seq_length")

_FROM_PRESET: Any = None
"""Default of a field that the preset fills in, and that is required without one."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a GPT and how its weights start. Without a preset, the next four fields are required."""

    preset: PresetName | None = None
    """One of the paper's sizes, codex_12m to codex_12b: gives the next four fields, each of which may still be set."""
    num_layers: int = _FROM_PRESET
    """Transformer layers."""
    hidden_size: int = _FROM_PRESET
    """Width of the hidden states, in channels."""
    num_attention_heads: int = _FROM_PRESET
    """Attention heads of a layer; they share the hidden size evenly."""
    seq_length: int = _FROM_PRESET
    """Positions the model has embeddings for, in tokens."""
    ffn_hidden_size: int | None = None
    """Inner width of the MLP, in channels; none: 4 x hidden_size."""
    attention_pattern: Literal["dense", "alternating"] = "dense"
    """dense: every layer sees the whole past; alternating: every second layer, from the second on, sees the last
    band_width positions only (GPT-3, section 2.1; which of the two comes first is not published)."""
    band_width: int | None = None
    """alternating: positions a banded layer sees, its own included, in tokens."""
    attention_backend: Literal["sdpa", "unfused", "flash"] = "sdpa"
    """Program of attention, equal but for rounding: torch's scaled_dot_product_attention, plain products and softmax
    (S x S scores in memory), or the flash kernel alone (CUDA and bf16, no masks; not run by this project's tests)."""
    kernels: Literal["auto", "reference", "own"] = "auto"
    """Programs of the loss, GELU, layer norm and Adam, equal but for rounding: reference, plain torch; own, this
    project's C++ (CPU) and CUDA, refused where they are not built; auto, own where built (docs/ops.md says which op is
    whose)."""
    transformer_impl: Literal["local", "transformer_engine"] = "local"
    """Linear layers and norms: megatron-core's and ours, or Transformer Engine's (CUDA; not run by this project's
    tests)."""
    layer_norm_backend: Literal["kernels", "apex"] = "kernels"
    """Layer norms of transformer_impl = local: as `kernels` says, or NVIDIA Apex's (CUDA; not run by this project's
    tests)."""
    hidden_dropout: float = 0.0
    """Probability of dropping a channel after embedding, attention and MLP, in training."""
    attention_dropout: float = 0.0
    """Probability of dropping an attention weight, in training."""
    init_method_std: float = 0.02
    """Standard deviation of the initial weights; projections into the residual: over sqrt(2 x num_layers)."""
    layernorm_epsilon: float = 1e-5
    """Added to the variance in layer norms."""

    def __post_init__(self) -> None:
        faults = self._fill_from_preset()
        counts = [name for name in (*_SHAPE, "ffn_hidden_size") if getattr(self, name) is not None]
        wrong = [name for name in counts if getattr(self, name) < 1]
        for name in wrong:
            rule, remedy = "must be at least 1", "give a positive count"
            faults.append(Fault(field=name, value=getattr(self, name), rule=rule, remedy=remedy))
        known = {"hidden_size", "num_attention_heads"} <= set(counts) - set(wrong)
        if known and self.hidden_size % self.num_attention_heads:
            rule = f"must divide hidden_size = {self.hidden_size}"
            divisors = [n for n in range(1, 129) if self.hidden_size % n == 0]
            remedy = f"for example {min(divisors, key=lambda n: abs(n - self.num_attention_heads))}"
            value, others = self.num_attention_heads, ("hidden_size",)
            faults.append(Fault(field="num_attention_heads", value=value, rule=rule, remedy=remedy, others=others))
        faults += self._attention_faults()
        if self.transformer_impl == "transformer_engine" and self.layer_norm_backend != "kernels":
            rule = "is not read with transformer_impl = transformer_engine, which has its own norm"
            field, remedy, others = "layer_norm_backend", "leave it out, or give local", ("transformer_impl",)
            faults.append(Fault(field=field, value=self.layer_norm_backend, rule=rule, remedy=remedy, others=others))
        for name in ("hidden_dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                remedy = "0 switches dropout off"
                faults.append(Fault(field=name, value=getattr(self, name), rule="must be in [0, 1)", remedy=remedy))
        for name in ("init_method_std", "layernorm_epsilon"):
            if not 0 < getattr(self, name) < 1:
                remedy = "leave it out for the default"
                faults.append(Fault(field=name, value=getattr(self, name), rule="must be in (0, 1)", remedy=remedy))
        raise_faults(faults)

    def _fill_from_preset(self) -> list[Fault]:
        missing = [name for name in _SHAPE if getattr(self, name) is None]
        if self.preset is None:
            remedy = "give it, or model.preset"
            return [Fault(field=name, rule="is required without a preset", remedy=remedy) for name in missing]
        for name in missing:
            object.__setattr__(self, name, getattr(PRESETS[self.preset], name))
        return []

    def _attention_faults(self) -> list[Fault]:
        field, others = "band_width", ("attention_pattern",)
        if self.attention_pattern == "dense":
            if self.band_width is None:
                return []
            rule, remedy = "is not read with attention_pattern = dense", "leave it out, or give alternating"
            return [Fault(field=field, value=self.band_width, rule=rule, remedy=remedy, others=others)]
        if self.band_width is None:
            rule, remedy = "is required by attention_pattern = alternating", "for example 256"
            return [Fault(field=field, rule=rule, remedy=remedy, others=others)]
        if self.band_width < 1:
            rule, remedy = "must be at least 1", "1 sees one's own position only"
            return [Fault(field=field, value=self.band_width, rule=rule, remedy=remedy)]
        if self.attention_backend == "flash":
            rule = "cannot mask a band (attention_pattern = alternating): torch's flash kernel takes no mask"
            field, remedy, others = "attention_backend", "give sdpa", ("attention_pattern",)
            return [Fault(field=field, value="flash", rule=rule, remedy=remedy, others=others)]
        return []

    @property
    def attention_bands(self) -> tuple[int | None, ...]:
        """For each layer the positions it sees, its own included; None: the whole past."""
        banded = self.attention_pattern == "alternating"
        return tuple(self.band_width if banded and layer % 2 else None for layer in range(self.num_layers))

    @property
    def mlp_size(self) -> int:
        """Inner width of the MLP, in channels."""
        return self.ffn_hidden_size or 4 * self.hidden_size

    @property
    def num_layer_parameters(self) -> int:
        """Parameters of all transformer layers and the last layer norm: all but the embeddings."""
        H, M = self.hidden_size, self.mlp_size
        attention = 4 * H * H + 4 * H
        mlp = 2 * H * M + M + H
        return self.num_layers * (attention + mlp + 4 * H) + 2 * H

    def num_parameters(self, vocab_size: int) -> int:
        """Parameters in all; the output layer shares the token embedding."""
        return self.num_layer_parameters + (vocab_size + self.seq_length) * self.hidden_size

    def architecture(self) -> dict[str, Any]:
        """What two models must share for the weights of one to mean the same in the other."""
        names = (*_SHAPE, "layernorm_epsilon", "attention_pattern", "band_width")
        return {name: getattr(self, name) for name in names} | {"ffn_hidden_size": self.mlp_size}
