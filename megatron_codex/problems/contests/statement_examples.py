"""Examples of a function, or of a script, that stand in its statement as text.

In: a statement (statements.text_of). Out: examples in tagged JSON. Read are doctest's sessions; a call followed
by ==, =>, -> or "returns" and its result; "Input: nums = [2, 7], target = 9  Output: [0, 1]"; and sample inputs and
outputs below headings. What cannot be read as literals is left out. Codex paper, section 4.1.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.values import call_example, different_inputs, raising_example, value_of
from megatron_codex.problems.functions import NotSplit, parse_source
from megatron_codex.tagged import NotPlainData

_MAX_LINE_CHARS = 2000
"""Of a line of which only the beginning may be a literal."""
_RESULT = r"\s*(?:==|=>|->|→|➞|#\s*=>|(?:should\s+)?returns?:?|#\s*returns?)\s*(?P<result>\S.*)"
_LABEL = re.compile(r"[^\w\n]{0,8}(?P<kind>input|output)[^\w\n:]{0,8}:[*_`]{0,4}(?P<rest>.*)", re.IGNORECASE)
_MAX_INPUT_LINES = 20
_ASSIGNMENT = re.compile(r"(?:^|,)\s*([A-Za-z_]\w*)\s*=(?!=)")
_HEADING = re.compile(
    r"^[\s#*_-]*(?:(?P<sample>sample|example)s?\s*)?(?P<kind>input|output)\s*(?:#?\d+|\(stdin\))?[\s:*_-]*$",
    re.IGNORECASE,
)
_EXAMPLES = re.compile(r"^[\s#*_-]*(?:sample|example)s?(?:\s*(?:tests?|cases?))?\s*#?\d*[\s:*_-]*$", re.IGNORECASE)
_END = re.compile(
    r"^[\s#*_-]*(?:notes?|explanations?|constraints?|hints?|scoring|limits?|source|references?)\b.*$", re.IGNORECASE
)


def function_examples(statement: str, entry_point: str, parameters: Sequence[str]) -> tuple[Example, ...]:
    """Calls of the function. parameters: its names, in order, for examples that give arguments by name only."""
    found = [
        *_sessions(statement, entry_point),
        *_calls_with_results(statement, entry_point),
        *_labelled(statement, parameters),
    ]
    return different_inputs(found)


def script_examples(statement: str) -> tuple[Example, ...]:
    """Sample inputs and outputs: blocks of lines below "Sample Input", or below "Input" after "Example"."""
    return different_inputs(list(_pairs(list(_blocks(statement.split("\n"))))))


def _sessions(statement: str, entry_point: str) -> Iterator[Example]:
    try:
        sessions = doctest.DocTestParser().get_examples(statement)
    except ValueError:  # a prompt that is laid out in another way
        return
    for each in sessions:
        # What follows a session directly is prose if it is no literal: its first line decides.
        wanted = each.want.split("\n")[0]
        raised = re.match(r"\s*([A-Za-z_]\w*)", each.exc_msg).group(1) if each.exc_msg else ""  # type: ignore[union-attr]
        yield from _example(each.source, wanted, entry_point, raises=raised)


def _calls_with_results(statement: str, entry_point: str) -> Iterator[Example]:
    begin = re.compile(rf"(?<![\w.>]){re.escape(entry_point)}\s*\(")
    for line in statement.split("\n"):
        match = begin.search(line)
        end = _closing(line, match.end()) if match else 0
        result = re.match(_RESULT, line[end:].replace("`", ""), re.IGNORECASE) if end else None
        if match and result and ">>>" not in line[: match.start()]:
            yield from _example(line[match.start() : end], _first_literal(result["result"]), entry_point)


def _example(source: str, result: str, entry_point: str, *, raises: str = "") -> Iterator[Example]:
    try:
        statements = parse_source(source.strip()).body
        call = statements[0].value if len(statements) == 1 and isinstance(statements[0], ast.Expr) else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != entry_point:
            return
        args = [ast.literal_eval(arg) for arg in call.args]
        kwargs = {keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in call.keywords}
        if raises:
            if isinstance(getattr(builtins, raises, None), type) and "**" not in kwargs:
                yield raising_example(args, kwargs, raises)
        elif "**" not in kwargs:
            yield call_example(args, kwargs, value_of(result))
    except (NotSplit, NotPlainData, ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return


def _labelled(statement: str, parameters: Sequence[str]) -> Iterator[Example]:
    for given, wanted in _labelled_texts(statement.split("\n")):
        try:
            yield call_example(_arguments(given, parameters), {}, value_of(_first_literal(wanted)))
        except (ValueError, NotPlainData):
            continue


def _labelled_texts(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """("nums = [2, 7], target = 9", "[0, 1]"): what stands behind "Input:" and behind "Output:" on a line below it."""
    given: list[str] = []
    for number, line in enumerate(lines):
        label = _LABEL.match(line)
        if label is None:
            given = [*given, line] if given and len(given) < _MAX_INPUT_LINES else []
        elif label["kind"].lower() == "input":
            given = [label["rest"]]
        elif given:
            below = lines[number + 1] if number + 1 < len(lines) else ""
            yield "\n".join(given).strip(), (label["rest"].strip() or below).strip()
            given = []


def _arguments(text: str, parameters: Sequence[str]) -> list[Any]:
    """Of "nums = [2, 7], target = 9" by name, of "[2, 7], 9" or one a line by place. Raises: ValueError."""
    text = " ".join(text.split("\n")).strip().rstrip(".")
    names = list(_ASSIGNMENT.finditer(text))
    if names:
        ends = [*(each.start() for each in names[1:]), len(text)]
        given = {each[1]: value_of(text[each.end() : end]) for each, end in zip(names, ends, strict=True)}
        if list(given) != list(parameters) and set(given) != set(parameters):
            raise ValueError("other arguments than the function has")
        return [given[name] for name in parameters]
    value = value_of(text) if len(parameters) == 1 else value_of(f"[{text}]")
    if len(parameters) != 1 and len(value) != len(parameters):
        raise ValueError("another number of arguments than the function has")
    return [value] if len(parameters) == 1 else list(value)


def _closing(line: str, begin: int) -> int:
    """Behind the bracket that closes the one before `begin`; 0 where there is none."""
    depth, quote, place = 1, "", begin
    while place < len(line):
        char = line[place]
        if quote:
            place += char == "\\"
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in "([{") - (char in ")]}")
            if not depth:
                return place + 1
        place += 1
    return 0


def _first_literal(text: str) -> str:
    """The longest beginning of a line that is a literal: what follows it is prose."""
    if len(text) > _MAX_LINE_CHARS:
        return text
    ends = [len(text), *(match.start() for match in re.finditer(r"\s|[.,;](?=\s|$)|#|//", text))]
    for end in sorted(set(ends), reverse=True):
        try:
            value_of(text[:end])
        except ValueError:
            continue
        return text[:end]
    return ""


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """("input" | "output", text) of the samples, in order."""
    after_examples, kind, begin = False, "", 0
    for number, line in enumerate([*lines, "Note"]):
        heading = _HEADING.match(line)
        ends = heading or _EXAMPLES.match(line) or _END.match(line) or (line.strip().startswith("```") and kind == "")
        if not ends:
            continue
        if kind:
            yield kind, _block(lines[begin:number])
        kind = ""
        after_examples |= bool(_EXAMPLES.match(line))
        if heading and (heading["sample"] or after_examples):
            kind, begin = heading["kind"].lower(), number + 1


def _block(lines: Sequence[str]) -> str:
    kept = [line for line in lines if not line.strip().startswith("```")]
    text = "\n".join(kept).strip("\n").rstrip()
    return text + "\n" if text else ""


def _pairs(blocks: Sequence[tuple[str, str]]) -> Iterator[Example]:
    for (kind, text), (next_kind, next_text) in itertools.pairwise(blocks):
        if (kind, next_kind) == ("input", "output") and next_text:
            yield {"input": text, "output": next_text}
