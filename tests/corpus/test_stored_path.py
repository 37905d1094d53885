from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.corpus.stored_path import stored_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pkg/a.py", "pkg/a.py"), ("./a.py", "a.py"), ("/etc/a.py", "etc/a.py"), ("a/../../../b.py", "b.py"),
        ("a//b.py", "a/b.py"), ("C:\\x\\a.py", "x/a.py"), ("a:b.py", "a:b.py"), ("..", ""), ("a\0b.py", "a?b.py"),
        ("x\ny.py", "x?y.py"), ("...py", "...py"), ("..a/b.py", "..a/b.py"), ("é/中.py", "é/中.py"),
        ("d" * 2_000 + "/a.py", "d" * 1_019 + "/a.py"), ("", ""),
    ],
)  # fmt: skip
def test_a_name_becomes_a_relative_path(name: str, path: str) -> None:
    assert stored_path(name) == path


@given(st.text(st.sampled_from("a./\\:\n\0\ud800C")))
def test_no_name_leads_outside(name: str) -> None:
    path = stored_path(name)
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert not set(path) & set("\0\n\\")
    assert stored_path(path) == path or ":" in path
