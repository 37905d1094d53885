"""log p of given texts under a checkpoint: mean log p of any solution, and back-translation P(docstring | code).

In: (context, completion) pairs of token ids. Out: log p of every completion token. Paper sections 3.3 (mean log p) and
5 (back-translation: Codex-D scores the docstring given a sampled body).

Shapes: S positions of context + completion, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from megatron_codex.sampling.loading import SamplingModel


def score_tokens(model: SamplingModel, context: Sequence[int], completion: Sequence[int]) -> npt.NDArray[np.float32]:
    """Natural log p of each completion token given the context and the tokens before it: float32 [C].

    context: at least one token. context + completion may be at most one longer than the model's positions.
    """
    assert len(context) > 0, "a log p needs a context"
    tokens = [*context, *completion]
    assert fits(model, tokens), f"{len(tokens)} tokens in {model.decoder.seq_length} positions"
    device = model.decoder.device
    with torch.inference_mode():
        hidden_SH = model.decoder.encode(torch.tensor(tokens[:-1], dtype=torch.int64, device=device))
        # Only the rows that predict completion tokens pass the head: it is the largest product of a small model.
        logits_CV = model.decoder.logits(hidden_SH[len(context) - 1 :]).float()
        labels_C1 = torch.tensor(tokens[len(context) :], device=device)[:, None]
        logp_C = logits_CV.gather(1, labels_C1)[:, 0] - torch.logsumexp(logits_CV, dim=-1)
    return logp_C.cpu().numpy()


def fits(model: SamplingModel, tokens: Sequence[int]) -> bool:
    """Whether these tokens can be scored: the last one needs no position of its own."""
    return len(tokens) - 1 <= model.decoder.seq_length


def score_texts(model: SamplingModel, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[float, int] | None]:
    """(sum of log p, number of tokens) of each (prompt, completion) pair; None where it does not fit the model.

    Prompt and completion are made tokens separately, as in training (data/prompted.py); the end of document is not
    scored.
    """
    for prompt, completion in pairs:
        context = model.tokenizer.encode(prompt).tolist()
        tokens = model.tokenizer.encode(completion).tolist()
        if not tokens:
            yield 0.0, 0
        elif fits(model, [*context, *tokens]):
            yield float(score_tokens(model, context, tokens).sum(dtype=np.float64)), len(tokens)
        else:
            yield None
