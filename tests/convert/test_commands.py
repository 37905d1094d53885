"""Any layout to any layout; and what goes wrong: one line, the exit code, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert import gpt2
from megatron_codex.convert.layout import FileLayout
from megatron_codex.convert.run import convert
from megatron_codex.convert.weights import model_shapes
from megatron_codex.errors import ConfigError, InputError, WorkError
from megatron_codex.model.checkpoint_files import read_checkpoint_manifest
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from tests.convert.conftest import STEP, model_config, step_directory, write_run
from tests.parallel.ranks import ROOT

VOCAB = TokenizerConfig(vocab_size=300)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run") / "run", model_config("dense"), VOCAB, sizes=(2, 2, 1))


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folder") / "folder"
    convert(ConvertConfig(input=run, output=path, to="huggingface", max_shard_size=20_000))
    return path


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 3, 2)], ids=["one_file", "tp4_pp3_dp2"])
def test_tensors_are_bitwise_the_same_in_another_layout(run: Path, tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    tensor, pipeline, data = sizes
    convert(
        ConvertConfig(
            input=run,
            output=tmp_path / "out",
            to="checkpoint",
            tensor_model_parallel_size=tensor,
            pipeline_model_parallel_size=pipeline,
            data_parallel_size=data,
        )
    )
    before, after = CheckpointTensors(step_directory(run)), CheckpointTensors(step_directory(tmp_path / "out"))
    assert set(after.names) == set(before.names)
    for name in before.names:
        assert torch.equal(after.read(name), before.read(name)), name
    manifest = read_checkpoint_manifest(step_directory(tmp_path / "out"))
    assert manifest["step"] == STEP and manifest["has_optimizer"]
    assert len(list(step_directory(tmp_path / "out").glob("*.safetensors"))) == tensor * pipeline * data


def test_places_are_what_ranks_hold(run: Path) -> None:
    """Vocabulary 300 padded to 512 on two ranks: the second has 44 rows. Every tensor is covered once."""
    model = model_config("dense")
    sizes = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2, "data_parallel_size": 1}
    layout = FileLayout(model=model, **sizes)
    found = {
        name: [(writer, place.offset, place.shape) for writer, place in layout.places(name, shape)]
        for name, shape in model_shapes(model, vocab_size=300).items()
    }
    assert found["embedding.word_embeddings.weight"] == [(0, (0, 0), (256, 32)), (1, (256, 0), (44, 32))]
    assert found["decoder.layers.1.self_attention.linear_qkv.bias"] == [(0, (0,), (48,)), (1, (48,), (48,))]
    assert found["decoder.layers.2.mlp.linear_fc2.weight"] == [(2, (0, 0), (32, 64)), (3, (0, 64), (32, 64))]
    assert found["decoder.final_layernorm.bias"] == [(2, (0,), (32,))]


def test_weights_only_leaves_the_optimizer_out(run: Path, tmp_path: Path) -> None:
    convert(ConvertConfig(input=run, output=tmp_path / "out", to="checkpoint", weights_only=True))
    tensors = CheckpointTensors(step_directory(tmp_path / "out"))
    assert tensors.names == tensors.weight_names == CheckpointTensors(step_directory(run)).weight_names
    assert not read_checkpoint_manifest(step_directory(tmp_path / "out"))["has_optimizer"]


def _step(path: Path) -> Path:
    return step_directory(path)


def _second_file(folder: Path) -> Path:
    return sorted(folder.glob("*.safetensors"))[1]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _other_width(path: Path) -> None:
    manifest = json.loads((_step(path) / "manifest.json").read_text())
    manifest["config"]["model"]["ffn_hidden_size"] = 96
    (_step(path) / "manifest.json").write_text(json.dumps(manifest))


def _other_vocabulary(path: Path) -> None:
    manifest = json.loads((_step(path) / "manifest.json").read_text())
    manifest["config"]["tokenizer"]["vocab_size"] = 301
    (_step(path) / "manifest.json").write_text(json.dumps(manifest))


def _flip(path: Path) -> None:
    shard = _step(path) / "shard_00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[8 + int.from_bytes(content[:8], "little")] ^= 1  # of the word embeddings
    shard.write_bytes(content)


CHECKPOINT_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (lambda path: _cut(_step(path) / "shard_00001.safetensors"), "shard_00001.safetensors has"),
    "missing": (lambda path: (_step(path) / "shard_00000.safetensors").unlink(), "shard_00000.safetensors has no file"),
    "other_bytes": (_flip, "has other bytes there than were written"),
    "other_model": (_other_width, "has the shape [128, 32], the manifest's model and vocabulary give [96, 32]"),
    "other_vocabulary": (
        _other_vocabulary,
        "has the shape [300, 32], the manifest's model and vocabulary give [301,",
    ),
}
FOLDER_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (lambda path: _cut(_second_file(path)), "not a whole safetensors file ("),
    "missing": (lambda path: _second_file(path).unlink(), "no such file"),
    "architecture": (lambda path: _edit(path / "config.json", model_type="llama"), "model_type must be one of gpt2, "),
    "activation": (lambda path: _edit(path / "config.json", activation_function="relu"), "activation_function must be"),
    "untied": (lambda path: _edit(path / "config.json", tie_word_embeddings=False), "tie_word_embeddings must be True"),
    "heads": (lambda path: _edit(path / "config.json", n_head=5), "num_attention_heads: got 5; must divide"),
    "layers": (lambda path: _edit(path / "config.json", n_layer=2), "has a tensor transformer.h.2."),
    "more_layers": (lambda path: _edit(path / "config.json", n_layer=4), "have no tensor transformer.h.3."),
    "width": (lambda path: _edit(path / "config.json", n_inner=64), "config.json gives [32, 64]"),
    "json": (lambda path: (path / "config.json").write_text("{"), "not valid JSON"),
    "no_tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "has neither tokenizer.json nor vocab.json"),
}


@pytest.mark.parametrize("name", CHECKPOINT_FAULTS)
@pytest.mark.parametrize("to", ["checkpoint", "huggingface"])
def test_faulty_checkpoints_are_named(run: Path, tmp_path: Path, name: str, to: str) -> None:
    _require_refused(run, tmp_path, CHECKPOINT_FAULTS[name], to)


@pytest.mark.parametrize("name", FOLDER_FAULTS)
def test_faulty_folders_are_named(folder: Path, tmp_path: Path, name: str) -> None:
    _require_refused(folder, tmp_path, FOLDER_FAULTS[name], "checkpoint")


def _require_refused(good: Path, tmp_path: Path, fault: tuple[Callable[[Path], None], str], to: str) -> None:
    damage, message = fault
    damaged = tmp_path / "damaged"
    shutil.copytree(good, damaged)
    damage(damaged)
    with pytest.raises(InputError) as caught:
        convert(ConvertConfig(input=damaged, output=tmp_path / "out", to=to))  # type: ignore[arg-type]
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tensor_model_parallel_size": 3}, "tensor_model_parallel_size: got 3; must divide the model's num_attention"),
        ({"pipeline_model_parallel_size": 4}, "pipeline_model_parallel_size: got 4; must not exceed"),
        ({"extend_vocabulary": True}, "extend_vocabulary: got True; is for Hugging Face folders"),
    ],
    ids=["tensor", "pipeline", "extend"],
)
def test_what_does_not_fit_the_model_is_refused(
    run: Path, tmp_path: Path, fields: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        convert(ConvertConfig(input=run, output=tmp_path / "out", to="checkpoint", **fields))  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert not list(tmp_path.iterdir())


def test_settings_of_the_other_direction_are_refused() -> None:
    paths = {"input": Path("a"), "output": Path("b")}
    with pytest.raises(ConfigError, match="weights_only: got True; is not read with to = huggingface"):
        ConvertConfig(**paths, to="huggingface", weights_only=True)
    with pytest.raises(ConfigError, match="dtype: got 'bfloat16'; is not read with to = checkpoint"):
        ConvertConfig(**paths, to="checkpoint", dtype="bfloat16")


def test_runs_are_not_added_twice(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has runs of 2 to 25 spaces already"):
        convert(ConvertConfig(input=folder, output=tmp_path / "out", to="checkpoint", extend_vocabulary=True))


def test_another_model_is_not_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that mixes up queries and keys fails its own check and leaves nothing."""
    split = gpt2.split_qkv
    monkeypatch.setattr(gpt2, "split_qkv", lambda joined, heads: (lambda q, k, v: (k, q, v))(*split(joined, heads)))
    with pytest.raises(WorkError, match="the output is not the input's model"):
        convert(ConvertConfig(input=run, output=tmp_path / "out", to="huggingface"))
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_it_did_and_what_it_cannot(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "tools/convert_checkpoint.py", "--input", str(run), "--output", str(tmp_path / "out")]
    command += ["--to", "huggingface"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert "GPT2LMHeadModel, 300 tokens (no padding), float32; logits of 64 random tokens differ by" in done.stdout
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 2 and again.stderr.count("\n") == 1
    assert "the output exists already" in again.stderr
