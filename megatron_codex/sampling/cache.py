"""Keys and values of past positions: one copy of each prompt, and a growing part of each sample's own.

In: the prefilled prompts, and which prompt each row continues. Out: attention of every row's newest position over its
prompt and its own tokens. All samples of a prompt share that prompt's keys, so its attention is one matrix product.

Shapes: N rows (samples decoded together), P prompts, R most rows of a prompt, A heads, D channels of a head,
S prompt positions (the longest prompt's, padded), T own positions. A prompt's keys are stored channel-major
([A, D, S]), which the product with queries reads in order; own keys position-major, as writing one column of the other
form touches as many cache lines as it has channels.

A sample's numbers must not depend on its neighbours. Therefore its own positions stand first in the row that is
normalised and the padded prompt last (padding then only adds zeros at the end), and row counts are multiples of
ROW_MULTIPLE: BLAS libraries sum in another order for few rows than for many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROW_MULTIPLE = 16
"""Measured with MKL in fp32: every result is bitwise the same from 16 rows on (tests/sampling/test_generate.py)."""

_PREFIX_MULTIPLE = 32
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

    def __init__(self, prompts: Sequence[PromptCache], prompt_of_row: Sequence[int]) -> None:
        """prompt_of_row: for each row the index of its prompt, rows of a prompt side by side."""
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
        if layer == 0:
            self._make_room(q_NAD)
        end = self.own_length + 1
        keys_NATD, values_NATD = self._own_keys[layer], self._own_values[layer]
        keys_NATD[:, :, end - 1] = k_NAD
        values_NATD[:, :, end - 1] = v_NAD
        start = 0 if band_width is None else max(0, end - band_width)
        own_NAT = (q_NAD[:, :, None] @ keys_NATD[:, :, start:end].transpose(2, 3))[:, :, 0]
        hidden_P11S = self._hidden_prefix(band_width)
        prefix_NAS = self._per_row(self._per_prompt(q_NAD) @ self._prefix_keys[layer] + hidden_P11S)
        weights_NAX = torch.softmax(torch.cat((own_NAT, prefix_NAS), dim=-1), dim=-1)
        own = end - start
        own_NAD = (weights_NAX[:, :, None, :own] @ values_NATD[:, :, start:end])[:, :, 0]
        return own_NAD + self._per_row(self._per_prompt(weights_NAX[..., own:]) @ self._prefix_values[layer])

    def _hidden_prefix(self, band_width: int | None) -> Tensor:
        """-inf at the prompt's padding and at positions that the newest one's band has left behind, else 0."""
        if band_width is None:
            return self._padding_P11S
        # Position s of a prompt of n is n + own_length - s before the newest.
        first_P1 = self._lengths_P1 + self.own_length + 1 - band_width
        left_PS = torch.arange(self._padding_P11S.shape[-1]) < first_P1
        left_P11S = left_PS[:, None, None].to(self._device)
        return self._padding_P11S.masked_fill(left_P11S, float("-inf"))

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
        """Drop prompts without rows; give every row its place in the [P, R] grid of rows by prompt."""
        used, self._prompt_of_row, counts = torch.unique(self._prompt_of_row, return_inverse=True, return_counts=True)
        self._prompts = [self._prompts[index] for index in used.tolist()]
        # A product with one row takes another path in BLAS than one with several.
        self._rows_per_prompt = max(2, int(counts.max()))
        rank = torch.arange(len(self._prompt_of_row)) - (counts.cumsum(0) - counts)[self._prompt_of_row]
        self._place = (self._prompt_of_row.to(self._device), slice(None), rank.to(self._device))
        longest = max(prompt.length for prompt in self._prompts)
        width = -(-longest // _PREFIX_MULTIPLE) * _PREFIX_MULTIPLE
        self._prefix_keys = [
            torch.stack([_padded(prompt.keys[layer], 2, width) for prompt in self._prompts])
            for layer in range(self._num_layers)
        ]
        self._prefix_values = [
            torch.stack([_padded(prompt.values[layer], 1, width) for prompt in self._prompts])
            for layer in range(self._num_layers)
        ]
        self._lengths_P1 = torch.tensor([[prompt.length] for prompt in self._prompts])
        hidden_PS = torch.arange(width)[None] >= self._lengths_P1
        padding_PS = torch.zeros(hidden_PS.shape).masked_fill_(hidden_PS, float("-inf"))
        self._padding_P11S = padding_PS[:, None, None].to(self._prefix_keys[0])

    def _make_room(self, q_NAD: Tensor) -> None:
        N, A, D = q_NAD.shape
        for own in (self._own_keys, self._own_values):
            if not own:
                own[:] = [q_NAD.new_empty(N, A, 0, D) for _ in range(self._num_layers)]
            if own[0].shape[2] == self.own_length:
                own[:] = [_with_room(x, room=_room(self.own_length)) for x in own]

    def _per_prompt(self, x_NAX: Tensor) -> Tensor:
        """Rows [N, A, X] into the grid [P, A, R, X]; empty places are zero."""
        _, A, X = x_NAX.shape
        grid_PARX = x_NAX.new_zeros(len(self._prompts), A, self._rows_per_prompt, X)
        grid_PARX[self._place] = x_NAX
        return grid_PARX

    def _per_row(self, grid_PARX: Tensor) -> Tensor:
        """The grid [P, A, R, X] back into rows [N, A, X]."""
        return grid_PARX[self._place]


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
