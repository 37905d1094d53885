"""Sampling on a GPU through the kernels, against plain torch there. Pending: run by tests/gpu/run.sh."""

from __future__ import annotations

import pytest
import torch

from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.ops.cuda_library import why_missing
from megatron_codex.ops.programs import Kernels
from megatron_codex.sampling.batch import SampleRequest, decode_batch
from megatron_codex.sampling.stopping import GrowingSample, StopSequences
from tests.sampling.conftest import make_model, random_tensors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: no kernel was run on a GPU"),
    pytest.mark.skipif(
        torch.cuda.is_available() and why_missing() is not None, reason="needs the CUDA library: MCX_BUILD_CUDA=1"
    ),
]

LOGP = {torch.float32: 1e-4, torch.bfloat16: 0.125}
"""fp32: sums in another order, at logits of up to 10; bf16: two roundings of a logit above 8, of 2^-4 each."""

REQUESTS = [
    SampleRequest(f"prompt of {length}", index, tuple(range(3, 3 + length)))
    for length in (1, 7, 60)
    for index in range(5)
]


def _draw(kernels: Kernels, dtype: torch.dtype, config: GenerationConfig, device: str = "cuda") -> list[GrowingSample]:
    """Heads of 64 channels; the second layer sees six positions."""
    tensors = random_tensors(hidden_size=256, std=0.1)
    model = make_model(tensors, kernels=kernels, dtype=dtype, device=device, attention_bands=(None, 6))
    return decode_batch(model, REQUESTS, config=config, stop=StopSequences(("\0no such text\0",)))


@pytest.mark.parametrize("temperature", [0.0, 0.8], ids=["greedy", "drawn"])
def test_tokens_are_those_of_plain_torch(temperature: float) -> None:
    config = GenerationConfig(temperature=temperature, max_new_tokens=30)
    mine, plain = (_draw(kernels, torch.float32, config) for kernels in ("own", "reference"))
    for sample, other in zip(mine, plain, strict=True):
        assert sample.tokens == other.tokens
        assert sample.logps == pytest.approx(other.logps, abs=LOGP[torch.float32])


def test_in_bf16_log_p_is_that_of_plain_torch_while_tokens_are() -> None:
    config = GenerationConfig(temperature=0.0, max_new_tokens=30)
    mine, plain = (_draw(kernels, torch.bfloat16, config) for kernels in ("own", "reference"))
    compared = 0
    for sample, other in zip(mine, plain, strict=True):
        for token, wanted, logp, expected in zip(sample.tokens, other.tokens, sample.logps, other.logps, strict=False):
            if token != wanted:
                break
            assert logp == pytest.approx(expected, abs=LOGP[torch.bfloat16])
            compared += 1
    assert compared > 100
