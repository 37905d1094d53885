"""The GPT's forward pass for generation, in plain torch: on one rank, or on several that share layers and stages.

In: tensors under megatron-core's GPTModel names, full or one rank's part (sampling/shard_weights.py). Out: hidden
states and logits of whole documents (`encode`), prompts (`prefill`) and next positions (`step`). Of several ranks all
call the same; hidden states are final on the last stage. Training runs megatron-core's own model; this one exists
because decoding with a key-value cache shared by all samples of a prompt is a different program, and it must give the
same logits (tests/sampling/test_decoder.py, test_layouts.py).

Shapes: N rows, S positions, H hidden, A this rank's heads, D channels of a head, V true vocabulary, R this rank's rows
of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops.choice import decoding_operations
from megatron_codex.ops.programs import Kernels
from megatron_codex.sampling.cache import KeyValueCache, PromptCache
from megatron_codex.sampling.linear import Linear
from megatron_codex.sampling.ranks import ALONE, ModelRanks
from megatron_codex.sampling.shard_weights import EMBEDDING, FINAL_NORM, POSITIONS, stage_layers, vocabulary_rows

Affine = tuple[Tensor, Tensor]
"""Weight and bias."""

_TakeAffine = Callable[[str], Affine]


@dataclass(frozen=True)
class _Layer:
    attention_norm: Affine
    qkv: Linear
    projection: Linear
    mlp_norm: Affine
    fc1: Linear
    fc2: Linear
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
        seq_length: int,
        layernorm_epsilon: float,
        vocab_size: int,
        attention_bands: Sequence[int | None] | None = None,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        ranks: ModelRanks = ALONE,
        kernels: Kernels = "auto",
    ) -> None:
        """tensors: megatron-core's names, this rank's part. vocab_size: the true one; rows of padding are left out, so
        that a padded id can never be sampled and takes no part in any log p. seq_length: positions the model was built
        for. attention_bands: of each layer, as in ModelConfig; None: every layer sees the whole past. kernels: whose
        programs decode.

        Raises: InputError where the kernels cannot be had.
        """

        def take(name: str) -> Tensor:
            return tensors[name].to(device=device, dtype=dtype)

        def affine(name: str) -> Affine:
            return take(f"{name}.weight").contiguous(), take(f"{name}.bias").contiguous()

        self.seq_length = seq_length
        self.ranks = ranks
        self.device = torch.device(device)
        self._dtype, self._vocab_size = dtype, vocab_size
        self._num_heads = num_attention_heads // ranks.tp_size
        self._epsilon = layernorm_epsilon
        self._rows = vocabulary_rows(vocab_size, ranks)
        if ranks.is_first_stage or ranks.is_last_stage:
            self._embedding_RH = take(EMBEDDING)[: len(self._rows)].contiguous()
        if ranks.is_first_stage:
            self._positions_SH = take(POSITIONS).contiguous()
        if ranks.is_last_stage:
            self._final_norm = affine(FINAL_NORM)
            self._head = Linear(self._embedding_RH)
        bands = [None] * num_layers if attention_bands is None else attention_bands
        self._layers = [
            self._layer(affine, f"decoder.layers.{index}", bands[index]) for index in stage_layers(num_layers, ranks)
        ]
        self._hidden_size = self._layers[0].mlp_norm[0].shape[0]
        self.operations = decoding_operations(
            kernels,
            device="cuda" if self.device.type == "cuda" else "cpu",
            head_size=self._hidden_size // num_attention_heads,
            field="kernels",
        )

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """Logits [N, V] of final hidden states [N, H], on all ranks of the last stage."""
        return self.ranks.whole_vocabulary(self._head(hidden_NH))[:, : self._vocab_size]

    def encode(self, tokens_S: Tensor) -> Tensor:
        """Final hidden states [S, H] of one document under causal attention."""
        return self._run_document(tokens_S)[0]

    def prefill(self, tokens_S: Tensor) -> tuple[Tensor, PromptCache]:
        """A prompt's last final hidden state [H] and the cache that its samples continue.

        Prompts are run one by one: their numbers then do not depend on each other's lengths.
        """
        hidden_SH, cache = self._run_document(tokens_S)
        return hidden_SH[-1], cache

    def cache(self, prompts: Sequence[PromptCache], prompt_of_row: Sequence[int]) -> KeyValueCache:
        """What rows that continue these prompts need; prompt_of_row: rows of a prompt stand side by side."""
        return KeyValueCache(prompts, prompt_of_row, attention=self.operations.attention)

    def step(self, tokens_N: Tensor, cache: KeyValueCache) -> Tensor:
        """Append one token to each row; final hidden states [N, H] from which the next tokens are drawn."""
        # Rows that are finished but not yet dropped may run past the last position; their numbers are never read.
        positions_N = cache.positions().clamp(max=self.seq_length - 1)
        x_NH = self._enter_stage(tokens_N, positions_N)
        for index, layer in enumerate(self._layers):
            q_NAD, k_NAD, v_NAD = self._queries_keys_values(x_NH, layer)
            attended_NAD = cache.attend(index, q_NAD, k_NAD, v_NAD, band_width=layer.band_width)
            x_NH = self._finish_layer(x_NH, attended_NAD, layer)
        cache.advance()
        return self._leave_stage(x_NH)

    def _run_document(self, tokens_S: Tensor) -> tuple[Tensor, PromptCache]:
        x_SH = self._enter_stage(tokens_S, torch.arange(len(tokens_S), device=self.device))
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
        return self._leave_stage(x_SH), PromptCache(keys=tuple(keys), values=tuple(values))

    def _enter_stage(self, tokens_N: Tensor, positions_N: Tensor) -> Tensor:
        """Hidden states [N, H] before this stage's first layer."""
        if not self.ranks.is_first_stage:
            shape = (len(tokens_N), self._hidden_size)
            return self.ranks.receive_hidden(torch.empty(shape, dtype=self._dtype, device=self.device))
        return self._embed(tokens_N) + self._positions_SH[positions_N]

    def _embed(self, tokens_N: Tensor) -> Tensor:
        if self.ranks.tp_size == 1:
            return self._embedding_RH[tokens_N]
        own_N = (tokens_N >= self._rows.start) & (tokens_N < self._rows.stop)
        part_NH = self._embedding_RH[(tokens_N - self._rows.start).clamp(0, len(self._rows) - 1)]
        return self.ranks.sum_parts(part_NH.masked_fill(~own_N[:, None], 0.0))

    def _leave_stage(self, x_NH: Tensor) -> Tensor:
        """Hand on what the last layer gave; on the last stage the final hidden states."""
        if self.ranks.is_last_stage:
            return self._norm(x_NH, self._final_norm)
        self.ranks.send_hidden(x_NH)
        return x_NH

    def _queries_keys_values(self, x_NH: Tensor, layer: _Layer) -> tuple[Tensor, ...]:
        qkv = layer.qkv(self._norm(x_NH, layer.attention_norm))
        return qkv.view(len(x_NH), 3, self._num_heads, -1).unbind(dim=1)

    def _finish_layer(self, x_NH: Tensor, attended_NAD: Tensor, layer: _Layer) -> Tensor:
        x_NH = x_NH + self.ranks.sum_parts(layer.projection(attended_NAD.flatten(1)))
        inner = F.gelu(layer.fc1(self._norm(x_NH, layer.mlp_norm)), approximate="tanh")
        return x_NH + self.ranks.sum_parts(layer.fc2(inner))

    def _norm(self, x_NH: Tensor, affine: Affine) -> Tensor:
        return F.layer_norm(x_NH, (x_NH.shape[-1],), *affine, self._epsilon)

    def _layer(self, affine: _TakeAffine, name: str, band_width: int | None) -> _Layer:
        return _Layer(
            attention_norm=affine(f"{name}.input_layernorm"),
            qkv=Linear(*_split_heads(affine(f"{name}.self_attention.linear_qkv"), self._num_heads)),
            projection=Linear(*affine(f"{name}.self_attention.linear_proj")),
            mlp_norm=affine(f"{name}.pre_mlp_layernorm"),
            fc1=Linear(*affine(f"{name}.mlp.linear_fc1")),
            fc2=Linear(*affine(f"{name}.mlp.linear_fc2")),
            band_width=band_width,
        )


def _band(tokens_S: Tensor, band_width: int | None) -> Tensor | None:
    """[S, S], True where a query sees a key; None where it sees its whole past."""
    num_positions = len(tokens_S)
    if band_width is None or band_width >= num_positions:
        return None
    seen_SS = torch.ones(num_positions, num_positions, dtype=torch.bool, device=tokens_S.device)
    return seen_SS.tril_().triu_(1 - band_width)


def _split_heads(qkv: Affine, num_heads: int) -> Affine:
    """megatron-core's rows (q, k, v of head 0, then of head 1, ...) as all q, all k, all v; q scaled by 1/sqrt(D)."""
    parts = []
    for x in qkv:
        by_kind = x.view(num_heads, 3, -1, *x.shape[1:]).transpose(0, 1).clone()
        by_kind[0] *= by_kind.shape[2] ** -0.5
        parts.append(by_kind.reshape(x.shape))
    return parts[0], parts[1]
