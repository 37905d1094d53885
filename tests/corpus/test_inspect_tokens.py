from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import pytest

from megatron_codex.config.corpus import InspectConfig, PreprocessConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.corpus import inspect_tokens
from megatron_codex.corpus.inspect_tokens import Inspection, inspect_dataset
from megatron_codex.corpus.preprocess import preprocess_data
from megatron_codex.data.indexed import IndexedDatasetWriter
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.codex import CodexTokenizer

TEXTS = [
    "def f(x):\n        return x\n",
    "a literal <|endoftext|>\n",
    "é中\r\n",
    *(f"if x == {number}:\n    pass\n" for number in range(20)),
]
TOOL = Path(__file__).parents[2] / "tools" / "inspect_dataset.py"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return make(tmp_path / "p")


def make(prefix: Path, *, tokenizer: TokenizerConfig | None = None) -> Path:
    source = prefix.parent / "a.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    chosen = {} if tokenizer is None else {"tokenizer": tokenizer}
    preprocess_data(PreprocessConfig(input=(source,), output_prefix=prefix, workers=1, **chosen))
    return prefix


def inspect(prefix: Path, **changes: Any) -> Inspection:
    return inspect_dataset(InspectConfig(input=prefix, **changes))


def test_statistics_are_those_of_all_tokens(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_tokens, "_BLOCK_TOKENS", 7)
    tokenizer = CodexTokenizer()
    documents = [[*tokenizer.encode(text).tolist(), tokenizer.eod] for text in TEXTS]
    tokens = [token for document in documents for token in document]
    found = inspect(prefix, num_frequent=100_000)
    assert (found.num_documents, found.num_tokens, found.dtype) == (len(TEXTS), len(tokens), "uint16")
    lengths = [len(document) for document in documents]
    assert (found.mean_length, found.median_length) == (mean(lengths), median(lengths))
    assert found.max_length == max(lengths)
    assert found.eod_share == len(TEXTS) / len(tokens)
    assert {token.id: token.count for token in found.frequent} == {token: tokens.count(token) for token in tokens}
    counts = [token.count for token in found.frequent]
    assert counts == sorted(counts, reverse=True)
    assert [token.id for token in inspect(prefix, num_frequent=2).frequent] == [
        token.id for token in found.frequent[:2]
    ]
    assert next(token for token in found.frequent if token.id == tokenizer.eod).text == "<|endoftext|>"


def test_documents_are_shown_as_text_with_their_end(prefix: Path) -> None:
    shown = inspect(prefix, documents=(1, -1, 0)).documents
    assert [document.position for document in shown] == [1, len(TEXTS) - 1, 0]
    assert [document.text for document in shown] == [TEXTS[position] + "<|endoftext|>" for position in (1, -1, 0)]
    assert shown[0].ids == [*CodexTokenizer().encode(TEXTS[1]).tolist(), 50256]


def test_a_draw_depends_on_the_seed_only(prefix: Path) -> None:
    def positions(**changes: int) -> list[int]:
        return [document.position for document in inspect(prefix, **changes).documents]

    assert positions(num_samples=5) == positions(num_samples=5)
    assert positions(num_samples=5) != positions(num_samples=5, seed=1)
    assert positions(num_samples=1000) == list(range(len(TEXTS)))


@pytest.mark.parametrize("tokenizer", [None, TokenizerConfig(vocab_size=300)], ids=["codex", "small"])
def test_savings_are_against_the_same_vocabulary_without_runs(
    tmp_path: Path, tokenizer: TokenizerConfig | None
) -> None:
    prefix = make(tmp_path / "p", tokenizer=tokenizer)
    own = CodexTokenizer.from_config(tokenizer or TokenizerConfig())
    plain = CodexTokenizer(vocab_size=None if tokenizer is None else 300 - 24, max_run=1)
    text = inspect(prefix).text
    assert text is not None
    assert text.num_documents == len(TEXTS)
    assert text.num_bytes == sum(len(text.encode()) for text in TEXTS)
    assert text.num_tokens == sum(len(own.encode(text)) for text in TEXTS)
    assert text.num_tokens_without_runs == sum(len(plain.encode(text)) for text in TEXTS)
    assert text.saved_share == pytest.approx(1 - text.num_tokens / text.num_tokens_without_runs)
    assert text.saved_share > 0
    assert text.bytes_per_token == pytest.approx(text.num_bytes / text.num_tokens)
    assert inspect(prefix, measured_documents=0).text is None


def test_without_a_manifest_only_ids_are_known(prefix: Path) -> None:
    Path(f"{prefix}.manifest.json").unlink()
    found = inspect(prefix, documents=(0,))
    assert (found.tokenizer, found.text, found.eod_share) == (None, None, None)
    assert found.documents[0].text is None
    assert found.documents[0].ids == [*CodexTokenizer().encode(TEXTS[0]).tolist(), 50256]
    assert {token.text for token in found.frequent} == {None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"documents": (99,)}, r"documents: got 99; .*has 23 documents; give -23 to 22", id="beyond"),
        pytest.param({"documents": (-24,)}, r"documents: got -24", id="before"),
        pytest.param({"seed": -1}, r"seed: got -1; must not be negative", id="seed"),
        pytest.param({"input": Path("gone")}, r"gone\.idx: no such file", id="missing"),
    ],
)
def test_bad_input_is_named(prefix: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inspect_dataset(InspectConfig(**{"input": prefix, **changes}))


def test_ids_that_the_tokenizer_does_not_have_are_named(prefix: Path, tmp_path: Path) -> None:
    with IndexedDatasetWriter(tmp_path / "q", np.uint16) as writer:
        writer.add_document(np.array([1, 50_281], np.uint16))
        writer.finalize()
    Path(f"{prefix}.manifest.json").rename(tmp_path / "q.manifest.json")
    with pytest.raises(InputError, match=r"q\.bin: got 50281; its tokens must be below 50281"):
        inspect(tmp_path / "q")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_speaks_to_people_and_to_machines(prefix: Path) -> None:
    done = run("--input", prefix, "--documents", 0, -1)
    assert done.returncode == 0, done.stderr
    length = len(CodexTokenizer().encode(TEXTS[0])) + 1
    assert f"--- document 0, {length} tokens\n{TEXTS[0]}<|endoftext|>\n" in done.stdout
    assert f"--- document {len(TEXTS) - 1}," in done.stdout
    assert "the runs of spaces save" in done.stdout
    found = json.loads(run("--input", prefix, "--json", "--documents", 0).stdout)
    assert found["documents"][0]["text"] == TEXTS[0] + "<|endoftext|>"
    Path(f"{prefix}.manifest.json").unlink()
    done = run("--input", prefix)
    assert "p.manifest.json is missing or names no tokenizer" in done.stdout
    done = run("--input", prefix, "--documents", 99)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
