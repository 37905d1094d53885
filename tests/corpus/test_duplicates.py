from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.corpus import duplicates
from megatron_codex.corpus.duplicates import find_duplicates
from megatron_codex.corpus.execution import executor
from megatron_codex.corpus.parts import FACTS, Part, PartList
from megatron_codex.corpus.shards import SCHEMA, TableWriter


def make_part(stem: Path, texts: list[str], hashes: list[int]) -> Part:
    """A part whose hashes are as given: forged ones meet for different texts."""
    part = Part(stem)
    facts = np.zeros(len(texts), FACTS)
    facts["hash_low"], facts["hash_high"] = [value % 2 for value in hashes], [value // 2 for value in hashes]
    np.save(part.facts, facts)
    columns: dict[str, Any] = {name: [""] * len(texts) for name in SCHEMA.names}
    with TableWriter(part.documents, SCHEMA) as writer:
        table = pa.table({**columns, "content": texts, "size_bytes": list(map(len, texts))}, SCHEMA)
        writer.add(table, np.ones(len(texts), np.int64))
    return part


def found(folder: Path, parts: list[list[tuple[str, int]]]) -> list[bool]:
    folder.mkdir(parents=True, exist_ok=True)
    made = [
        make_part(folder / f"part{number}", [text for text, _ in rows], [value for _, value in rows])
        for number, rows in enumerate(parts)
    ]
    with executor(ExecutionConfig(workers=1), folder=folder) as run:
        assert run is not None
        return find_duplicates(PartList.make(made, folder), run=run, folder=folder).tolist()


def test_the_first_of_equal_texts_stays(tmp_path: Path) -> None:
    parts = [[("a", 7), ("b", 8)], [], [("b", 8), ("c", 9), ("b", 8)], [("a", 7)]]
    assert found(tmp_path, parts) == [False, False, True, False, True, True]


def test_texts_decide_where_hashes_meet(tmp_path: Path) -> None:
    parts = [[("a", 7), ("b", 7)], [("c", 7), ("b", 7), ("a", 7)]]
    assert found(tmp_path, parts) == [False, False, False, True, True]


rows = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), max_size=12)


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(rows, min_size=1, max_size=4), bucket=st.sampled_from([1, 3, 100]))
def test_any_documents_in_any_buckets(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[str, int]]], bucket: int
) -> None:
    # A text's hash is its own, but may be another text's, too.
    hash_of: dict[str, int] = {}
    parts = [[(text, hash_of.setdefault(text, value)) for text, value in part] for part in parts]
    seen: set[str] = set()
    expected = [text in seen or seen.add(text) is not None for part in parts for text, _ in part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_RECORDS_IN_A_BUCKET", bucket)
        patch.setattr(duplicates, "_BLOCK", 2)
        assert found(tmp_path_factory.mktemp("run"), parts) == expected


def test_a_killed_run_s_files_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [[("a", 7), ("b", 8)], [("b", 8)]]
    first = found(tmp_path, parts)
    monkeypatch.setattr(duplicates, "_find_equal", partial(pytest.fail, "done again"))
    monkeypatch.setattr(duplicates, "_digest_members", partial(pytest.fail, "done again"))
    assert found(tmp_path, parts) == first
