"""What a family of building blocks is: operations in words and in code, and how functions around them are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

ValueType = Literal["text", "list", "number"]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One building block.

    phrasings: wordings of what it does, `{it}` standing for the value ("the string", "it").
    expression: its code, `{v}` standing for the variable.
    """

    name: str
    takes: ValueType
    gives: ValueType
    expression: str
    phrasings: tuple[str, ...]

    @cached_property
    def _function(self) -> Any:
        return eval(f"lambda value: {self.code('value')}")  # our own tables are the only source of expressions

    def code(self, variable: str) -> str:
        """The expression over this variable."""
        return self.expression.format(v=variable)

    def apply(self, value: Any) -> Any:
        """What the expression gives for this value."""
        return self._function(value)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Operations and the way functions of them are written.

    nouns: how a docstring names the value that comes in. annotations: of the argument; none where there is no entry.
    layout: the docstring as one sentence, or as the paper's list of steps.
    """

    name: str
    operations: tuple[Operation, ...]
    nouns: Mapping[ValueType, tuple[str, ...]]
    argument_names: Mapping[ValueType, tuple[str, ...]]
    function_names: tuple[str, ...]
    annotations: Mapping[ValueType, str] = field(default_factory=dict)
    layout: Literal["sentence", "list"] = "sentence"

    @cached_property
    def types(self) -> tuple[ValueType, ...]:
        """The types that some operation takes, in the table's order."""
        return tuple(dict.fromkeys(operation.takes for operation in self.operations))

    def taking(self, value_type: ValueType) -> tuple[Operation, ...]:
        """The operations that take this type."""
        return tuple(operation for operation in self.operations if operation.takes == value_type)


def table(*rows: tuple[str, ValueType, ValueType, str, tuple[str, ...]]) -> tuple[Operation, ...]:
    """Operations from rows of (name, takes, gives, expression, phrasings)."""
    return tuple(
        Operation(name=name, takes=takes, gives=gives, expression=expression, phrasings=phrasings)
        for name, takes, gives, expression, phrasings in rows
    )
