"""The decoder against the model that training runs: megatron-core's GPTModel with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.parallel import ParallelConfig
from tests.sampling.conftest import make_model

TOLERANCE = 1e-4
"""fp32 sums in another order: about 1e-5 at these logits of up to 10."""


# megatron-core 0.16.1 warns of its own layer specs and groups.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:megatron")
@pytest.mark.parametrize("backend", ["sdpa", "unfused"])
@pytest.mark.parametrize("band_width", [None, 7], ids=["dense", "banded"])
def test_logits_equal_megatron_core_s(tensors: dict[str, Tensor], band_width: int | None, backend: str) -> None:
    from megatron_codex.model.gpt import build_chunks
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks
    from megatron_codex.platform.megatron_core import model_parallel_cuda_manual_seed

    pattern = {} if band_width is None else {"attention_pattern": "alternating", "band_width": band_width}
    shape = ModelConfig(
        num_layers=2, hidden_size=32, num_attention_heads=4, seq_length=96, attention_backend=backend, **pattern
    )
    model = make_model(tensors, attention_bands=shape.attention_bands)
    tokens_BS = torch.randint(300, (3, 40), generator=torch.Generator().manual_seed(2))
    with joined_ranks(), model_parallel(ParallelConfig()):
        model_parallel_cuda_manual_seed(0)
        (gpt,) = build_chunks(shape, ParallelConfig(), vocab_size=300)
        state = gpt.state_dict()
        loaded = {name: tensor for name, tensor in tensors.items() if name in state}
        assert set(loaded) == set(tensors)
        rows = state["embedding.word_embeddings.weight"].shape[0]
        embedding = torch.zeros(rows, 32)
        embedding[:300] = tensors["embedding.word_embeddings.weight"][:300]
        gpt.load_state_dict({**loaded, "embedding.word_embeddings.weight": embedding}, strict=False)
        gpt.eval()
        with torch.no_grad():
            positions_BS = torch.arange(40).expand(3, -1)
            expected_BSV = gpt(tokens_BS, positions_BS, attention_mask=None)[..., :300]
    for tokens_S, expected_SV in zip(tokens_BS, expected_BSV, strict=True):
        logits_SV = model.decoder.logits(model.decoder.encode(tokens_S))
        torch.testing.assert_close(logits_SV, expected_SV, atol=TOLERANCE, rtol=0)
