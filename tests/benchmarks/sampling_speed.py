"""Samples a second on this CPU beside Hugging Face's generate and ctranslate2, interleaved: prints ratios.

    python tests/benchmarks/models.py sampling [--samples 100] [--tokens 128] [--rounds 3] [--threads 2]

100 samples of 128 tokens for one prompt of 150, top-p 0.95, temperature 0.8; the model is S of training.py (6 layers of
256, 50,281 tokens), random weights of a spread that makes peaked distributions. All sides read the same weights: a
checkpoint and its export by convert_checkpoint.py. Nothing ends a sample early. Each side is a process of its own with
the same threads and the same setting of the allocator, and takes its turn once a round. Ours also compares log p of
tokens that it drew with transformers' plain forward pass. Needs transformers and ctranslate2 (on PYTHONPATH).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from interleaved import Found, interleave, serve, spread  # noqa: E402

SHAPE = {"num_layers": 6, "hidden_size": 256, "num_attention_heads": 4, "seq_length": 512}
PROMPT_TOKENS, TOP_P, TEMPERATURE = 150, 0.95, 0.8
SIDES = ("ours", "hugging_face", "ctranslate2", "ours_bf16", "hugging_face_bf16")
WARM_UP = 1
NUM_CHECKED = 4

Step = Callable[[], Found]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.side:
        be_side(arguments.side[0], Path(arguments.side[1]), arguments.samples, arguments.tokens)
        return
    with tempfile.TemporaryDirectory() as directory:
        make_models(Path(directory))
        options = ["--samples", str(arguments.samples), "--tokens", str(arguments.tokens)]
        command = [sys.executable, __file__, *options, "--side"]
        found = interleave(
            {name: [*command, name, directory] for name in arguments.sides},
            rounds=arguments.rounds,
            warm_up=WARM_UP,
            threads=arguments.threads,
        )
    print(f"{arguments.samples} samples of {arguments.tokens} tokens, {arguments.threads} threads")
    for name, steps in found.items():
        mine = found["ours_bf16" if name.endswith("bf16") and "ours_bf16" in found else arguments.sides[0]]
        ratios = spread([other["seconds"] / own["seconds"] for other, own in zip(steps, mine, strict=True)])
        work = spread([other["processor"] / own["processor"] for other, own in zip(steps, mine, strict=True)])
        speed = statistics.median(arguments.samples / step["seconds"] for step in steps)
        check = f", log p within {steps[0]['error']:.1g}" if "error" in steps[0] else ""
        print(f"  {name}: {speed:.2f} samples/s{check}; its time / ours {ratios}, processor time {work}", flush=True)


def make_models(directory: Path) -> None:
    """run/, a checkpoint; folder/, its export."""
    from megatron_codex.config.convert import ConvertConfig
    from megatron_codex.config.model import ModelConfig
    from megatron_codex.config.tokenizer import TokenizerConfig
    from megatron_codex.convert.run import convert
    from tests.convert.conftest import write_run

    write_run(directory / "run", ModelConfig(**SHAPE), TokenizerConfig(), sizes=(1, 1, 1))  # type: ignore[arg-type]
    convert(ConvertConfig(input=directory / "run", output=directory / "folder", to="huggingface"))


def be_side(name: str, directory: Path, num_samples: int, num_tokens: int) -> None:
    import torch

    from megatron_codex.platform.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    dtype = torch.bfloat16 if name.endswith("bf16") else torch.float32
    builders = {"ours": ours, "hugging_face": hugging_face, "ctranslate2": ctranslate}
    serve(builders[name.removesuffix("_bf16")](directory, num_samples, num_tokens, dtype))


def prompt() -> Any:
    """[PROMPT_TOKENS] ids, the same for every side."""
    import torch

    return torch.randint(0, 50_000, (PROMPT_TOKENS,), generator=torch.Generator().manual_seed(1))


def ours(directory: Path, num_samples: int, num_tokens: int, dtype: Any) -> Step:
    import dataclasses

    import torch

    from megatron_codex.config.sampling import GenerationConfig
    from megatron_codex.sampling.batch import SampleRequest, decode_batch
    from megatron_codex.sampling.loading import load_sampling_model
    from megatron_codex.sampling.stopping import StopSequences

    model = load_sampling_model(directory / "run", precision="bfloat16" if dtype == torch.bfloat16 else "float32")
    # No token is the end of a document: the peers draw all tokens of every sample.
    endless = dataclasses.replace(model, tokenizer=_Endless())  # type: ignore[arg-type]
    ids = tuple(prompt().tolist())
    requests = [SampleRequest("task", index, ids) for index in range(num_samples)]
    never = StopSequences(("\0no such text\0",))
    rounds = iter(range(1_000_000))
    plain = plain_model(directory)

    def step() -> Found:
        config = GenerationConfig(
            num_samples=num_samples,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            max_new_tokens=num_tokens,
            seed=next(rounds),
        )
        samples = decode_batch(endless, requests, config=config, stop=never)
        assert all(len(sample.tokens) == num_tokens for sample in samples)
        drawn[:] = [samples]
        return {}

    drawn: list[Any] = []

    def error() -> float:
        worst = 0.0
        for sample in drawn[0][:NUM_CHECKED]:
            tokens = torch.tensor([[*ids, *sample.tokens]])
            with torch.inference_mode():
                logps = torch.log_softmax(plain(tokens[:, :-1]).logits[0, PROMPT_TOKENS - 1 :].float(), dim=-1)
            expected = logps.gather(1, tokens[0, PROMPT_TOKENS:, None])[:, 0]
            worst = max(worst, float((expected - torch.tensor(sample.logps)).abs().max()))
        return worst

    step()
    told = error()
    return lambda: {**step(), "error": told}


class _Endless:
    eod = -1


def plain_model(directory: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory / "folder", dtype=torch.float32).eval()


def hugging_face(directory: Path, num_samples: int, num_tokens: int, dtype: Any) -> Step:
    import torch

    model = plain_model(directory).to(dtype)
    model.generation_config.eos_token_id = None
    ids = prompt()[None]

    def step() -> Found:
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=0,
                top_p=TOP_P,
                temperature=TEMPERATURE,
                num_return_sequences=num_samples,
                max_new_tokens=num_tokens,
                pad_token_id=0,
            )
        assert output.shape == (num_samples, PROMPT_TOKENS + num_tokens)
        return {}

    return step


def ctranslate(directory: Path, num_samples: int, num_tokens: int, dtype: Any) -> Step:
    import ctranslate2  # type: ignore[import-not-found]

    converted = directory / "ctranslate2"
    if not converted.exists():
        ctranslate2.converters.TransformersConverter(str(directory / "folder")).convert(str(converted))
    threads = int(os.environ["OMP_NUM_THREADS"])
    generator = ctranslate2.Generator(str(converted), device="cpu", inter_threads=1, intra_threads=threads)
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(directory / "folder").convert_ids_to_tokens(prompt().tolist())

    def step() -> Found:
        (result,) = generator.generate_batch(
            [tokens],
            num_hypotheses=num_samples,
            beam_size=1,
            sampling_topk=0,
            sampling_topp=TOP_P,
            sampling_temperature=TEMPERATURE,
            max_length=num_tokens,
            min_length=num_tokens,
            include_prompt_in_result=False,
        )
        assert [len(ids) for ids in result.sequences_ids] == [num_tokens] * num_samples
        return {}

    return step


if __name__ == "__main__":
    main(sys.argv[1:])
