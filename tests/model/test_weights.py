"""A checkpoint read back: the sampling decoder, an implementation of its own, finds the training's validation loss.

That one number holds the label shift, the loss mask, the padding of the vocabulary, the interleaving of q, k and v,
epsilon, GELU and the tied embeddings together.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from megatron_codex.data.prompted import PromptedDataset
from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_jsonl
from megatron_codex.model.weights import read_weights
from megatron_codex.sampling.decoder import Decoder
from megatron_codex.tokenizer.codex import CodexTokenizer
from tests.parallel.jobs import SEQ_LENGTH, VOCAB_SIZE, merge, metrics, prompted_job, write_data
from tests.parallel.ranks import run_ranks

pytestmark = pytest.mark.multirank


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tensor-parallel ranks, whose vocabulary is padded from 300 to 512."""
    directory = tmp_path_factory.mktemp("weights")
    write_data(directory)
    job = prompted_job(directory, parallel={"tensor_model_parallel_size": 2})
    training = {"output_dir": str(directory / "run"), "train_iters": 4, "save_interval": 2, "eval_interval": 2}
    run_ranks(2, [merge(job, {"training": training})], directory / "ranks")
    return directory


@pytest.mark.parametrize("step", [2, 4])
def test_the_decoder_finds_the_trainings_validation_loss(directory: Path, step: int) -> None:
    weights = read_weights(directory / "run" / "checkpoints" / f"step_{step:08d}")
    decoder = Decoder(
        weights.tensors,
        num_layers=weights.model.num_layers,
        num_attention_heads=weights.model.num_attention_heads,
        seq_length=weights.model.seq_length,
        layernorm_epsilon=weights.model.layernorm_epsilon,
        vocab_size=VOCAB_SIZE,
    )
    pairs = [(row["prompt"], row["completion"]) for row in read_jsonl(directory / "data" / "valid.jsonl")]
    tokenizer = CodexTokenizer(VOCAB_SIZE)
    source = PromptedDataset(pairs, tokenizer=tokenizer, seq_length=SEQ_LENGTH, layout="left_padded")
    total, count = 0.0, 0
    for index in range(len(source)):  # alone, a row has no padding
        row = source.batch([index], seq_length=source.sequence_length([index]))
        logits_SV = decoder.logits(decoder.encode(torch.from_numpy(row.tokens[0])))
        losses_S = F.cross_entropy(logits_SV, torch.from_numpy(row.labels[0]), reduction="none")
        total += float((losses_S * torch.from_numpy(row.loss_mask[0])).sum())
        count += row.num_loss_tokens
    valid_loss = metrics(directory / "run")[step - 1]["valid_loss"]
    assert total / count == pytest.approx(valid_loss, abs=1e-5)


def test_padding_of_the_vocabulary_is_cut_off(directory: Path) -> None:
    weights = read_weights(directory / "run")
    assert weights.tensors["embedding.word_embeddings.weight"].shape == (VOCAB_SIZE, weights.model.hidden_size)
    assert weights.tokenizer.vocab_size == VOCAB_SIZE
    assert weights.step == 4


def test_a_checkpoint_is_found_by_step_checkpoints_or_run_directory(directory: Path) -> None:
    run = directory / "run"
    found = {read_weights(path).directory for path in (run, run / "checkpoints", run / "checkpoints" / "step_00000004")}
    assert found == {run / "checkpoints" / "step_00000004"}


def test_no_checkpoint_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint here"):
        read_weights(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        read_weights(tmp_path / "missing")


def test_reading_weights_needs_no_megatron_core(directory: Path) -> None:
    code = (
        "import sys; from megatron_codex.model.weights import read_weights\n"
        f"assert len(read_weights({str(directory / 'run')!r}).tensors) == 4 + 4 * 12\n"
        "assert not any(name.split('.')[0] == 'megatron' for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
