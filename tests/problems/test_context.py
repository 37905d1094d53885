"""What a function brings along, and what it cannot bring."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.problems.context import ContextLimits, NotExtractedError, build_context
from megatron_codex.problems.free_names import bound_names, needed_names
from megatron_codex.problems.modules import ProjectModules


def _context(root: Path, files: dict[str, str], *, name: str = "f", **limits: Any) -> str:
    for file, source in files.items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    modules = ProjectModules(root, (".", "src"))
    module = modules.of_file(next(iter(files)))
    assert module is not None
    (function,) = [node for node in module.tree.body if isinstance(node, ast.FunctionDef) and node.name == name][-1:]
    return build_context(function, module, modules, ContextLimits(**{"max_lines": 50, **limits}))


def test_only_what_is_used_comes_along(tmp_path: Path) -> None:
    source = (
        "import os, re as regex\nfrom collections import (Counter, deque as dq)\nA = 1\nB = A + 1\nUNUSED = dq()\n\n"
        "def helper(x):\n    # keep\n    return regex.sub(B, x)\n\ndef f(x=B):\n    return helper(x), Counter\n"
    )
    assert _context(tmp_path, {"m.py": source}) == (
        "import re as regex\nfrom collections import Counter\n\n\nA = 1\n\n\nB = A + 1\n\n\n"
        "def helper(x):\n    # keep\n    return regex.sub(B, x)\n\n\n"
    )


def test_a_function_that_needs_nothing(tmp_path: Path) -> None:
    assert (
        _context(tmp_path, {"m.py": "import os\ndef f(x):\n    y = [z for z in x]\n    return f(y) or len(y)\n"}) == ""
    )


def test_decorators_defaults_and_annotations_are_needed(tmp_path: Path) -> None:
    source = (
        "from typing import Any\nimport functools\nD = 3\n@functools.cache\ndef f(x: Any = D) -> Any:\n    return x\n"
    )
    assert _context(tmp_path, {"m.py": source}) == "import functools\nfrom typing import Any\n\n\nD = 3\n\n\n"


def test_future_annotations_are_kept_and_not_followed(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\nfrom numpy import ndarray\ndef f(x: ndarray) -> ndarray:\n    return x\n"
    )
    assert _context(tmp_path, {"m.py": source}) == "from __future__ import annotations\n\n\n"


def test_conditional_definitions_come_whole(tmp_path: Path) -> None:
    source = "import sys\nif sys.maxsize > 3:\n    A = 1\nelse:\n    A = 2\ndef f():\n    return A\n"
    assert _context(tmp_path, {"m.py": source}) == (
        "import sys\n\n\nif sys.maxsize > 3:\n    A = 1\nelse:\n    A = 2\n\n\n"
    )


def test_imports_inside_the_project_are_followed(tmp_path: Path) -> None:
    files = {
        "src/pkg/a.py": "from .sub import g as gg\nfrom pkg.sub.deep import H\ndef f(x):\n    return gg(x) + H\n",
        "src/pkg/__init__.py": "",
        "src/pkg/sub/__init__.py": "from ..b import *\n",
        "src/pkg/b.py": "from math import pi\ndef g(x):\n    return x * pi\n",
        "src/pkg/sub/deep.py": "H = 5\n",
    }
    assert _context(tmp_path, files) == (
        "from math import pi\n\n\nH = 5\n\n\ndef g(x):\n    return x * pi\n\n\ngg = g\n\n\n"
    )


def test_mutual_recursion_and_rebinding(tmp_path: Path) -> None:
    source = "def g(x):\n    return f(x - 1)\nT = {}\nT = {1: 2}\ndef f(x):\n    return g(x) if x else T\n"
    assert _context(tmp_path, {"m.py": source}) == ("T = {}\n\n\nT = {1: 2}\n\n\ndef g(x):\n    return f(x - 1)\n\n\n")


def test_a_module_of_the_project_becomes_a_namespace_of_what_is_taken_from_it(tmp_path: Path) -> None:
    files = {
        "pkg/m.py": "import pkg as p\nfrom . import other\ndef f(x):\n    return other.h(x) + p.A + other.A\n",
        "pkg/__init__.py": "from .other import *\n",
        "pkg/other.py": "A = 1\ndef h(x):\n    return A + x\n",
    }
    context = _context(tmp_path, files)
    assert context == (
        "from types import SimpleNamespace\n\n\nA = 1\n\n\ndef h(x):\n    return A + x\n\n\n"
        "other = SimpleNamespace(A=A, h=h)\np = SimpleNamespace(A=A)\n\n\n"
    )
    names: dict[str, Any] = {}
    exec(context + "def f(x):\n    return other.h(x) + p.A + other.A\n", names)
    assert names["f"](5) == 8


def test_modules_that_import_each_other_and_a_package_that_imports_its_own_modules(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "from . import a\nfrom . import b\ndef f(x):\n    return a.g(x)\n",
        "pkg/a.py": "from .b import h\ndef g(x):\n    return h(x) if x else 0\n",
        "pkg/b.py": "from .a import g\nfrom .c import lost\n"
        "def h(x):\n    return g(x - 1)\ndef k():\n    return lost\n",
        "pkg/c.py": "from .b import lost\n",
    }
    assert "def g(x):" in _context(tmp_path, files)
    assert "lost" not in _context(tmp_path, {"pkg/b.py": files["pkg/b.py"]}, name="k")


def test_helpers_lose_their_docstrings_where_the_context_would_be_too_long(tmp_path: Path) -> None:
    text = "".join(f"    line {number}\n" for number in range(9))
    source = f'def g(x):\n    """Long.\n{text}    """\n    # kept\n    return x\ndef f(x):\n    return g(x)\n'
    assert "Long." in _context(tmp_path, {"m.py": source}, max_lines=20)
    assert _context(tmp_path, {"m.py": source}, max_lines=5) == "def g(x):\n    # kept\n    return x\n\n\n"


def test_packages_that_the_judge_has_may_be_imported(tmp_path: Path) -> None:
    source = "import numpy as np\ndef f():\n    import numpy.linalg\n    return np\n"
    assert _context(tmp_path, {"m.py": source}, third_party=["numpy"]) == "import numpy as np\n\n\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f():\n    return missing\n", "unresolved name"),
        ("def f():\n    return __file__\n", "unresolved name"),
        ("import numpy as np\ndef f():\n    return np\n", "imports a third-party package"),
        ("def f():\n    import numpy.linalg\n", "imports a third-party package"),
        ("try:\n    import simplejson as j\nexcept ImportError:\n    import json as j\ndef f():\n    return j\n",
         "imports a third-party package"),
        ("import other\ndef f():\n    return vars(other)\n", "uses a project module"),
        ("import other\ndef f():\n    other.A = 2\n    return other.A\n", "uses a project module"),
        ("import m\ndef f(n=3):\n    return m.f(n - 1) if n else 0\n", "uses a project module"),
        ("from other import all\ndef g(x):\n    return all(x)\ndef f():\n    return g([0])\nfrom more import any_of\n"
         "def f():\n    return g([]), any_of([])\n", "one name for two things"),
        ("from other import absent\ndef f():\n    return absent\n", "unresolved name"),
        ("def f():\n    from other import A\n    return A\n", "uses a project module"),
        ("N = 0\ndef f():\n    global N\n    N += 1\n", "writes a global"),
        ("N = 0\ndef g():\n    global N\n    N += 1\ndef f():\n    return g()\n", "writes a global"),
        ("from other import A as B, h\nA = 3\ndef f():\n    return A, h()\n", "one name for two things"),
        ("T = [\n" + "    1,\n" * 60 + "]\ndef f():\n    return T\n", "context too long"),
    ],
)  # fmt: skip
def test_what_cannot_stand_alone(tmp_path: Path, source: str, reason: str) -> None:
    other = "A = 1\ndef h():\n    return A\ndef all(x):\n    return x\n"
    more = "def any_of(x):\n    return not all(x)\n"
    with pytest.raises(NotExtractedError) as raised:
        _context(tmp_path, {"m.py": source, "other.py": other, "more.py": more})
    assert raised.value.reason == reason


def _statement(source: str) -> Any:
    return ast.parse(source).body[0]


@pytest.mark.parametrize(
    ("source", "bound", "needed"),
    [
        ("x = y = z", {"x", "y"}, {"z"}),
        ("a, (b, *c) = d", {"a", "b", "c"}, {"d"}),
        ("class C(B):\n    x = y\n    def m(self):\n        return self.x, z", {"C"}, {"B", "y", "z"}),
        ("v = [i for i in w if u]", {"v"}, {"w", "u"}),
        ("def f(a, b=c):\n    def g():\n        return a, d\n    return g", {"f"}, {"c", "d"}),
        ("for i in r:\n    t = i", {"i", "t"}, {"r", "i"}),
        ("with o as h:\n    (n := h)", {"h", "n"}, {"o", "h"}),
        ("import a.b, c as d", {"a", "d"}, set()),
    ],
)
def test_bound_and_needed_names(source: str, bound: set[str], needed: set[str]) -> None:
    assert bound_names(_statement(source)) == bound
    assert needed_names(_statement(source), skip_annotations=False) == needed


def test_annotations_can_be_skipped() -> None:
    statement = _statement("def f(a: A, *b: B, c: C = D) -> E:\n    x: F = 1\n    return x")
    assert needed_names(statement, skip_annotations=True) == {"D"}
    assert needed_names(statement, skip_annotations=False) >= {"A", "B", "C", "D", "E"}
