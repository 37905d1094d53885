"""Core attention, as the part of megatron-core's layer that is replaced: masks, bands and the choice of the program.

In: queries, keys, values and the mask of a micro-batch. Out: the attended values of this rank's heads. All that decides
which program runs, and what it cannot do, stands in this file.

Documents that share a row are attended one by one on a CPU: of a row of many, most of the scores would be hidden. Rows
of one document behind padding need no mask where the program takes the padding's length (`takes_left_padding`).

Shapes: S positions, B samples, A heads of this tensor-parallel rank, D channels of a head, N positions of a document.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from megatron_codex.errors import InputError
from megatron_codex.ops.attention import causal_attention, is_faster_here
from megatron_codex.ops.rows import is_fake
from megatron_codex.ops.softmax import causal_softmax
from megatron_codex.platform.megatron_core import (
    MegatronModule,
    TransformerConfig,
    get_cuda_rng_tracker,
    is_layer_window_attention,
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Which of the keys up to its own a query sees: all, but for what is said here."""

    band_width: int | None = None
    """The last so many, the query's own included; none: no band narrower than the row."""
    mask: Tensor | None = None
    """As CausalAttention takes it; none: a row is one document."""

    @property
    def all(self) -> bool:
        """Whether nothing but causality hides a key."""
        return self.band_width is None and self.mask is None

    def hidden(self, query_BASD: Tensor) -> Tensor | None:
        """[B, 1, S, S] or [S, S], True where a query does not see a key, causality included; None: plainly causal."""
        num_positions = query_BASD.shape[2]
        hidden = None if self.mask is None else hidden_keys(self.mask, num_positions)
        if self.band_width is None:
            return hidden
        outside_SS = outside_band(num_positions, band_width=self.band_width, device=query_BASD.device)
        return outside_SS if hidden is None else hidden | outside_SS


Attend = Callable[[Tensor, Tensor, Tensor, Seen, float], Tensor]
"""(queries, keys, values [B, A, S, D], what is seen, dropout) -> [B, A, S, D]."""


class CausalAttention(MegatronModule):
    """Attention to the positions up to one's own: all, the layer's band, or those that a mask leaves."""

    def __init__(
        self, config: TransformerConfig, layer_number: int, *args: object, backend: str, own: bool, **kwargs: object
    ) -> None:
        """layer_number: over all stages, from 1. own: whether ops/ does what it is faster at. The
        further arguments of megatron-core's core attention (mask type, groups) are not needed."""
        super().__init__(config=config)
        self.dropout = config.attention_dropout
        banded = is_layer_window_attention(config.window_size, config.window_attn_skip_freq, layer_number)
        self.band_width = config.window_size[0] + 1 if banded else None
        self.attend = (_OWN if own else {}).get(backend) or _BACKENDS[backend]
        self.splits_documents = backend == "sdpa"

    def forward(
        self, query_SBAD: Tensor, key_SBAD: Tensor, value_SBAD: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """[S, B, A * D] from queries, keys and values [S, B, A, D].

        attention_mask: as the function of this name makes it, or left_padding. None: a row is one document, which needs
        no mask in memory.
        """
        dropout = self.dropout if self.training else 0.0
        if attention_mask is not None and attention_mask.dim() == 2 and dropout == 0.0 and self.splits_documents:
            return self._by_document(query_SBAD, key_SBAD, value_SBAD, attention_mask)
        query, key, value = (x.permute(1, 2, 0, 3) for x in (query_SBAD, key_SBAD, value_SBAD))
        # Tensor-parallel ranks hold different heads: each draws its own masks. With sequence parallelism the whole
        # block does so already, and to fork again would draw other masks when activations are computed again.
        forked = dropout > 0.0 and not self.config.sequence_parallel
        with get_cuda_rng_tracker().fork() if forked else nullcontext():
            attended_BASD = self.attend(query, key, value, self._seen(len(query_SBAD), attention_mask), dropout)
        return attended_BASD.permute(2, 0, 1, 3).flatten(2)

    def _by_document(self, query_SBAD: Tensor, key_SBAD: Tensor, value_SBAD: Tensor, document_ids_BS: Tensor) -> Tensor:
        lengths, paddings = _runs(document_ids_BS)
        runs = zip(*(_laid_out(x).split(lengths) for x in (query_SBAD, key_SBAD, value_SBAD)), paddings, strict=True)
        attended = [
            value if is_padding else self._document(query, key, value) for query, key, value, is_padding in runs
        ]
        num_positions, num_samples = query_SBAD.shape[:2]
        return torch.cat(attended).view(num_samples, num_positions, -1).transpose(0, 1)

    def _document(self, query_NAD: Tensor, key_NAD: Tensor, value_NAD: Tensor) -> Tensor:
        query, key, value = (x.transpose(0, 1)[None] for x in (query_NAD, key_NAD, value_NAD))
        return self.attend(query, key, value, self._seen(len(query_NAD), None), 0.0)[0].transpose(0, 1)

    def _seen(self, num_positions: int, mask: Tensor | None) -> Seen:
        banded = self.band_width is not None and self.band_width < num_positions
        return Seen(band_width=self.band_width if banded else None, mask=mask)


def attention_mask(document_ids_BS: Tensor) -> Tensor:
    """What layers take for rows of several documents, -1 for padding: on a CPU the documents' ids, [B, S]; elsewhere
    hidden_keys, once for all layers (a GPU would have to be waited for to learn where documents end, and in a dry run
    there is nothing to learn)."""
    of_values = document_ids_BS.device.type == "cpu" and not is_fake(document_ids_BS)
    return document_ids_BS if of_values else hidden_keys(document_ids_BS, document_ids_BS.shape[1])


def takes_left_padding(backend: str) -> bool:
    """Whether layers of this program take left_padding instead, for rows of one document each."""
    return backend == "unfused"


def left_padding(document_ids_BS: NDArray[np.int64]) -> NDArray[np.int32]:
    """[B] positions before each row's one document, whose id is 0. Padding, -1, behind it counts as part of it."""
    assert document_ids_BS.max() <= 0, "a row of several documents has no mask by its left padding"
    return np.cumprod(document_ids_BS < 0, axis=1).sum(axis=1, dtype=np.int32)


def hidden_keys(mask: Tensor, num_positions: int) -> Tensor:
    """[B, 1, S, S]: True where the key is in another document or later than the query.

    mask: the documents' ids [B, S], left_padding [B], or what this function made. Padding on the left sees itself only:
    a row that saw nothing would have no softmax.
    """
    if mask.dim() == 4:
        return mask
    document_ids_BS = mask
    if mask.dim() == 1:
        document_ids_BS = torch.where(torch.arange(num_positions, device=mask.device) < mask[:, None], -1, 0)
    same_BSS = document_ids_BS[:, :, None] == document_ids_BS[:, None, :]
    same_BSS &= document_ids_BS[:, None, :] >= 0
    same_BSS.tril_()
    diagonal = torch.arange(num_positions, device=same_BSS.device)
    same_BSS[:, diagonal, diagonal] = True
    return ~same_BSS[:, None]


def _runs(document_ids_BS: Tensor) -> tuple[list[int], list[bool]]:
    """Positions of each run of one document or of padding, row after row; and which runs are padding."""
    begins_BS = torch.ones_like(document_ids_BS, dtype=torch.bool)
    begins_BS[:, 1:] = document_ids_BS[:, 1:] != document_ids_BS[:, :-1]
    starts_R = torch.nonzero(begins_BS.flatten())[:, 0]
    lengths_R = torch.diff(starts_R, append=starts_R.new_tensor([document_ids_BS.numel()]))
    return lengths_R.tolist(), (document_ids_BS.flatten()[starts_R] < 0).tolist()


def _laid_out(x_SBAD: Tensor) -> Tensor:
    """[B * S, A, D], row after row."""
    return x_SBAD.transpose(0, 1).flatten(0, 1)


def outside_band(num_positions: int, *, band_width: int, device: torch.device | None = None) -> Tensor:
    """[S, S], True where the key is later than the query, or band_width positions or more before it.

    In a row of several documents this is right as well: what lies between two positions of one document is its own.
    """
    seen = torch.ones(num_positions, num_positions, dtype=torch.bool, device=device)
    return ~seen.tril_().triu_(1 - band_width)


def require_backend(backend: str) -> None:
    """Raise InputError where this machine cannot run the program of attention."""
    if backend == "flash" and not torch.cuda.is_available():
        rule, remedy = "needs a CUDA device, and there is none here", "give sdpa"
        raise InputError("model.attention_backend", value=backend, rule=rule, remedy=remedy)


def _own_sdpa(query: Tensor, key: Tensor, value: Tensor, seen: Seen, dropout: float) -> Tensor:
    if seen.all and dropout == 0.0 and is_faster_here(query):
        return causal_attention(query, key, value)
    return _sdpa(query, key, value, seen, dropout)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, seen: Seen, dropout: float) -> Tensor:
    hidden = seen.hidden(query)
    mask = None if hidden is None else ~hidden
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, dropout_p=dropout)


def _unfused(query: Tensor, key: Tensor, value: Tensor, seen: Seen, dropout: float) -> Tensor:
    hidden = seen.hidden(query)
    if hidden is None:
        hidden = outside_band(query.shape[2], band_width=query.shape[2], device=query.device)
    scores_BASS = (query / math.sqrt(query.shape[-1])) @ key.transpose(2, 3)
    weights_BASS = torch.softmax(scores_BASS.masked_fill(hidden, -torch.inf), dim=-1, dtype=torch.float32)
    return F.dropout(weights_BASS.to(value.dtype), dropout) @ value


def _own_unfused(query: Tensor, key: Tensor, value: Tensor, seen: Seen, dropout: float) -> Tensor:
    """Padding on the left sees nothing here and is attended as 0; nothing that counts depends on it."""
    if seen.mask is not None and seen.mask.dim() > 1:  # several documents in a row, which the softmax does not know
        return _unfused(query, key, value, seen, dropout)
    weights_BASS = causal_softmax(
        query @ key.transpose(2, 3),
        left_padding_B=seen.mask,
        window=seen.band_width or 0,
        scale=1 / math.sqrt(query.shape[-1]),
    )
    return F.dropout(weights_BASS, dropout) @ value


def _flash(query: Tensor, key: Tensor, value: Tensor, seen: Seen, dropout: float) -> Tensor:
    """torch's flash kernel and no other. Not run by this project's tests: it needs a GPU."""
    assert seen.all, "config/ refuses what would need a mask: the flash kernel takes none"
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)


_BACKENDS: dict[str, Attend] = {"sdpa": _sdpa, "unfused": _unfused, "flash": _flash}
_OWN: dict[str, Attend] = {"sdpa": _own_sdpa, "unfused": _own_unfused}
