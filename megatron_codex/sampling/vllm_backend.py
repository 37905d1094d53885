"""Samples drawn by vLLM from a Hugging Face folder of tools/convert_checkpoint.py: the one module that imports it.

In: Work (sampling/work.py). Out: its Completions, ended by our stop rule and cut like native ones. vLLM's own stop
strings only keep it from going on: its tokens are then read one by one by the rule of sampling/stopping.py. Each
sample has its own seed, so it depends on its batch no more than vLLM makes it; its random numbers are not the native
ones. Written against vLLM 0.10's documented LLM and SamplingParams; not run here, where it cannot be installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from megatron_codex.config.sampling import DecodingParallelConfig
from megatron_codex.convert.huggingface_folder import CONFIG_NAME, read_json
from megatron_codex.convert.huggingface_tokenizer import read_tokenizer
from megatron_codex.errors import InputError, WorkError
from megatron_codex.manifest import MANIFEST_NAME
from megatron_codex.records import Completion, prompt_sha256
from megatron_codex.sampling.noise import sample_key
from megatron_codex.sampling.stopping import GrowingSample, Stop, StopSequences
from megatron_codex.sampling.work import Work
from megatron_codex.tokenizer.codex import CodexTokenizer


def require_vllm(folder: Path) -> Path:
    """The folder. Raises: InputError when vLLM is not installed, or the folder is no export of ours."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError("backend", value="vllm", rule="needs vLLM", remedy="pip install 'megatron-codex[vllm]'")
    for name in (CONFIG_NAME, MANIFEST_NAME):
        if not (folder / name).is_file():
            rule = f"has no {name}: backend=vllm samples from an exported folder"
            remedy = "export the checkpoint first: tools/convert_checkpoint.py --to huggingface"
            raise InputError(str(folder), rule=rule, remedy=remedy)
    return folder


def decode(folder: Path, parallel: DecodingParallelConfig, work: Work) -> list[Completion]:
    """Draw the samples of one batch. The engine is kept for the next one."""
    engine = _engine(folder, parallel, work.config.precision)
    tokens = {prompt.text: engine.tokenizer.encode(prompt.text).tolist() for prompt, _ in work.items}
    samples = [GrowingSample(prompt.task_id, index, work.stop, engine.tokenizer.eod) for prompt, index in work.items]
    asked = []
    for sample, (prompt, _) in zip(samples, work.items, strict=True):
        room = engine.seq_length - len(tokens[prompt.text])
        if room < 1:  # vLLM counts the last token's position, too
            sample.finish_reason = "prompt_too_long"
        else:
            asked.append((sample, tokens[prompt.text], min(work.config.max_new_tokens, room)))
    if asked:
        prompts = [{"prompt_token_ids": ids} for _, ids, _ in asked]
        parameters = [engine.parameters(**_arguments(sample, work, limit)) for sample, _, limit in asked]
        outputs = engine.llm.generate(prompts, parameters, use_tqdm=False)
        for (sample, _, _), output in zip(asked, outputs, strict=True):
            _take(sample, output.outputs[0], engine.token_bytes)
    return [
        sample.completion(
            seed=work.config.seed,
            checkpoint=str(folder),
            prompt_sha256=prompt_sha256(prompt.text),
            token_logps=work.token_logps,
        )
        for sample, (prompt, _) in zip(samples, work.items, strict=True)
    ]


@dataclass(frozen=True)
class _Engine:
    llm: Any
    parameters: Any
    """vLLM's class SamplingParams."""
    tokenizer: CodexTokenizer
    token_bytes: tuple[bytes, ...]
    seq_length: int


@lru_cache(maxsize=1)
def _engine(folder: Path, parallel: DecodingParallelConfig, precision: str) -> _Engine:
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    tokenizer = CodexTokenizer.from_config(read_tokenizer(folder))
    config = read_json(folder / CONFIG_NAME, "a model's configuration")
    seq_length = int(config["n_positions"] if "n_positions" in config else config["max_position_embeddings"])
    llm = LLM(
        model=str(folder),
        dtype=precision,
        tensor_parallel_size=parallel.tensor_model_parallel_size,
        pipeline_parallel_size=parallel.pipeline_model_parallel_size,
        max_model_len=seq_length,
        enable_prefix_caching=True,
        logprobs_mode="raw_logprobs",  # of the model itself, before temperature and top-p, as ours
    )
    token_bytes = tuple(tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size))
    return _Engine(llm, SamplingParams, tokenizer, token_bytes, seq_length)


def _arguments(sample: GrowingSample, work: Work, limit: int) -> dict[str, Any]:
    config = work.config
    return {
        "n": 1,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_tokens": limit,
        "seed": sample_key(config.seed, sample.task_id, sample.sample_index) >> 1,  # torch's seeds have a sign
        "logprobs": 0,  # of the drawn token only
        "stop": _strings(work.stop),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
    }


def _strings(stop: Stop) -> list[str] | None:
    return list(stop.sequences) if isinstance(stop, StopSequences) else None


def _take(sample: GrowingSample, output: Any, token_bytes: Sequence[bytes]) -> None:
    """Read vLLM's tokens by our stop rule."""
    for token, logps in zip(output.token_ids, output.logprobs, strict=True):
        if sample.add(token, float(logps[token].logprob), token_bytes):
            return
    if output.finish_reason == "length":
        sample.finish_reason = "length"
    elif output.finish_reason == "stop" and output.stop_reason is None:
        sample.finish_reason = "eod"
    else:
        ended = f"{output.finish_reason} ({output.stop_reason!r})"
        raise WorkError(f"{sample.task_id}: vLLM ended sample {sample.sample_index} by {ended}, where no stop is found")
