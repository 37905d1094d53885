"""The tracer's records, read back: data of unknown origin, since the project's own code ran where they were written.

In: a file of JSON lines (tracing/records.py). Out: TracedFunctions, and what the test runner counted. The last record
holds a token whose hash is in the first one: a suite that writes an end of its own has to find it in the tracer's
memory. What is believed here is still replayed elsewhere (replay.py) before it becomes a test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from megatron_codex.problems.tracing.kinds import KINDS
from megatron_codex.restorable_objects import decode_restorable
from megatron_codex.tagged import NotPlainData

Example = dict[str, Any]

_SUITE_FACTS = ("exit_code", "passed", "failed", "errors", "skipped", "resumed")
_NO_START = ("records lost", "the first record is not there")
_MAX_LINE_BYTES = 1 << 20
_MAX_FUNCTIONS, _MAX_EXAMPLES, _MAX_MALFORMED = 50_000, 5_000, 10_000


@dataclass(kw_only=True)
class TracedFunction:
    """One function that the tests called."""

    file: str
    """Below the root of its origin, with forward slashes."""
    qualname: str
    line: int
    kind: str = "function"
    """One of tracing.kinds.KINDS."""
    is_generator: bool = False
    origin: str = "project"
    """"project", "stdlib", or a distribution's "name version"."""
    num_calls: int = 0
    """As long as the tracer looked at them: it stops when it has enough."""
    not_plain: dict[str, str] = field(default_factory=dict)
    """"arguments", "result" and/or "changes" -> the first type met there that has no form."""
    examples: list[Example] = field(default_factory=list)
    """Calls with different arguments: args, kwargs, and output, iterator (the items of a generator that was run to its
    end; None: of another iterator) or raises, with message where it is the same each time; changes: position or name
    of an argument -> what it is after the call. In tagged JSON with the tags of restorable.py and
    restorable_objects.py."""
    contradicts_itself: bool = False
    """Equal arguments had different outcomes."""

    @property
    def name(self) -> str:
        """Without that of its class."""
        return self.qualname.rpartition(".")[2]


class RecordReader:
    """Builds TracedFunctions from the tracer's lines; a line of another form is counted and left out.

    fault: (reason, detail) where the file is not what the tracer wrote, whatever the suite did to it.
    """

    def __init__(self) -> None:
        self.functions: dict[str, TracedFunction] = {}
        self.suite: dict[str, int] | None = None
        self.num_malformed = 0
        self.fault: tuple[str, str] | None = None
        self.engine = ""
        self._seal = ""
        self._examples: dict[str, Example] = {}

        self._readers = {
            "start": self._start,
            "function": self._function,
            "sample": self._sample,
            "not_plain": self._not_plain,
            "end": self._end,
        }

    def read_file(self, path: Path) -> None:
        """All lines, as long as they are believed."""
        with path.open("rb") as lines:
            while self.fault is None and (line := lines.readline(_MAX_LINE_BYTES)):
                self.read(line)
        if self.fault is None and not self.engine:
            self.fault = _NO_START

    def read(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            if not self.engine and record["kind"] != "start":
                self.fault = _NO_START
                return
            self._readers[record["kind"]](record)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, NotPlainData):
            self.num_malformed += 1
            if self.num_malformed > _MAX_MALFORMED:
                self.fault = ("records forged", f"more than {_MAX_MALFORMED} that are malformed")

    def _start(self, record: dict[str, Any]) -> None:
        if self.engine:
            self.fault = ("records forged", "there is a second beginning")
            return
        self.engine = f"{_text(record['engine'])} of Python {_text(record['python'])}"
        self._seal = _text(record["seal"])

    def _function(self, record: dict[str, Any]) -> None:
        if record["function_kind"] not in KINDS or type(record["is_generator"]) is not bool:
            raise ValueError("no such kind of function")
        function = TracedFunction(
            file=_text(record["file"]),
            qualname=_text(record["name"]),
            line=_count(record["line"]),
            kind=record["function_kind"],
            is_generator=record["is_generator"],
            origin=_text(record["origin"]),
        )
        if len(self.functions) >= _MAX_FUNCTIONS:
            raise ValueError("more functions than a project has")
        self.functions.setdefault(_text(record["function"]), function)

    def _sample(self, record: dict[str, Any]) -> None:
        function = self.functions[record["function"]]
        (kind,) = record.keys() & {"output", "iterator", "raises"}
        example: Example = {"args": list(record["args"]), "kwargs": dict(record["kwargs"]), kind: record[kind]}
        for name in record.keys() & {"message", "changes"}:
            example[name] = dict(record[name]) if name == "changes" else _text(record[name])
        forms = [*example["args"], *example["kwargs"].values(), *example.get("changes", {}).values()]
        if kind == "raises":
            _text(example[kind])
        elif kind == "iterator":
            forms += list(example[kind] or ())
        else:
            forms.append(example[kind])
        decode_restorable(forms)
        function.num_calls = max(function.num_calls, _count(record["call"]))
        self._keep(function, example, key=json.dumps([record["function"], example["args"], example["kwargs"]]))

    def _keep(self, function: TracedFunction, example: Example, *, key: str) -> None:
        known = self._examples.get(key)
        if known is None:
            if len(function.examples) >= _MAX_EXAMPLES:
                raise ValueError("more samples than the tracer takes")
            self._examples[key] = example
            function.examples.append(example)
            return
        if known.get("message") != example.get("message"):  # it shows an address, for instance
            known.pop("message", None)
            example.pop("message", None)
        function.contradicts_itself |= json.dumps(known, sort_keys=True) != json.dumps(example, sort_keys=True)

    def _not_plain(self, record: dict[str, Any]) -> None:
        self.functions[record["function"]].not_plain[_text(record["where"])] = _text(record["type"])

    def _end(self, record: dict[str, Any]) -> None:
        if self.suite or sha256(_text(record["token"]).encode()).hexdigest() != self._seal:
            self.fault = ("records forged", "there is an end that the tracer did not write")
            return
        self.suite = {name: _count(record[name]) for name in _SUITE_FACTS}
        for name, number in record["calls"].items():
            if name in self.functions:
                self.functions[name].num_calls = max(self.functions[name].num_calls, _count(number))


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("not a count")
    return value
