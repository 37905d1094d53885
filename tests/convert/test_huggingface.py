"""Exported folders under transformers itself, its own folders imported, and both ways one after the other."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert.forward import checkpoint_logits, huggingface_logits
from megatron_codex.convert.huggingface_folder import HuggingFaceTensors
from megatron_codex.convert.huggingface_tokenizer import write_tokenizer
from megatron_codex.convert.run import convert
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.model.weights import read_weights
from megatron_codex.records import prompt_sha256
from megatron_codex.sampling.generate import generate
from megatron_codex.sampling.loading import load_sampling_model
from megatron_codex.sampling.stopping import StopSequences
from megatron_codex.sampling.work import Prompt
from tests.convert.conftest import BAND_WIDTH, SEQ_LENGTH, model_config, step_directory, weights_of, write_run
from tests.parallel.ranks import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

TOLERANCE = 1e-4
"""fp32 sums in another order, and GPT-Neo's rewritten biases, at logits of about 10; measured: 4e-5."""

PROMPT = "def add_all(values):\n        total =   0\n"
NO_STOP = StopSequences(("\0",))
CLASSES = {"dense": "GPT2LMHeadModel", "alternating": "GPTNeoForCausalLM"}


@pytest.fixture(scope="module")
def folders(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("folders")
    for pattern, run in runs.items():
        # Small files: the embeddings alone, then layers over several.
        convert(ConvertConfig(input=run, output=directory / pattern, to="huggingface", max_shard_size=60_000))
    return {pattern: directory / pattern for pattern in runs}


def _load(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _logits(model: Any, tokens_S: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(tokens_S[None]).logits[0]
    return logits


@pytest.mark.parametrize("pattern", CLASSES)
def test_transformers_computes_our_logits(runs: dict[str, Path], folders: dict[str, Path], pattern: str) -> None:
    model = _load(folders[pattern])
    assert type(model).__name__ == CLASSES[pattern]
    tokens_S = torch.randint(50281, (SEQ_LENGTH,), generator=torch.Generator().manual_seed(1))
    sampler = load_sampling_model(runs[pattern])
    expected_SV = sampler.decoder.logits(sampler.decoder.encode(tokens_S))
    torch.testing.assert_close(_logits(model, tokens_S), expected_SV, atol=TOLERANCE, rtol=0)
    config = json.loads((folders[pattern] / "config.json").read_text())
    found_SV = huggingface_logits(HuggingFaceTensors(folders[pattern]), config, tokens_S)
    torch.testing.assert_close(found_SV, expected_SV, atol=TOLERANCE, rtol=0)
    stored = read_weights(runs[pattern])
    found_SV = checkpoint_logits(CheckpointTensors(stored.directory), stored.model, tokens_S)
    torch.testing.assert_close(found_SV, expected_SV, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("pattern", CLASSES)
def test_transformers_generates_the_samplers_greedy_text(
    runs: dict[str, Path], folders: dict[str, Path], pattern: str
) -> None:
    """Longer than the band, from prompt to text, with the folder's own tokenizer."""
    count = 4 * BAND_WIDTH
    greedy = GenerationConfig(temperature=0.0, max_new_tokens=count)
    (ours,) = generate(runs[pattern], [Prompt("t", PROMPT)], config=greedy, stop=NO_STOP)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[pattern])
    prompt = tokenizer(PROMPT, return_tensors="pt")
    (ids,) = _load(folders[pattern]).generate(**prompt, do_sample=False, max_new_tokens=count, pad_token_id=0)
    text = tokenizer.decode(ids[prompt.input_ids.shape[1] :])
    assert ours.num_tokens == count and ours.finish_reason == "length"
    assert text == ours.completion


def test_the_commands_lead_from_a_checkpoint_to_the_same_greedy_text(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """convert_checkpoint.py, then transformers' generate with the folder alone; sample.py on the checkpoint."""
    problem = {"task_id": "t", "prompt": 'def f(x):\n    """Twice x."""\n', "entry_point": "f", "test": ""}
    write_jsonl(tmp_path / "problems.jsonl", [{**problem, "canonical_solution": "    return 2 * x\n"}])
    commands = {
        "convert_checkpoint": ["--input", runs["dense"], "--output", tmp_path / "folder", "--to", "huggingface"],
        "sample": [
            *("--checkpoint", runs["dense"], "--problems", tmp_path / "problems.jsonl", "--temperature", 0),
            *("--output", tmp_path / "s.jsonl", "--max-new-tokens", 40, "--stop-sequences", "no such text"),
        ],
    }
    for name, arguments in commands.items():
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "tools" / f"{name}.py"), run_name="__main__")
    (sample,) = read_jsonl(tmp_path / "s.jsonl")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")
    prompt = tokenizer(problem["prompt"], return_tensors="pt")
    (ids,) = _load(tmp_path / "folder").generate(**prompt, do_sample=False, max_new_tokens=40, pad_token_id=0)
    assert sample["num_tokens"] == 40 and sample["prompt_sha256"] == prompt_sha256(problem["prompt"])
    assert tokenizer.decode(ids[prompt.input_ids.shape[1] :]) == sample["completion"]


def test_a_large_model_is_written_as_several_files(folders: dict[str, Path]) -> None:
    files = sorted(path.name for path in folders["dense"].glob("*.safetensors"))
    assert len(files) > 3 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"


@pytest.mark.parametrize("pattern", CLASSES)
def test_out_and_back_is_the_same_model(
    runs: dict[str, Path], folders: dict[str, Path], pattern: str, tmp_path: Path
) -> None:
    outcome = convert(
        ConvertConfig(input=folders[pattern], output=tmp_path / "back", to="checkpoint", tensor_model_parallel_size=4)
    )
    assert outcome.check.largest_difference <= TOLERANCE
    first, back = read_weights(runs[pattern]), read_weights(tmp_path / "back")
    assert back.model.architecture() == first.model.architecture()
    assert back.tokenizer.true_vocab_size == first.tokenizer.true_vocab_size == 50281
    if pattern == "dense":  # GPT-Neo has no biases of q, k and v: its weights are another form of the same model
        for name, tensor in first.tensors.items():
            assert torch.equal(back.tensors[name], tensor), name
    tokens_S = torch.randint(50281, (SEQ_LENGTH,), generator=torch.Generator().manual_seed(1))
    expected_SV, found_SV = (
        checkpoint_logits(CheckpointTensors(weights.directory), weights.model, tokens_S) for weights in (first, back)
    )
    torch.testing.assert_close(found_SV, expected_SV, atol=TOLERANCE, rtol=0)


def test_bf16_weights_are_the_rounded_ones(runs: dict[str, Path], tmp_path: Path) -> None:
    outcome = convert(ConvertConfig(input=runs["dense"], output=tmp_path / "bf16", to="huggingface", dtype="bfloat16"))
    assert 0 < outcome.check.largest_difference < 0.05 * outcome.check.largest_logit
    name = "decoder.layers.1.mlp.linear_fc1.weight"
    stored = HuggingFaceTensors(tmp_path / "bf16").read("transformer.h.1.mlp.c_fc.weight")
    assert torch.equal(stored.t(), weights_of(runs["dense"])[name].bfloat16().float())
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "bf16").dtype == torch.bfloat16


GPT2 = {"n_layer": 3, "n_embd": 32, "n_head": 4, "n_positions": 64}
NEO = {"num_layers": 4, "hidden_size": 32, "num_heads": 4, "max_position_embeddings": 64, "window_size": 5}
THEIR_MODELS = {
    "gpt2": lambda **vocab: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, **vocab)),
    "gpt2_wide": lambda **vocab: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, n_inner=48, **vocab)),
    "gpt2_unscaled": lambda **vocab: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**GPT2, scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True, **vocab)
    ),
    "gpt_neo": lambda **vocab: transformers.GPTNeoForCausalLM(
        transformers.GPTNeoConfig(**NEO, attention_types=[[["global", "local"], 2]], **vocab)
    ),
    "gpt_neo_dense": lambda **vocab: transformers.GPTNeoForCausalLM(
        transformers.GPTNeoConfig(**NEO, attention_types=[[["global"], 4]], **vocab)
    ),
}


def _their_folder(
    directory: Path, name: str, *, vocab_size: int, max_run: int, rows: int | None = None
) -> tuple[Path, Any]:
    """A folder as transformers writes it, of a random model with weights and biases far from their small defaults."""
    torch.manual_seed(5)
    model = THEIR_MODELS[name](vocab_size=rows or vocab_size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(directory)
    write_tokenizer(directory, TokenizerConfig(vocab_size=vocab_size, max_run=max_run), seq_length=64)
    return directory, model


@pytest.mark.parametrize("name", THEIR_MODELS)
def test_folders_of_transformers_are_read(name: str, tmp_path: Path) -> None:
    folder, theirs = _their_folder(tmp_path / "theirs", name, vocab_size=400, max_run=4, rows=448)
    outcome = convert(ConvertConfig(input=folder, output=tmp_path / "ours", to="checkpoint"))
    assert "48 rows left out" in outcome.what
    sampler = load_sampling_model(tmp_path / "ours")
    tokens_S = torch.randint(400, (64,), generator=torch.Generator().manual_seed(2))
    found_SV = sampler.decoder.logits(sampler.decoder.encode(tokens_S))
    torch.testing.assert_close(found_SV, _logits(theirs, tokens_S)[:, :400], atol=TOLERANCE, rtol=0)


def test_names_without_prefix_and_old_masks_are_read(tmp_path: Path) -> None:
    """As in GPT-2's first folders: the bare model's names, and causal masks among the weights."""
    folder, theirs = _their_folder(tmp_path / "theirs", "gpt2", vocab_size=300, max_run=1)
    state = {name.removeprefix("transformer."): tensor.clone() for name, tensor in theirs.state_dict().items()}
    state |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64).tril().bool() for layer in range(3)}
    from safetensors.torch import save_file

    save_file(state, folder / "model.safetensors")
    outcome = convert(ConvertConfig(input=folder, output=tmp_path / "ours", to="checkpoint"))
    assert outcome.check.largest_difference <= TOLERANCE


def test_a_gpt_2_folder_starts_a_codex_model(tmp_path: Path) -> None:
    """GPT-2's 50,257 tokens become Codex's 50,281; a run of spaces starts as a single space, the rest as it was."""
    folder, theirs = _their_folder(tmp_path / "theirs", "gpt2", vocab_size=50257, max_run=1, rows=50304)
    outcome = convert(ConvertConfig(input=folder, output=tmp_path / "ours", to="checkpoint", extend_vocabulary=True))
    assert outcome.what == "gpt2, 50,281 tokens, 47 rows left out, 24 rows added"
    weights = read_weights(tmp_path / "ours")
    assert (weights.tokenizer.min_run, weights.tokenizer.max_run, weights.step) == (2, 25, 0)
    rows, stored = weights.tensors["embedding.word_embeddings.weight"], theirs.transformer.wte.weight.detach()
    assert torch.equal(rows[:50257], stored[:50257])
    assert torch.equal(rows[50257:], stored[220].expand(24, -1))  # 220: a single space
    manifest = json.loads((step_directory(tmp_path / "ours") / "manifest.json").read_text())
    assert manifest["rows_of_padding_left_out"] == 47 and manifest["rows_of_runs_added"] == 24
    assert not manifest["has_optimizer"]


def test_layers_alternate_to_the_end(tmp_path: Path) -> None:
    for num_layers, kinds in ((1, [[["global"], 1]]), (4, [[["global", "local"], 2]])):
        model = model_config("alternating", num_layers=num_layers)
        run = write_run(tmp_path / f"run{num_layers}", model, TokenizerConfig(vocab_size=300))
        convert(ConvertConfig(input=run, output=tmp_path / f"folder{num_layers}", to="huggingface"))
        config = json.loads((tmp_path / f"folder{num_layers}" / "config.json").read_text())
        assert config["attention_types"] == kinds


@pytest.mark.parametrize("norms", ["zero_gain", "no_biases"])
def test_biases_go_into_the_weights_whatever_the_norm(tmp_path: Path, norms: str) -> None:
    run = write_run(tmp_path / "run", model_config("alternating"), TokenizerConfig(vocab_size=300), norms=norms)
    outcome = convert(ConvertConfig(input=run, output=tmp_path / "folder", to="huggingface"))
    assert outcome.check.largest_difference <= TOLERANCE
