"""The two commands as a user runs them: from a directory of files to token files, and what they say of bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from megatron_codex.data.indexed import IndexedDataset

TOOLS = Path(__file__).parents[2] / "tools"


def run(tool: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_from_files_to_tokens(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.py").write_text(f"number = {number}\n")
    (tmp_path / "empty.py").touch()
    built = run("build_corpus.py", "--input", "0.py", "1.py", "2.py", "empty.py", "--output", "corpus", folder=tmp_path)
    assert built.returncode == 0, built.stderr
    kept, empty, last = built.stdout.splitlines()[1:]
    assert kept.split()[:2] == ["kept", "3"]
    assert empty.split()[:2] == ["empty", "1"]
    assert last.startswith("corpus: 3 documents")
    arguments = ("--input", "corpus", "--output-prefix", "tokens/p", "--workers", 2, "tokenizer.vocab_size=1000")
    tokenised = run("preprocess_data.py", *arguments, folder=tmp_path)
    assert tokenised.returncode == 0, tokenised.stderr
    assert tokenised.stdout.startswith("tokens/p.bin: 3 documents")
    merge = ("--input", "tokens/p", "tokens/p", "--output-prefix", "tokens/all")
    merged = run("merge_datasets.py", *merge, folder=tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert merged.stdout.startswith("tokens/all.bin: 6 documents")
    assert len(IndexedDataset(tmp_path / "tokens" / "all")) == 6
    dataset = IndexedDataset(tmp_path / "tokens" / "p")
    assert len(dataset) == 3
    assert all(dataset.document(index)[-1] == 975 for index in range(3))


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        pytest.param(
            "build_corpus.py", ["--input", "gone", "--output", "o"], "error: gone: no such file", id="missing"
        ),
        pytest.param("build_corpus.py", ["--input", "empty", "--output", "o"], "error: empty: holds no", id="empty"),
        pytest.param("build_corpus.py", ["--output", "o"], "error: input: is required", id="no-input"),
        pytest.param("build_corpus.py", ["--explain", "gone.py"], "error: gone.py: no such file", id="explain"),
        pytest.param(
            "build_corpus.py",
            ["--input", "empty", "--output", "o", "--languages", "Python", "Javscript"],
            "error: languages: got 'Javscript'; no language that is known here; did you mean JavaScript?",
            id="language",
        ),
        pytest.param(
            "build_corpus.py",
            ["--input", "empty", "--output", "o", "--workers", "0"],
            "error: workers: got 0; must be at least 1",
            id="no-workers",
        ),
        pytest.param(
            "preprocess_data.py",
            ["--input", "gone", "--output-prefix", "o"],
            "error: gone: no such file",
            id="no-tokens",
        ),
        pytest.param(
            "preprocess_data.py",
            ["--input", "gone", "--output-prefix", "o", "tokenizer.vocab_size=9"],
            "error: tokenizer.vocab_size: got 9; must lie between 281 and 50281",
            id="vocabulary",
        ),
        pytest.param(
            "merge_datasets.py",
            ["--input", "gone", "--output-prefix", "o"],
            "error: gone.idx: no such file",
            id="nothing-to-merge",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, tool: str, arguments: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tool, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_one_file_is_explained_with_the_corpus_s_own_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x" * 50 + "\n")
    (tmp_path / "corpus.yaml").write_text("input: [gone]\noutput: corpus\nfilters: {max_line_length: 40}\n")
    done = run("build_corpus.py", "--config", "corpus.yaml", "--explain", "a.py", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("dropped: maximum_line_length")
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("tool", ["build_corpus.py", "preprocess_data.py"])
def test_help_names_every_value_and_its_default(tmp_path: Path, tool: str) -> None:
    done = run(tool, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert "--workers" in done.stdout
    assert "default: none" in done.stdout
