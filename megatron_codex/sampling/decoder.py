"""The GPT's forward pass for generation: plain torch, no process group, from a checkpoint's full weights.

In: tensors under megatron-core's GPTModel names. Out: hidden states and logits of whole documents (`encode`), prompts
(`prefill`) and next positions (`step`). Training runs megatron-core's own model; this one exists because decoding with
a key-value cache shared by all samples of a prompt is a different program, and it must give the same logits
(tests/sampling/test_decoder.py).

Shapes: N rows, S positions, H hidden, A heads, D channels of a head, V true vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.sampling.cache import KeyValueCache, PromptCache

Affine = tuple[Tensor, Tensor]
"""Weight and bias."""

_TakeAffine = Callable[[str], Affine]


@dataclass(frozen=True)
class _Layer:
    attention_norm: Affine
    qkv: Affine
    projection: Affine
    mlp_norm: Affine
    fc1: Affine
    fc2: Affine
    band_width: int | None
    """Positions it sees, its own included; None: the whole past."""


class Decoder:
    """Pre-norm GPT with learned positions, tanh GELU, biases and tied embeddings (config/model.py)."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        *,
        num_layers: int,
        num_attention_heads: int,
        layernorm_epsilon: float,
        vocab_size: int,
        attention_bands: Sequence[int | None] | None = None,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        """tensors: megatron-core's names, full (unsharded). vocab_size: the true one; rows of padding are left out,
        so that a padded id can never be sampled and takes no part in any log p. attention_bands: of each layer, as in
        ModelConfig; None: every layer sees the whole past."""

        def take(name: str) -> Tensor:
            return tensors[name].to(device=device, dtype=dtype)

        def affine(name: str) -> Affine:
            return take(f"{name}.weight").contiguous(), take(f"{name}.bias").contiguous()

        self._embedding_VH = take("embedding.word_embeddings.weight")[:vocab_size].contiguous()
        self._positions_SH = take("embedding.position_embeddings.weight").contiguous()
        self._num_heads = num_attention_heads
        self._head_size = self._embedding_VH.shape[1] // num_attention_heads
        self._epsilon = layernorm_epsilon
        bands = [None] * num_layers if attention_bands is None else attention_bands
        self._layers = [
            self._layer(affine, f"decoder.layers.{index}", num_attention_heads, band_width)
            for index, band_width in enumerate(bands)
        ]
        self._final_norm = affine("decoder.final_layernorm")

    @property
    def seq_length(self) -> int:
        """Positions the model was built for."""
        return int(self._positions_SH.shape[0])

    @property
    def device(self) -> torch.device:
        return self._embedding_VH.device

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """Logits [N, V] of final hidden states [N, H]."""
        return hidden_NH @ self._embedding_VH.t()

    def encode(self, tokens_S: Tensor) -> Tensor:
        """Final hidden states [S, H] of one document under causal attention."""
        return self._run_document(tokens_S)[0]

    def prefill(self, tokens_S: Tensor) -> tuple[Tensor, PromptCache]:
        """A prompt's last final hidden state [H] and the cache that its samples continue.

        Prompts are run one by one: their numbers then do not depend on each other's lengths.
        """
        hidden_SH, cache = self._run_document(tokens_S)
        return hidden_SH[-1], cache

    def step(self, tokens_N: Tensor, cache: KeyValueCache) -> Tensor:
        """Append one token to each row; final hidden states [N, H] from which the next tokens are drawn."""
        # Rows that are finished but not yet dropped may run past the last position; their numbers are never read.
        positions_N = cache.positions().clamp(max=self.seq_length - 1)
        x_NH = self._embedding_VH[tokens_N] + self._positions_SH[positions_N]
        for index, layer in enumerate(self._layers):
            q_NAD, k_NAD, v_NAD = self._queries_keys_values(x_NH, layer)
            attended_NAD = cache.attend(index, q_NAD, k_NAD, v_NAD, band_width=layer.band_width)
            x_NH = self._finish_layer(x_NH, attended_NAD, layer)
        cache.advance()
        return self._norm(x_NH, self._final_norm)

    def _run_document(self, tokens_S: Tensor) -> tuple[Tensor, PromptCache]:
        x_SH = self._embedding_VH[tokens_S] + self._positions_SH[: len(tokens_S)]
        keys, values = [], []
        for layer in self._layers:
            q_SAD, k_SAD, v_SAD = self._queries_keys_values(x_SH, layer)
            q_ASD, k_ASD, v_ASD = (x.transpose(0, 1) for x in (q_SAD, k_SAD, v_SAD))
            mask_SS = _band(tokens_S, layer.band_width)
            attended_ASD = F.scaled_dot_product_attention(
                q_ASD, k_ASD, v_ASD, attn_mask=mask_SS, is_causal=mask_SS is None, scale=1.0
            )
            x_SH = self._finish_layer(x_SH, attended_ASD.transpose(0, 1), layer)
            keys.append(k_ASD.transpose(1, 2).contiguous())
            values.append(v_ASD.contiguous())
        return self._norm(x_SH, self._final_norm), PromptCache(keys=tuple(keys), values=tuple(values))

    def _queries_keys_values(self, x_NH: Tensor, layer: _Layer) -> tuple[Tensor, ...]:
        qkv = F.linear(self._norm(x_NH, layer.attention_norm), *layer.qkv)
        return qkv.view(-1, 3, self._num_heads, self._head_size).unbind(dim=1)

    def _finish_layer(self, x_NH: Tensor, attended_NAD: Tensor, layer: _Layer) -> Tensor:
        x_NH = x_NH + F.linear(attended_NAD.flatten(1), *layer.projection)
        inner = F.gelu(F.linear(self._norm(x_NH, layer.mlp_norm), *layer.fc1), approximate="tanh")
        return x_NH + F.linear(inner, *layer.fc2)

    def _norm(self, x_NH: Tensor, affine: Affine) -> Tensor:
        return F.layer_norm(x_NH, (x_NH.shape[-1],), *affine, self._epsilon)

    def _layer(self, affine: _TakeAffine, name: str, num_heads: int, band_width: int | None) -> _Layer:
        return _Layer(
            attention_norm=affine(f"{name}.input_layernorm"),
            qkv=_split_heads(affine(f"{name}.self_attention.linear_qkv"), num_heads, self._head_size),
            projection=affine(f"{name}.self_attention.linear_proj"),
            mlp_norm=affine(f"{name}.pre_mlp_layernorm"),
            fc1=affine(f"{name}.mlp.linear_fc1"),
            fc2=affine(f"{name}.mlp.linear_fc2"),
            band_width=band_width,
        )


def _band(tokens_S: Tensor, band_width: int | None) -> Tensor | None:
    """[S, S], True where a query sees a key; None where it sees its whole past."""
    num_positions = len(tokens_S)
    if band_width is None or band_width >= num_positions:
        return None
    seen_SS = torch.ones(num_positions, num_positions, dtype=torch.bool, device=tokens_S.device)
    return seen_SS.tril_().triu_(1 - band_width)


def _split_heads(qkv: Affine, num_heads: int, head_size: int) -> Affine:
    """megatron-core's rows (q, k, v of head 0, then of head 1, ...) as all q, all k, all v; q scaled by 1/sqrt(D)."""
    parts = []
    for x in qkv:
        by_kind = x.view(num_heads, 3, head_size, *x.shape[1:]).transpose(0, 1).clone()
        by_kind[0] *= head_size**-0.5
        parts.append(by_kind.reshape(x.shape))
    return parts[0], parts[1]
