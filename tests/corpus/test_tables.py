from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_codex.config.corpus import FilterConfig
from megatron_codex.corpus.candidates import BROKEN_NOTEBOOK, NOT_PYTHON, UNDECODABLE
from megatron_codex.corpus.filters import examine_one
from megatron_codex.corpus.languages import selection_of
from megatron_codex.corpus.tables import parquet_shape, read_parquet, read_table
from megatron_codex.errors import InputError

STACK_ROW = {
    "content": "x = 1\n",
    "max_stars_repo_path": "src/x.py",
    "max_stars_repo_name": "me/it",
    "max_stars_repo_licenses": ["MIT", "Apache-2.0"],
    "size": 6,
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("row", "path", "repository", "licence"),
    [
        pytest.param(STACK_ROW, "src/x.py", "me/it", "MIT, Apache-2.0", id="the-stack"),
        pytest.param(
            {"text": "x", "path": "a.py", "repo": "r", "license": "mit"}, "a.py", "r", "mit", id="short-names"
        ),
        pytest.param({"code": "x", "repo_name": "r", "path": "a.py"}, "a.py", "r", "", id="codeparrot-clean"),
        pytest.param(
            {
                "content": "x",
                "blob_id": "4c1f",
                "path": "/src/x.py",
                "repo_name": "me/it",
                "detected_licenses": ["MIT", "BSD-3-Clause"],
                "license_type": "permissive",
                "language": "Python",
            },
            "src/x.py",
            "me/it",
            "MIT, BSD-3-Clause",
            id="the-stack-v2-with-texts",
        ),
        pytest.param({"content": "x", "path": "../../a.py", "licenses": []}, "a.py", "", "", id="no-licence"),
        pytest.param({"content": "x"}, "", "", "", id="content-only"),
        pytest.param({"text": "x", "content": None, "path": None, "license": None}, "", "", "", id="empty-columns"),
    ],
)
def test_columns_of_known_sets_are_understood(
    tmp_path: Path, kind: Any, row: dict[str, Any], path: str, repository: str, licence: str
) -> None:
    (candidate,) = read_table(write(tmp_path / f"t.{kind}", [row]), kind)
    assert (candidate.path, candidate.repository, candidate.licence) == (path, repository, licence)
    assert candidate.content == next(iter(row.values()))
    assert not candidate.fault


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_of_other_languages_are_marked(tmp_path: Path, kind: Any) -> None:
    rows = [{"content": "x", "path": name} for name in ("a.js", "b.py", "c.ipynb")]
    faults = [candidate.fault for candidate in read_table(write(tmp_path / f"t.{kind}", rows), kind)]
    assert faults == [NOT_PYTHON, "", NOT_PYTHON]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("row", [{"path": "a.py"}, {"content": None}, {"content": 7}], ids=str)
def test_a_row_without_text_is_named(tmp_path: Path, kind: Any, row: dict[str, Any]) -> None:
    rows = [row] if kind == "parquet" else [{"content": "x"}, row]
    where = rf"t\.{kind}:{len(rows)}: no text under any of content, text, code"
    with pytest.raises(InputError, match=where):
        list(read_table(write(tmp_path / f"t.{kind}", rows), kind))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"content": "x"}\n{"content": \n')
    with pytest.raises(InputError, match=r"t\.jsonl:2"):
        list(read_table(tmp_path / "t.jsonl", "jsonl"))


def test_bytes_are_those_of_the_text_in_utf8(tmp_path: Path) -> None:
    (candidate,) = read_table(write(tmp_path / "t.jsonl", [{"content": "é\ud800"}]), "jsonl")
    assert candidate.size_bytes == 5


def test_many_rows_keep_their_order_and_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [{"content": str(number), "other": 1} for number in range(500)])
    assert list(read_parquet(path)) == [(number + 1, {"content": str(number)}) for number in range(500)]
    assert parquet_shape(path) == (500, ["content", "other"])


@pytest.mark.parametrize("damage", ["cut", "text", "inside"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "t.parquet", [{"content": "hello " * 1000 + str(number)} for number in range(100)])
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[:-20], "text": b"no Parquet", "inside": content[:10] + bytes(200) + content[210:]}[damage]
    )
    with pytest.raises(InputError, match=r"t\.parquet: not readable as Parquet"):
        list(read_table(path, "parquet"))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_row_s_language_is_that_of_its_path_or_its_column(tmp_path: Path, kind: Any) -> None:
    rows = [
        {"content": "x", "path": "a.js", "lang": "Python"},
        {"content": "x", "path": None, "lang": "javascript"},
        {"content": "x", "path": None, "lang": "Haskell"},
        {"content": "x", "path": "a.hs", "lang": None},
        {"content": "x", "path": None, "lang": None},
    ]
    path = write(tmp_path / f"t.{kind}", rows)
    selection = selection_of(["Python", "JavaScript"], notebooks=False)
    found = [(item.language, item.fault) for item in read_table(path, kind, selection=selection)]
    assert found == [
        ("JavaScript", ""), ("JavaScript", ""), ("Python", NOT_PYTHON), ("Python", NOT_PYTHON), ("Python", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_notebooks_in_a_table_are_read_where_they_are_asked_for(tmp_path: Path, kind: Any) -> None:
    cell = {"cell_type": "code", "source": "x = 1", "metadata": {}}
    rows = [
        {"content": json.dumps({"nbformat": 4, "cells": [cell]}), "path": "a.ipynb", "repo": "r", "license": "MIT"},
        {"content": "no notebook", "path": "b.ipynb", "repo": "r", "license": "MIT"},
    ]
    path = write(tmp_path / f"t.{kind}", rows)
    assert [item.fault for item in read_table(path, kind)] == [NOT_PYTHON, NOT_PYTHON]
    good, broken = read_table(path, kind, selection=selection_of(["Python"], notebooks=True))
    assert (good.content, good.path, good.repository, good.licence) == ("x = 1\n", "a.ipynb", "r", "MIT")
    assert (broken.fault, broken.content) == (BROKEN_NOTEBOOK, b"")


def test_the_stack_v2_without_texts_says_where_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [{"blob_id": "4c1f", "path": "/a.py", "repo_name": "r"}])
    with pytest.raises(InputError, match=r"t\.parquet:1: names a blob_id only, as The Stack v2 does"):
        list(read_table(path, "parquet"))


def test_half_a_character_in_a_line_is_counted_not_raised(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"content": "x = \'\\ud83d\'", "path": "\\ud83d.py"}\n')
    (candidate,) = read_table(tmp_path / "t.jsonl", "jsonl")
    assert examine_one(candidate, FilterConfig())[0].reason == UNDECODABLE
