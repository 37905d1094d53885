"""What a suite's functions are called with and what they give: the part that is the same for every engine.

In: an engine (evaluator.py, profiler.py, monitoring.py, setprofile.py) says that a call begins, yields, returns or
raises. Out: the records (records.py). Codex paper, section 4.2: sys.setprofile in continuous integration.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType
from typing import Any

from megatron_codex.problems.tracing.calls import call_arguments
from megatron_codex.problems.tracing.exceptions import describe_exception
from megatron_codex.problems.tracing.forms import json_text, text_of
from megatron_codex.problems.tracing.kinds import is_coroutine, is_generator, kind_of
from megatron_codex.problems.tracing.origins import Origins
from megatron_codex.problems.tracing.records import RecordFile
from megatron_codex.restorable_objects import is_iterator
from megatron_codex.tagged import NotPlainData

_LOOKS_PER_SAMPLE = 10
"""Calls more that are looked at for each new one that is found: where nothing comes, looking ends soon."""
_MAX_YIELDED = 200
_FUNCTION_FLAGS = 0x01 | 0x02  # CO_OPTIMIZED, CO_NEWLOCALS: class bodies and modules lack them
_UNCHANGEABLE = frozenset(map(id, (type(None), bool, int, float, complex, str, bytes, range)))


class Samples:
    """What is known of one function."""

    def __init__(self, function_id: str, code: CodeType | None, kind: str, *, num_samples: int) -> None:
        """code: None of a builtin."""
        self.id, self.code, self.kind = function_id, code, kind
        self.is_generator = code is not None and is_generator(code)
        self.num_calls = 0
        self.wanted = self.looks = num_samples
        self.seen: dict[str, str] = {}
        self.not_plain: set[str] = set()
        self.function: Any = None

    @property
    def is_done(self) -> bool:
        """Nobody needs to look at its calls any more."""
        return self.looks <= 0 or len(self.seen) >= self.wanted


class Pending:
    """A call that has not returned yet, its arguments already turned into text: it may change them."""

    __slots__ = ("call", "changeable", "items", "samples", "text")

    def __init__(self, samples: Samples, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raises: NotPlainData."""
        self.samples, self.call = samples, samples.num_calls
        self.items: list[str] = []
        self.changeable: list[tuple[int | str, Any, str]] = []
        positional = [self._text(at, value) for at, value in enumerate(args)]
        by_name = [f"{json_text(name)}: {self._text(name, value)}" for name, value in kwargs.items()]
        self.text = f'"args": [{", ".join(positional)}], "kwargs": {{{", ".join(by_name)}}}'

    def _text(self, key: int | str, value: Any) -> str:
        text = text_of(value)
        kind = type(value)
        # An iterator changes too, but that is what it is for.
        if id(kind) not in _UNCHANGEABLE and not is_iterator(kind):
            self.changeable.append((key, value, text))
        return text

    def changes(self) -> list[str]:
        """Members of a JSON object: the arguments that are no longer what they were. Raises: NotPlainData."""
        after = [(key, text_of(value), before) for key, value, before in self.changeable]
        return [f'"{key}": {text}' for key, text, before in after if text != before]


class Recorder:
    """Meets code objects, and is told of their calls, each of which an engine keeps as a Pending until it ends."""

    def __init__(self, origins: Origins, records: RecordFile, *, num_samples: int) -> None:
        self._origins, self.records = origins, records
        self._num_samples = num_samples
        self._known: dict[int, Samples | None] = {}
        self._codes: list[CodeType] = []
        self.functions: list[Samples] = []

    def meet(self, code: CodeType, names: dict[str, Any]) -> Samples | None:
        """The function of a code object, names its globals; None for what is not looked at. Decided once."""
        try:
            return self._known[id(code)]
        except KeyError:
            self._codes.append(code)  # Kept alive, so that its id stays its own.
            samples = self._known[id(code)] = self._meet(code, names)
            return samples

    def is_foreign(self, code: CodeType) -> bool:
        """Whether no function of its file is looked at."""
        return self._origins.of_file(code.co_filename) is None

    def begin_call(self, samples: Samples, values: Sequence[Any]) -> Pending | None:
        """A call with these values of its parameters (calls.py); None where nobody needs to know how it ends."""
        if samples.is_done or self.records.is_full or samples.code is None:
            return None
        return self.begin(samples, *call_arguments(samples.code, values, samples.function))

    def begin(self, samples: Samples, args: Sequence[Any], kwargs: dict[str, Any]) -> Pending | None:
        """A call with these arguments; None where they have no form, or enough is known."""
        if samples.is_done or self.records.is_full:
            return None
        samples.num_calls += 1
        samples.looks -= 1
        try:
            return Pending(samples, args, kwargs)
        except NotPlainData as error:
            self._note(samples, "arguments", error)
            return None

    def add_item(self, pending: Pending, value: Any) -> bool:
        """A generator gives an item. Whether its next one is to be told, too."""
        try:
            if len(pending.items) >= _MAX_YIELDED:
                raise NotPlainData("too many items")
            pending.items.append(text_of(value))
        except NotPlainData as error:
            self._note(pending.samples, "result", error)
            return False
        return True

    def end(self, pending: Pending, value: Any) -> None:
        """A call, begun, has this result; a generator has given its last item."""
        if pending.samples.is_generator:
            self._finish(pending, f'"iterator": [{", ".join(pending.items)}]')
            return
        try:
            outcome = f'"output": {text_of(value)}'
        except NotPlainData as error:
            self._note(pending.samples, "result", error)
            if not is_iterator(type(value)):
                return
            outcome = '"iterator": null'  # looking at its items would take them from the project
        self._finish(pending, outcome)

    def end_raised(self, pending: Pending, error: BaseException) -> None:
        """A call, begun, has this exception."""
        self._finish(pending, json_text(describe_exception(error))[1:-1])

    def _finish(self, pending: Pending, outcome: str) -> None:
        samples = pending.samples
        try:
            changes = pending.changes()
        except NotPlainData as error:
            self._note(samples, "changes", error)
            return
        if changes:
            outcome = f'{outcome}, "changes": {{{", ".join(changes)}}}'
        if pending.text not in samples.seen:
            samples.looks += _LOOKS_PER_SAMPLE
        # Equal arguments with another outcome are written too: they tell a stateful function.
        if samples.seen.get(pending.text) != outcome:
            samples.seen[pending.text] = outcome
            function = json_text(samples.id)
            fields = f'"function": {function}, "call": {pending.call}, {pending.text}, {outcome}'
            self.records.write_line(f'{{"kind": "sample", {fields}}}')

    def _meet(self, code: CodeType, names: dict[str, Any]) -> Samples | None:
        if code.co_flags & _FUNCTION_FLAGS != _FUNCTION_FLAGS or code.co_name.startswith("<"):
            return None
        place = self._origins.of_file(code.co_filename)
        if place is None:
            return None
        kind, function = kind_of(code, names)
        taken = kind != "nested" and not is_coroutine(code)
        function_id = f"{place[0]}:{place[1]}:{code.co_firstlineno}:{code.co_qualname}"
        samples = Samples(function_id, code, kind, num_samples=self._num_samples if taken else 0)
        samples.function = function
        self.add(samples, origin=place[0], file=place[1], name=code.co_qualname, line=code.co_firstlineno)
        return samples

    def add_builtin(self, function_id: str) -> Samples:
        """Of a function without code."""
        return Samples(function_id, None, "builtin", num_samples=self._num_samples)

    def add(self, samples: Samples, **fields: Any) -> None:
        """Note a function that was met."""
        self.functions.append(samples)
        fields |= {"function_kind": samples.kind, "is_generator": samples.is_generator}
        self.records.write(kind="function", function=samples.id, **fields)

    def _note(self, samples: Samples, where: str, error: NotPlainData) -> None:
        if where not in samples.not_plain:
            samples.not_plain.add(where)
            what = str(error).removeprefix("not plain data: ")
            self.records.write(kind="not_plain", function=samples.id, where=where, type=what)
