"""The sample command: what it writes, that it goes on where it stopped, and that workers change nothing."""

from __future__ import annotations

import json
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.sampling import DecodingParallelConfig, SamplingConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.native.library import instructions
from megatron_codex.ops import programs
from megatron_codex.ops.programs import DECODING, DRAWING
from megatron_codex.records import Completion, prompt_sha256
from megatron_codex.sampling import samples_file
from megatron_codex.sampling.generate import draw_items, generate
from megatron_codex.sampling.samples_file import write_samples
from megatron_codex.sampling.stopping import StopSequences
from megatron_codex.sampling.work import Decode, Item, Prompt
from megatron_codex.tokenizer.codex import CodexTokenizer
from tests.sampling.conftest import VOCAB_SIZE

ROOT = Path(__file__).parents[2]
STOP = StopSequences(("e", "\n"))
Command = Callable[..., tuple[int, str, str]]


def _problem(task_id: str, docstring: str) -> dict[str, str]:
    return {
        "task_id": task_id,
        "prompt": f'def f(x):\n    """{docstring}"""\n',
        "entry_point": "f",
        "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
        "signature": "def f(x):\n",
        "docstring": docstring,
        "body": "    return x\n",
    }


PROBLEMS = [_problem("a", "Return x."), _problem("b", "Give back x."), _problem("c", "x")]
PROMPTS = [Prompt(problem["task_id"], problem["prompt"]) for problem in PROBLEMS]


@pytest.fixture
def config(tmp_path: Path, checkpoint: Path) -> SamplingConfig:
    problems = tmp_path / "problems.jsonl"
    write_jsonl(problems, PROBLEMS)
    return SamplingConfig(
        checkpoint=checkpoint,
        problems=problems,
        output=tmp_path / "out" / "samples.jsonl",
        num_samples=5,
        max_new_tokens=20,
        batch_size=4,
        seed=3,
    )


OUTPUTS = ["samples.jsonl", "samples.jsonl.manifest.json", "whole.jsonl", "whole.jsonl.manifest.json"]


def _whole(config: SamplingConfig) -> bytes:
    """What a single run writes."""
    output = config.output.with_name("whole.jsonl")
    write_samples(replace(config, output=output), PROMPTS, stop=STOP)
    return output.read_bytes()


def test_samples_carry_where_they_come_from(config: SamplingConfig, checkpoint: Path) -> None:
    counts = write_samples(config, PROMPTS, stop=STOP)
    assert counts is not None
    samples = [Completion.from_json(row, where="sample") for row in read_jsonl(config.output)]
    assert [sample.task_id for sample in samples] == [task for task in "abc" for _ in range(5)]
    assert [sample.extra["sample_index"] for sample in samples] == [0, 1, 2, 3, 4] * 3
    assert {sample.checkpoint for sample in samples} == {str(checkpoint / "checkpoints" / "step_00000010")}
    assert samples[5].prompt_sha256 == prompt_sha256(PROMPTS[1].text) and samples[5].seed == 3
    assert counts["samples"] == 15 and counts["problems"] == 3
    for sample in samples:
        assert sample.num_tokens is not None and sample.sum_logp is not None
        if sample.num_tokens:
            assert sample.mean_logp == pytest.approx(sample.sum_logp / sample.num_tokens)
    manifest = json.loads((config.output.parent / "samples.jsonl.manifest.json").read_text())
    assert str(config.problems) in manifest["inputs"] and manifest["config"]["seed"] == 3
    assert not list(config.output.parent.glob("*.partial"))


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    config: SamplingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _whole(config)
    asked = []

    def interrupted(decode: Decode, items: Sequence[Item], **options: Any) -> Iterator[Completion]:
        asked.append(len(items))
        for number, completion in enumerate(draw_items(decode, items, **options)):
            if len(asked) == 1 and number == 7:
                raise KeyboardInterrupt
            yield completion

    monkeypatch.setattr(samples_file, "draw_items", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_samples(config, PROMPTS, stop=STOP)
    assert not config.output.exists()
    partial = config.output.with_name("samples.jsonl.partial") / "samples-00000-of-00001.jsonl"
    partial.write_bytes(partial.read_bytes()[:-10])  # a line that a crash cut off
    write_samples(config, PROMPTS, stop=STOP)
    assert asked == [15, 9] and config.output.read_bytes() == whole
    assert sorted(path.name for path in config.output.parent.iterdir()) == OUTPUTS


def test_a_partial_run_with_other_settings_is_not_continued(config: SamplingConfig) -> None:
    assert write_samples(replace(config, shard="0/2"), PROMPTS, stop=STOP) is None
    journal = config.output.with_name("samples.jsonl.partial") / "samples-00000-of-00002.jsonl"
    before = journal.read_bytes()
    with pytest.raises(InputError, match=r"samples.jsonl.partial: holds unfinished work of a run with other seed"):
        write_samples(replace(config, shard="1/2", seed=4), PROMPTS, stop=STOP)
    assert journal.read_bytes() == before


def test_shards_write_what_one_run_writes(config: SamplingConfig, caplog: pytest.LogCaptureFixture) -> None:
    """Of three shards, one stops early; two shards of another division go on and the last joins; a late one rests."""
    caplog.set_level("INFO")
    whole = _whole(config)
    assert write_samples(replace(config, shard="2/3"), PROMPTS, stop=STOP) is None
    assert write_samples(replace(config, shard="0/2", batch_size=2), PROMPTS, stop=STOP) is None
    counts = write_samples(replace(config, shard="1/2", batch_size=3), PROMPTS, stop=STOP)
    assert counts is not None and counts["samples"] == 15
    assert config.output.read_bytes() == whole
    assert "5 of 15 samples are drawn; share 0/2 draws 5" in caplog.text
    before = config.output.stat()
    assert write_samples(replace(config, shard="3/9"), PROMPTS, stop=STOP) == counts
    assert config.output.stat() == before
    assert sorted(path.name for path in config.output.parent.iterdir()) == OUTPUTS


def test_a_shard_that_is_killed_is_finished_by_the_same_command(config: SamplingConfig) -> None:
    """kill -9 while it draws; the two shards, run again, end in the bytes of a single run."""
    config = replace(config, num_samples=30, batch_size=192, stop_sequences=("e", "\n"))
    whole = _whole(config)
    paths = ["--checkpoint", config.checkpoint, "--problems", config.problems, "--output", config.output]
    numbers = ["--num-samples", 30, "--max-new-tokens", 20, "--seed", 3, "--batch-size", 1]
    options = [*numbers, "--stop-sequences", "e", "\n"]
    command = [sys.executable, ROOT / "tools" / "sample.py", *paths, *options, "--shard", "0/2"]
    shard = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    journal = config.output.with_name("samples.jsonl.partial") / "samples-00000-of-00002.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    shard.kill()
    assert shard.wait() == -signal.SIGKILL
    drawn = journal.read_bytes().count(b"\n")
    assert 0 < drawn < 60
    assert write_samples(replace(config, shard="1/2"), PROMPTS, stop=STOP) is None
    counts = write_samples(replace(config, shard="0/2"), PROMPTS, stop=STOP)
    assert counts is not None and counts["samples"] == 90
    assert config.output.read_bytes() == whole


def test_log_p_of_each_token_stands_beside_the_sum(config: SamplingConfig) -> None:
    _whole(config)
    plain = list(read_jsonl(config.output.with_name("whole.jsonl")))
    write_samples(replace(config, token_logps=True), PROMPTS, stop=STOP)
    tokenizer = CodexTokenizer(vocab_size=VOCAB_SIZE)
    rows = list(read_jsonl(config.output))
    for row, without in zip(rows, plain, strict=True):
        tokens, logps = row.pop("tokens"), row.pop("token_logps")
        assert row == without and len(tokens) == len(logps) == row["num_tokens"]
        assert sum(logps) == row["sum_logp"]
        text = b"".join(map(tokenizer.token_bytes, tokens)).decode(errors="replace")
        assert text.startswith(row["completion"]) if row["finish_reason"] == "stop" else text == row["completion"]
    assert sum(row["num_tokens"] for row in rows) > 15


def test_an_existing_output_is_not_overwritten(config: SamplingConfig) -> None:
    config.output.parent.mkdir()
    config.output.write_text("precious")
    with pytest.raises(InputError, match="the output exists already"):
        write_samples(config, PROMPTS, stop=STOP)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [([*PROMPTS, PROMPTS[0]], "stands for two problems"), ([Prompt("e", "")], "e: prompt: is empty")],
    ids=["one task twice", "empty prompt"],
)
def test_faulty_prompts_are_refused(config: SamplingConfig, prompts: list[Prompt], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_samples(config, prompts, stop=STOP)
    assert not config.output.parent.exists()


@pytest.mark.parametrize(
    ("field", "value", "others", "message"),
    [
        ("temperature", -0.1, {}, "temperature: got -0.1; must be 0 or more"),
        ("temperature", float("nan"), {}, "temperature: got nan"),
        ("top_p", 0.0, {}, r"top_p: got 0.0; must be in \(0, 1\]"),
        ("top_p", 95.0, {}, "top_p: got 95.0"),
        ("num_samples", 0, {}, "num_samples: got 0; must be at least 1"),
        ("num_samples", 5, {"temperature": 0.0}, "num_samples: got 5; must be 1 at temperature 0"),
        ("workers", 2, {"device": "cuda"}, "workers: got 2; must be 1 on a GPU"),
        ("stop_sequences", ("",), {}, "stop_sequences: got ''; must not be empty"),
        ("device", "cuda", {"backend": "vllm"}, "device: got 'cuda'; is not read with backend = vllm"),
        ("shard", "2/2", {}, "shard: got '2/2'; must be I/N with I in 0..N-1"),
        ("parallel", DecodingParallelConfig(tensor_model_parallel_size=2), {}, "parallel: got '2 x 1'; needs 2 ranks"),
    ],
)
def test_settings_out_of_range_are_named(field: str, value: object, others: dict[str, object], message: str) -> None:
    paths = {name: Path("x") for name in ("checkpoint", "problems", "output")}
    with pytest.raises(ConfigError, match=message):
        SamplingConfig(**paths, **{field: value}, **others)  # type: ignore[arg-type]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run tools/sample.py in this process (importing torch takes seconds): exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sample.py", *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(ROOT / "tools" / "sample.py"), run_name="__main__")
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, *capsys.readouterr()

    return run


def test_workers_and_batches_change_no_byte_of_the_command_s_output(
    config: SamplingConfig, tmp_path: Path, command: Command
) -> None:
    outputs = []
    for name, options in (("one", ["--batch-size", 192]), ("two", ["--workers", 2, "--batch-size", 3])):
        output = tmp_path / name / "s.jsonl"
        arguments = ["--checkpoint", config.checkpoint, "--problems", config.problems, "--output", output]
        shared = ["--num-samples", 4, "--max-new-tokens", 25, "--temperature", 0.8, "--top-p", 0.95, "--seed", 5]
        code, printed, errors = command(*arguments, *shared, *options)
        assert code == 0, errors
        assert "12 samples" in printed
        outputs.append(list(read_jsonl(output)))
    texts = [[(row["task_id"], row["completion"], row["finish_reason"]) for row in rows] for rows in outputs]
    assert texts[0] == texts[1] and len(texts[0]) == 12
    for row, other in zip(*outputs, strict=True):
        assert row["sum_logp"] == pytest.approx(other["sum_logp"], abs=1e-3)


def test_a_fault_in_a_worker_is_the_same_one_line(config: SamplingConfig, tmp_path: Path) -> None:
    step_directory = shutil.copytree(config.checkpoint / "checkpoints" / "step_00000010", tmp_path / "step_00000010")
    manifest = json.loads((step_directory / "manifest.json").read_text())
    manifest["config"]["model"]["num_attention_heads"] = "many"  # the manifest is read by the worker only
    (step_directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"num_attention_heads: got 'many'"):
        list(generate(step_directory, PROMPTS, config=replace(config, workers=2), stop=STOP))


def test_the_manifest_and_one_line_of_the_log_say_whose_programs_drew(
    config: SamplingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    said = {}
    for kernels in ("own", "reference"):
        output = config.output.with_name(f"{kernels}.jsonl")
        with caplog.at_level("INFO"):
            write_samples(replace(config, kernels=kernels, output=output), PROMPTS[:1], stop=STOP)
        manifest = json.loads(output.with_name(f"{output.name}.manifest.json").read_text())
        said[kernels] = manifest["kernels"]
        assert manifest["config"]["kernels"] == kernels
    in_cpp = {DECODING: f"CPU C++ ({instructions()[0]})", DRAWING: f"CPU C++ ({instructions()[0]})"}
    assert said == {"own": in_cpp, "reference": dict.fromkeys(in_cpp, "torch")}
    lines = [record.getMessage() for record in caplog.records if "kernels=" in record.getMessage()]
    assert lines == [
        f"kernels=own: {in_cpp[DECODING]}: {DECODING}, {DRAWING}",
        f"kernels=reference: torch: {DECODING}, {DRAWING}",
    ]


def test_own_kernels_that_are_not_built_are_refused_before_anything_is_written(
    config: SamplingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "fastest", lambda: None)
    with pytest.raises(InputError, match=r"^kernels: got 'own'; needs the C\+\+ library, which is not built here"):
        write_samples(replace(config, kernels="own"), PROMPTS, stop=STOP)
    assert not config.output.parent.exists()


def test_the_parent_of_workers_does_without_torch() -> None:
    code = "import sys, megatron_codex.sampling.samples_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_docstring_view_asks_with_signature_and_body(
    config: SamplingConfig, tmp_path: Path, command: Command
) -> None:
    output = tmp_path / "d.jsonl"
    arguments = ["--checkpoint", config.checkpoint, "--problems", config.problems, "--output", output]
    code, _, errors = command(*arguments, "--view", "d", "--max-new-tokens", 5, "--num-samples", 2)
    assert code == 0, errors
    hashes = {row["prompt_sha256"] for row in read_jsonl(output)}
    assert hashes == {prompt_sha256("def f(x):\n    return x\n")}


def test_bad_input_is_one_line_and_exit_code_2(config: SamplingConfig, tmp_path: Path, command: Command) -> None:
    output = tmp_path / "x.jsonl"
    damaged = tmp_path / "damaged"
    shutil.copytree(config.checkpoint, damaged)
    (damaged / "checkpoints" / "step_00000010" / "shard_00000.safetensors").write_bytes(b"")
    cases = [
        (tmp_path / "nowhere", config.problems, "no such directory"),
        (damaged / "checkpoints" / "step_00000010", config.problems, "damaged"),
        (config.checkpoint, tmp_path / "none.jsonl", "no such file"),
    ]
    for checkpoint, problems, message in cases:
        code, _, errors = command("--checkpoint", checkpoint, "--problems", problems, "--output", output)
        assert code == 2 and message in errors
        assert errors.count("\n") == 1 and not list(tmp_path.glob("x.jsonl*"))
