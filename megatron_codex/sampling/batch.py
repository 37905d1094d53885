"""Decode one batch of samples together: one prefill for each prompt, then a token a step for all that still grow.

In: which samples of which prompts. Out: GrowingSamples, finished, in the order asked for. Each sample's tokens are
those it would get alone: its random numbers are its own (sampling/noise.py), and so is its arithmetic
(sampling/cache.py).

Shapes: N rows, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.sampling.cache import ROW_MULTIPLE, KeyValueCache
from megatron_codex.sampling.loading import SamplingModel
from megatron_codex.sampling.noise import sample_key, uniform
from megatron_codex.sampling.nucleus import choose_tokens
from megatron_codex.sampling.stopping import GrowingSample, Stop

_COMPACT_BELOW = 0.8
"""Finished rows are dropped once the others need less than this share of the rows: dropping copies the cache."""


@dataclass(frozen=True)
class SampleRequest:
    """One sample to draw; the requests of one prompt stand side by side."""

    task_id: str
    sample_index: int
    prompt: tuple[int, ...]
    """Token ids, at least one."""


def decode_batch(
    model: SamplingModel, requests: Sequence[SampleRequest], *, config: GenerationConfig, stop: Stop
) -> list[GrowingSample]:
    """Draw all requested samples. A prompt that fills the model's context gives "prompt_too_long" and no text."""
    eod = model.tokenizer.eod
    samples = [GrowingSample(request.task_id, request.sample_index, stop, eod) for request in requests]
    rows = []
    for row, (sample, request) in enumerate(zip(samples, requests, strict=True)):
        assert request.prompt, "a prompt has at least one token"
        if len(request.prompt) <= model.decoder.seq_length:
            rows.append(row)
        else:
            sample.finish_reason = "prompt_too_long"
    if rows:
        with torch.inference_mode():
            _Batch(model, [requests[row] for row in rows], [samples[row] for row in rows], config).grow()
    return samples


class _Batch:
    """Rows that grow together. Rows beyond the live ones are idle: finished, or there to fill up the row count."""

    def __init__(
        self,
        model: SamplingModel,
        requests: Sequence[SampleRequest],
        samples: Sequence[GrowingSample],
        config: GenerationConfig,
    ) -> None:
        self._decoder, self._token_bytes = model.decoder, model.token_bytes
        self._ranks = model.decoder.ranks
        self._config = config
        self._requests, self._samples = requests, samples
        # The last token drawn needs no position of its own: nothing is drawn after it.
        room = model.decoder.seq_length + 1
        self._limits = [min(config.max_new_tokens, room - len(request.prompt)) for request in requests]
        self._keys = np.array([sample_key(config.seed, r.task_id, r.sample_index) for r in requests], dtype=np.uint64)
        self._live_rows = list(range(len(requests)))
        self._sample_of_row = _filled(self._live_rows)

    def grow(self) -> None:
        """Draw tokens until every sample is finished."""
        hidden_NH, cache = self._prefill()
        for position in count():
            tokens_N = self._draw(hidden_NH, position)
            if not self._live_rows:
                return
            if len(_filled(self._live_rows)) < _COMPACT_BELOW * len(self._sample_of_row):
                kept = torch.tensor(_filled(self._live_rows))
                cache.keep(kept)
                tokens_N = tokens_N[kept.to(tokens_N.device)]
                self._sample_of_row = [self._sample_of_row[row] for row in kept.tolist()]
                self._live_rows = list(range(len(self._live_rows)))
            hidden_NH = self._decoder.step(tokens_N, cache)

    def _prefill(self) -> tuple[Tensor, KeyValueCache]:
        prompts = [self._requests[sample].prompt for sample in self._sample_of_row]
        unique = [prompt for prompt, _ in groupby(prompts)]
        prompt_of_row = [index for index, (_, rows) in enumerate(groupby(prompts)) for _ in rows]
        device = self._decoder.device
        prefilled = [self._decoder.prefill(torch.tensor(prompt, device=device)) for prompt in unique]
        hidden_NH = torch.stack([hidden_H for hidden_H, _ in prefilled])[prompt_of_row]
        return hidden_NH, self._decoder.cache([cache for _, cache in prefilled], prompt_of_row)

    def _draw(self, hidden_NH: Tensor, position: int) -> Tensor:
        """Draw each row's next token and hand it to the live rows' samples; the finished ones are live no more."""
        tokens_N, logps_N = self._ranks.share_draw(
            self._choose(hidden_NH, position), num_rows=len(hidden_NH), device=self._decoder.device
        )
        tokens, logps = tokens_N.tolist(), logps_N.tolist()
        still_live = []
        for row in self._live_rows:
            index = self._sample_of_row[row]
            sample = self._samples[index]
            if sample.add(tokens[row], logps[row], self._token_bytes):
                continue
            if position + 1 == self._limits[index]:
                sample.finish_reason = "length"
            else:
                still_live.append(row)
        self._live_rows = still_live
        return tokens_N

    def _choose(self, hidden_NH: Tensor, position: int) -> tuple[Tensor, Tensor] | None:
        """Tokens and their log p on the rank that draws."""
        if not self._ranks.is_last_stage:
            return None
        logits_NV = self._decoder.logits(hidden_NH)
        if not self._ranks.draws:
            return None
        keys_N = self._keys[self._sample_of_row]

        def numbers(draw: int) -> npt.NDArray[np.float64]:
            return uniform(keys_N, position=position, draw=draw)

        return choose_tokens(
            logits_NV,
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            uniform=numbers,
            statistics=self._decoder.operations.block_statistics,
        )


def _filled(rows: Sequence[int]) -> list[int]:
    """The rows and, after them, the last one again and again up to a multiple of ROW_MULTIPLE."""
    return [*rows, *[rows[-1]] * (-len(rows) % ROW_MULTIPLE)]
