"""The sample command: what it writes, that it goes on where it stopped, and that workers change nothing."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_codex.config.sampling import SamplingConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.records import Completion, prompt_sha256
from megatron_codex.sampling import samples_file
from megatron_codex.sampling.generate import Prompt, generate
from megatron_codex.sampling.samples_file import write_samples
from megatron_codex.sampling.stopping import StopSequences

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


def test_samples_carry_where_they_come_from(config: SamplingConfig, checkpoint: Path) -> None:
    counts = write_samples(config, PROMPTS, stop=STOP)
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
    write_samples(config, PROMPTS, stop=STOP)
    whole = config.output.read_bytes()
    config.output.unlink()
    skipped = []

    def interrupted(*args: object, skip: int, **kwargs: object) -> object:
        skipped.append(skip)
        for number, completion in enumerate(generate(*args, skip=skip, **kwargs)):  # type: ignore[arg-type]
            if len(skipped) == 1 and number == 7:
                raise KeyboardInterrupt
            yield completion

    monkeypatch.setattr(samples_file, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_samples(config, PROMPTS, stop=STOP)
    assert not config.output.exists()
    partial = config.output.with_name("samples.jsonl.partial")
    partial.write_bytes(partial.read_bytes()[:-10])  # a line that a crash cut off
    write_samples(config, PROMPTS, stop=STOP)
    assert skipped == [0, 6] and config.output.read_bytes() == whole


def test_a_partial_run_with_other_settings_is_not_continued(config: SamplingConfig, tmp_path: Path) -> None:
    partial = config.output.with_name("samples.jsonl.partial")
    partial.parent.mkdir()
    partial.write_text('{"partial_run": {"seed": 4}}\n')
    with pytest.raises(InputError, match="belongs to an interrupted run with other settings"):
        write_samples(config, PROMPTS, stop=STOP)
    assert partial.read_text() == '{"partial_run": {"seed": 4}}\n'


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
