"""Keys and values of past positions: one copy of each prompt, and a growing part of each sample's own.

In: the prefilled prompts, and which prompt each row continues. Out: attention of every row's newest position over its
prompt and its own tokens (ops/shared_prefix.py): all samples of a prompt share that prompt's keys.

Shapes: N rows (samples decoded together), P prompts, A heads, D channels of a head, S prompt positions (the longest
prompt's, padded), T own positions. A prompt's keys are stored channel-major ([A, D, S]), which the product with queries
reads in order; own keys position-major, as writing one column of the other form touches as many cache lines as it has
channels.

A sample's numbers must not depend on its neighbours. C++ takes each row by itself. In torch row counts are multiples of
ROW_MULTIPLE, since BLAS libraries sum in another order for few rows than for many, and prompts are padded with keys of
zero, which add zeros at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from megatron_codex.ops.shared_prefix import ROOM_MULTIPLE, Attention, Prompts

ROW_MULTIPLE = 16
"""Measured with MKL in fp32: every result is bitwise the same from 16 rows on (tests/sampling/test_generate.py)."""

_GROWTH = 64
"""Own positions are allocated so many at a time."""


@dataclass(frozen=True)
class PromptCache:
    """A prefilled prompt: keys [A, D, S] and values [A, S, D] of each layer."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """Positions of the prompt."""
        return int(self.values[0].shape[1])


class KeyValueCache:
    """Static cache of a batch: `attend` for each layer, then `advance`; `keep` drops finished rows."""

    def __init__(self, prompts: Sequence[PromptCache], prompt_of_row: Sequence[int], *, attention: Attention) -> None:
        """prompt_of_row: for each row the index of its prompt, rows of a prompt side by side."""
        self._attention = attention
        self._prompts = list(prompts)
        self._num_layers = len(prompts[0].keys)
        self._device = prompts[0].keys[0].device
        self._prompt_of_row = torch.as_tensor(prompt_of_row)
        self.own_length = 0
        self._own_keys: list[Tensor] = []
        self._own_values: list[Tensor] = []
        self._arrange_prompts()

    def positions(self) -> Tensor:
        """Position of each row's next token: [N]."""
        lengths = torch.tensor([prompt.length for prompt in self._prompts])
        return (lengths[self._prompt_of_row] + self.own_length).to(self._device)

    def attend(
        self, layer: int, q_NAD: Tensor, k_NAD: Tensor, v_NAD: Tensor, *, band_width: int | None = None
    ) -> Tensor:
        """Store the newest keys and values; attention of the scaled queries over the past: [N, A, D].

        band_width: positions that the layer sees, the newest included; None: the whole past.
        """
        end = self.own_length + 1
        if layer == 0:
            self._make_room(q_NAD)
            self._lengths_N = torch.full((len(q_NAD),), end, dtype=torch.int32, device=self._device)
        keys_NATD, values_NATD = self._own_keys[layer], self._own_values[layer]
        keys_NATD[:, :, end - 1] = k_NAD
        values_NATD[:, :, end - 1] = v_NAD
        own_NTAD = [x_NATD[:, :, :end].transpose(1, 2) for x_NATD in (keys_NATD, values_NATD)]
        return self._attention(
            q_NAD,
            self._of_layer[layer],
            own_NTAD[0],
            own_NTAD[1],
            self._lengths_N,
            scale=1.0,
            window=0 if band_width is None else band_width,
        )

    def advance(self) -> None:
        """All layers have stored this position."""
        self.own_length += 1

    def keep(self, rows: Tensor) -> None:
        """Keep these rows only (ascending; a row may come twice)."""
        self._prompt_of_row = self._prompt_of_row[rows]
        rows = rows.to(self._device)
        end = self.own_length
        for own in (self._own_keys, self._own_values):
            own[:] = [_with_room(x[:, :, :end].index_select(0, rows), room=_room(end)) for x in own]
        self._arrange_prompts()

    def _arrange_prompts(self) -> None:
        """Drop prompts without rows; lay the others side by side, and give every row its place among its prompt's."""
        used, self._prompt_of_row, counts = torch.unique(self._prompt_of_row, return_inverse=True, return_counts=True)
        self._prompts = [self._prompts[index] for index in used.tolist()]
        rank = torch.arange(len(self._prompt_of_row)) - (counts.cumsum(0) - counts)[self._prompt_of_row]
        longest = max(prompt.length for prompt in self._prompts)
        width = -(-longest // ROOM_MULTIPLE) * ROOM_MULTIPLE
        lengths = torch.tensor([prompt.length for prompt in self._prompts], dtype=torch.int32)
        places = [x.to(self._device) for x in (lengths, self._prompt_of_row, rank)]
        self._of_layer = [
            Prompts(
                keys=torch.stack([_padded(prompt.keys[layer], 2, width) for prompt in self._prompts]),
                values=torch.stack([_padded(prompt.values[layer], 1, width) for prompt in self._prompts]),
                lengths=places[0],
                prompt_of=places[1],
                place_of=places[2],
                # A product with one row takes another path in BLAS than one with several.
                most_samples=max(2, int(counts.max())),
            )
            for layer in range(self._num_layers)
        ]

    def _make_room(self, q_NAD: Tensor) -> None:
        N, A, D = q_NAD.shape
        for own in (self._own_keys, self._own_values):
            if not own:
                own[:] = [q_NAD.new_empty(N, A, 0, D) for _ in range(self._num_layers)]
            if own[0].shape[2] == self.own_length:
                own[:] = [_with_room(x, room=_room(self.own_length)) for x in own]


def _room(length: int) -> int:
    return (length // _GROWTH + 1) * _GROWTH


def _with_room(x_NATD: Tensor, *, room: int) -> Tensor:
    N, A, T, D = x_NATD.shape
    larger = x_NATD.new_empty(N, A, room, D)
    larger[:, :, :T] = x_NATD
    return larger


def _padded(x: Tensor, dim: int, length: int) -> Tensor:
    shape = list(x.shape)
    shape[dim] = length - x.shape[dim]
    return torch.cat((x, x.new_zeros(shape)), dim=dim)
