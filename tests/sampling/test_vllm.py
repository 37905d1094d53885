"""The vLLM back-end against a stand-in that notes what it is asked: arguments, and our stop rule on what comes back.

vLLM itself cannot be installed here: nothing below runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.sampling import DecodingParallelConfig, SamplingConfig
from megatron_codex.convert.run import convert
from megatron_codex.errors import InputError, WorkError
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.sampling import vllm_backend
from megatron_codex.sampling.samples_file import write_samples
from megatron_codex.sampling.stopping import CODE_STOPS, StopSequences
from megatron_codex.sampling.work import Prompt
from megatron_codex.tokenizer.codex import CodexTokenizer
from tests.sampling.conftest import SEQ_LENGTH, VOCAB_SIZE

TOKENIZER = CodexTokenizer(vocab_size=VOCAB_SIZE)
TEXT = "    return x\n\ndef g(y): pass"


class StandIn(ModuleType):
    """Answers every prompt with TEXT, one byte a token, or less where the limit or `ends` says so."""

    def __init__(self) -> None:
        super().__init__("vllm")
        self.__spec__ = SimpleNamespace(name="vllm")  # type: ignore[assignment]
        self.engines: list[dict[str, Any]] = []
        self.asked: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.ends = len(TEXT)
        self.finish: tuple[str, str | None] = ("stop", "\ndef")
        self.SamplingParams = dict

    def LLM(self, **arguments: Any) -> Any:  # noqa: N802
        self.engines.append(arguments)
        return SimpleNamespace(generate=self.generate)

    def generate(self, prompts: list[dict[str, Any]], parameters: list[dict[str, Any]], *, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm and len(prompts) == len(parameters)
        self.asked += zip(prompts, parameters, strict=True)
        return [self._answer(p["max_tokens"]) for p in parameters]

    def _answer(self, limit: int) -> Any:
        tokens = [int(TOKENIZER.encode(letter)[0]) for letter in TEXT[: min(limit, self.ends)]]
        finish, reason = self.finish if limit > self.ends or self.ends == len(TEXT) <= limit else ("length", None)
        logprobs = [{token: SimpleNamespace(logprob=-0.5)} for token in tokens]
        output = SimpleNamespace(token_ids=tokens, logprobs=logprobs, finish_reason=finish, stop_reason=reason)
        return SimpleNamespace(outputs=[output])


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "vllm", module)
    vllm_backend._engine.cache_clear()
    yield module
    vllm_backend._engine.cache_clear()


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "folder"
    convert(ConvertConfig(input=checkpoint, output=path, to="huggingface"))
    return path


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> SamplingConfig:
    write_jsonl(tmp_path / "p.jsonl", [{}])
    return SamplingConfig(
        checkpoint=folder,
        problems=tmp_path / "p.jsonl",
        output=tmp_path / "s.jsonl",
        backend="vllm",
        num_samples=2,
        temperature=0.7,
        top_p=0.9,
        max_new_tokens=50,
        precision="bfloat16",
        token_logps=True,
        parallel=DecodingParallelConfig(tensor_model_parallel_size=2, pipeline_model_parallel_size=3),
    )


def _write(config: SamplingConfig, *prompts: str) -> list[dict[str, Any]]:
    named = [Prompt(str(number), prompt) for number, prompt in enumerate(prompts)]
    write_samples(config, named, stop=StopSequences(CODE_STOPS))
    return list(read_jsonl(config.output))


def test_engine_and_requests_are_asked_for_what_the_config_says(
    vllm: StandIn, config: SamplingConfig, folder: Path
) -> None:
    rows = _write(config, "def f(x):\n", "y" * (SEQ_LENGTH - 4), "z" * SEQ_LENGTH)
    (engine,) = vllm.engines
    assert engine["model"] == str(folder) and engine["dtype"] == "bfloat16" and engine["max_model_len"] == SEQ_LENGTH
    assert (engine["tensor_parallel_size"], engine["pipeline_parallel_size"]) == (2, 3)
    assert engine["logprobs_mode"] == "raw_logprobs"
    assert len(vllm.asked) == 4, "the prompt that fills the context is not asked for"
    assert vllm.asked[0][0] == {"prompt_token_ids": TOKENIZER.encode("def f(x):\n").tolist()}
    given = vllm.asked[0][1]
    assert (given["temperature"], given["top_p"], given["max_tokens"], given["n"]) == (0.7, 0.9, 50, 1)
    assert given["stop"] == list(CODE_STOPS) and given["include_stop_str_in_output"] and given["logprobs"] == 0
    seeds = [parameters["seed"] for _, parameters in vllm.asked]
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**63 for seed in seeds)
    assert [parameters["max_tokens"] for _, parameters in vllm.asked[2:]] == [4, 4]
    assert [row["finish_reason"] for row in rows] == ["stop"] * 2 + ["length"] * 2 + ["prompt_too_long"] * 2
    assert rows[0]["completion"] == "    return x\n" and rows[2]["completion"] == "    "
    assert rows[0]["num_tokens"] == len(rows[0]["tokens"]) == 13 and rows[0]["mean_logp"] == -0.5


def test_the_end_of_a_document_is_known_and_another_stop_than_ours_is_a_fault(
    vllm: StandIn, config: SamplingConfig
) -> None:
    vllm.ends, vllm.finish = 12, ("stop", None)
    assert [row["finish_reason"] for row in _write(config, "def f(x):\n")] == ["eod", "eod"]
    config.output.unlink()
    vllm.finish = ("stop", "turn")
    with pytest.raises(WorkError, match=r"0: vLLM ended sample 0 by stop \('turn'\), where no stop is found"):
        _write(config, "def f(x):\n")


def test_without_vllm_or_an_exported_folder_one_line_says_so(
    config: SamplingConfig, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"backend: got 'vllm'; needs vLLM; pip install 'megatron-codex\[vllm\]'"):
        _write(config, "x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(InputError, match=r"has no config.json: backend=vllm samples from an exported folder"):
        vllm_backend.require_vllm(checkpoint)
