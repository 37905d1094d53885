"""A project of one module, loaded from a text, for tests of tracing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest


def load_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> ModuleType:
    """TMP_PATH/project/lib.py, written and imported as `lib` for the length of a test."""
    path = tmp_path / "project" / "lib.py"
    path.parent.mkdir()
    path.write_text(source)
    module = ModuleType("lib")
    monkeypatch.setitem(sys.modules, "lib", module)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module
