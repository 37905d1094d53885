"""Python text in colours: a few kinds of tokens, of whatever a model wrote, whole or broken off.

In: any text. Out: Html whose text is the given one, character for character.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from megatron_codex.evaluation.report.markup import Html, tag
from megatron_codex.evaluation.report.markup import text as as_html

_CLASSES = (
    (Comment, "c"),
    (String, "s"),
    (Number, "n"),
    (Operator.Word, "k"),
    (Keyword, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Builtin, "b"),
)
"""Kinds of tokens (with those below them) and the class of each, which page.css gives its colour."""


def python_html(text: str) -> Html:
    """A Python program, or a piece of one."""
    tokens = ((_class_of(kind), value) for _, kind, value in PythonLexer().get_tokens_unprocessed(text))
    groups = groupby(tokens, key=itemgetter(0))
    parts = ((kind, "".join(value for _, value in group)) for kind, group in groups)
    return Html("".join(tag("span", value, class_=kind) if kind else as_html(value) for kind, value in parts))


def _class_of(kind: Any) -> str:
    return next((name for family, name in _CLASSES if kind in family), "")
