from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.corpus import preprocess
from megatron_codex.corpus.preprocess import PreprocessSummary, preprocess_data
from megatron_codex.corpus.shards import SCHEMA, TableWriter
from megatron_codex.data.indexed import IndexedDataset
from megatron_codex.errors import InputError
from megatron_codex.files import sha256_file
from megatron_codex.manifest import read_manifest
from megatron_codex.tokenizer.codex import CodexTokenizer
from tests.megatron_files import MegatronDataset

TEXTS = ["def f(x):\n    return x\n", "", "a literal <|endoftext|> is text\n", "é中\r\n", "\ud800", "x" * 2000]
WRITTEN = [text for text in TEXTS if text]


def lines(path: Path, texts: list[str] = TEXTS, key: str = "text") -> Path:
    content = "".join(json.dumps({key: text}) + "\n" for text in texts).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def run(*inputs: Path, prefix: Path, **changes: Any) -> PreprocessSummary:
    return preprocess_data(PreprocessConfig(input=inputs, output_prefix=prefix, **{"workers": 1, **changes}))


def expected(texts: list[str], *, append_eod: bool = True, tokenizer: CodexTokenizer | None = None) -> list[list[int]]:
    tokenizer = tokenizer or CodexTokenizer()
    return [tokenizer.encode(text).tolist() + [tokenizer.eod] * append_eod for text in texts]


def stored(prefix: Path) -> list[list[int]]:
    dataset = IndexedDataset(prefix)
    return [dataset.document(index).tolist() for index in range(len(dataset))]


@pytest.mark.parametrize("append_eod", [True, False])
def test_documents_become_tokens_in_order(tmp_path: Path, append_eod: bool) -> None:
    summary = run(lines(tmp_path / "a.jsonl"), prefix=tmp_path / "out" / "p", append_eod=append_eod)
    assert stored(tmp_path / "out" / "p") == expected(WRITTEN, append_eod=append_eod)
    assert (summary.num_documents, summary.num_empty, summary.dtype) == (5, 1, "uint16")
    assert summary.num_tokens == sum(map(len, expected(WRITTEN, append_eod=append_eod)))
    assert summary.text_bytes == sum(len(text.encode("utf-8", "surrogatepass")) for text in TEXTS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p.bin", "p.idx", "p.manifest.json"]


def test_megatron_core_reads_the_files_token_for_token(tmp_path: Path) -> None:
    run(lines(tmp_path / "a.jsonl"), prefix=tmp_path / "p")
    theirs = MegatronDataset(str(tmp_path / "p"))
    assert [theirs[index].tolist() for index in range(len(theirs))] == expected(WRITTEN)
    assert theirs.index.dtype == np.uint16
    assert theirs.document_indices.tolist() == list(range(len(WRITTEN) + 1))


@pytest.mark.parametrize("task_bytes", [40, 3_000, 1_000_000])
def test_the_bytes_do_not_depend_on_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task_bytes: int) -> None:
    monkeypatch.setattr(preprocess, "TASK_BYTES", task_bytes)
    source = lines(tmp_path / "a.jsonl", TEXTS * 5)
    run(source, prefix=tmp_path / "one")
    run(source, prefix=tmp_path / "two", workers=2)
    for suffix in (".bin", ".idx"):
        assert Path(f"{tmp_path}/one{suffix}").read_bytes() == Path(f"{tmp_path}/two{suffix}").read_bytes()
    assert stored(tmp_path / "one") == expected(WRITTEN * 5)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("task_bytes", [1, 200, 1_000_000])
def test_parquet_gives_the_bytes_that_lines_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, task_bytes: int
) -> None:
    monkeypatch.setattr(preprocess, "TASK_BYTES", task_bytes)
    texts = [text for text in TEXTS if text != "\ud800"] * 5
    table = pa.table({"other": range(len(texts)), "content": pa.chunked_array([texts[:7], [], texts[7:]], kind)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    run(tmp_path / "a.parquet", prefix=tmp_path / "table", workers=2 if task_bytes == 200 else 1)
    run(lines(tmp_path / "a.jsonl", texts), prefix=tmp_path / "lines")
    for suffix in (".bin", ".idx"):
        assert Path(f"{tmp_path}/table{suffix}").read_bytes() == Path(f"{tmp_path}/lines{suffix}").read_bytes()
    assert stored(tmp_path / "table") == expected([text for text in texts if text])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_row_without_text_is_named_and_nothing_is_left(tmp_path: Path, workers: int) -> None:
    pq.write_table(pa.table({"content": ["a", "b", "c", None, "d"]}), tmp_path / "a.parquet", row_group_size=2)
    with pytest.raises(InputError, match=r"a\.parquet:4: needs a text under 'content'; 'content' holds no text"):
        run(tmp_path / "a.parquet", prefix=tmp_path / "p", workers=workers)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_the_same_file_twice_is_read_twice(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", ["one"])
    run(source, source, prefix=tmp_path / "p")
    assert stored(tmp_path / "p") == expected(["one", "one"])


def test_inputs_are_read_in_the_order_given_and_directories_by_name(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    lines(tmp_path / "shards" / "b.jsonl.gz", ["third"])
    lines(tmp_path / "shards" / "a.jsonl", ["second"])
    (tmp_path / "shards" / "manifest.json").write_text("{}")
    run(lines(tmp_path / "z.jsonl", ["first"]), tmp_path / "shards", prefix=tmp_path / "p")
    assert stored(tmp_path / "p") == expected(["first", "second", "third"])


def test_shards_of_the_corpus_are_read(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    other = dict.fromkeys(["path", "repository", "licence", "language", "source", "hash"], "")
    for text in ("one", "two"):
        with TableWriter(tmp_path / f"shards/{text}.parquet", SCHEMA) as writer:
            writer.add(pa.Table.from_pylist([{"content": text, "size_bytes": 3, **other}], SCHEMA), np.array([3]))
    run(tmp_path / "shards", prefix=tmp_path / "p")
    assert stored(tmp_path / "p") == expected(["one", "two"])


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_text_is_taken_from_the_key_that_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        lines(path, ["here"], key="body")
    else:
        pq.write_table(pa.Table.from_pylist([{"body": "here", "content": "not here"}]), path)
    run(path, prefix=tmp_path / "p", json_key="body")
    assert stored(tmp_path / "p") == expected(["here"])


def test_a_small_vocabulary_is_used_and_recorded(tmp_path: Path) -> None:
    small = TokenizerConfig(vocab_size=400, max_run=8)
    run(lines(tmp_path / "a.jsonl"), prefix=tmp_path / "p", tokenizer=small)
    assert stored(tmp_path / "p") == expected(WRITTEN, tokenizer=CodexTokenizer.from_config(small))
    manifest = read_manifest(tmp_path, "p.manifest.json")
    assert manifest["config"]["tokenizer"] == {"vocab_size": 400, "min_run": 2, "max_run": 8}
    assert (manifest["vocab_size"], manifest["eod"], manifest["dtype"]) == (400, 392, "uint16")
    assert manifest["counts"] == {"documents": 5, "empty": 1, "tokens": sum(map(len, stored(tmp_path / "p")))}
    digest = sha256_file(tmp_path / "a.jsonl")
    assert manifest["inputs"][str(tmp_path / "a.jsonl")]["sha256"] == digest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param('{"content": "x"}', r"a\.jsonl:2: needs a text under 'text'; has the fields content", id="no-key"),
        pytest.param('{"text": 5}', r"a\.jsonl:2: needs a text under 'text'; 'text' holds no text", id="no-text"),
        pytest.param("{}", r"a\.jsonl:2: .*has the fields none", id="no-fields"),
        pytest.param('{"text": "x"', r"a\.jsonl:2: .*not valid JSON", id="no-json"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_line_is_named_and_nothing_is_left(tmp_path: Path, line: str, message: str, workers: int) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(InputError, match=message):
        run(tmp_path / "a.jsonl", prefix=tmp_path / "p", workers=workers)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("missing.jsonl", r"missing\.jsonl: no such file", id="missing"),
        pytest.param("empty", r"empty: holds no documents", id="empty-directory"),
        pytest.param("a.txt", r"a\.txt: holds no documents", id="other-kind"),
        pytest.param("zero.jsonl", r"zero\.jsonl: the file is empty", id="empty-file"),
        pytest.param("bad.parquet", r"bad\.parquet: not readable as Parquet", id="damaged"),
        pytest.param("blank.jsonl", r"p: no tokens were added", id="no-documents"),
    ],
)
def test_an_input_without_documents_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    for file, content in {
        "a.txt": "x",
        "zero.jsonl": "",
        "bad.parquet": "x",
        "blank.jsonl": '\n{"text": ""}\n',
    }.items():
        (tmp_path / file).write_text(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        run(tmp_path / name, prefix=tmp_path / "p")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".manifest.json"])
def test_an_existing_output_is_kept(tmp_path: Path, suffix: str) -> None:
    taken = Path(f"{tmp_path}/p{suffix}")
    taken.write_text("kept")
    with pytest.raises(InputError, match="the output exists already"):
        run(lines(tmp_path / "a.jsonl"), prefix=tmp_path / "p")
    assert taken.read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 2
