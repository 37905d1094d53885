"""What a suite's functions are called with and what they give: the part that is the same for every engine.

In: an engine (setprofile.py, profiler.py, monitoring.py) says that a frame begins, yields, returns or raises. Out: the
records (records.py). Codex paper, section 4.2: sys.setprofile in continuous integration.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any

from megatron_codex.problems.tracing.calls import call_arguments, form_of
from megatron_codex.problems.tracing.exceptions import describe_exception
from megatron_codex.problems.tracing.kinds import is_coroutine, is_generator, kind_of
from megatron_codex.problems.tracing.origins import Origins
from megatron_codex.problems.tracing.records import RecordFile
from megatron_codex.restorable_objects import is_iterator
from megatron_codex.tagged import NotPlainData

_LOOKS_PER_SAMPLE = 10
"""Calls more that are looked at for each new one that is found: where nothing comes, looking ends soon."""
_MAX_YIELDED = 200
_MAX_PENDING_GENERATORS = 256
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
    """A call that has not returned yet, its arguments already turned into forms: it may change them."""

    def __init__(self, samples: Samples, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.samples, self.call = samples, samples.num_calls
        self.args, self.kwargs = [form_of(value) for value in args], {k: form_of(v) for k, v in kwargs.items()}
        values: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        self.changeable = [(key, value) for key, value in values if _may_change(type(value))]
        self.items: list[Any] = []

    def form_at(self, key: int | str) -> Any:
        return self.args[key] if isinstance(key, int) else self.kwargs[key]


def _may_change(kind: type) -> bool:
    """An iterator changes too, but that is what it is for."""
    return id(kind) not in _UNCHANGEABLE and not is_iterator(kind)


class Recorder:
    """Meets code objects, keeps the pending calls by their frames, which it holds: so a frame's identity stays its own.

    An engine's thread and its frames are one: pending calls of several threads never meet.
    """

    def __init__(self, origins: Origins, records: RecordFile, *, num_samples: int) -> None:
        self._origins, self.records = origins, records
        self._num_samples = num_samples
        self._known: dict[int, Samples | None] = {}
        self._codes: list[CodeType] = []
        self.functions: list[Samples] = []
        self.pending: dict[FrameType, Pending] = {}

    def meet(self, frame: FrameType) -> Samples | None:
        """The function of a frame's code; None for what is not looked at. Decided once for each code object."""
        code = frame.f_code
        try:
            return self._known[id(code)]
        except KeyError:
            self._codes.append(code)  # Kept alive, so that its id stays its own.
            samples = self._known[id(code)] = self._meet(code, frame)
            return samples

    def enter(self, samples: Samples, frame: FrameType) -> bool:
        """A call begins. Whether it is one to be told the end of."""
        if samples.is_generator and len(self.pending) >= _MAX_PENDING_GENERATORS:
            return False  # generators that nobody runs to their end
        if samples.is_done or self.records.is_full:
            return False
        args, kwargs = call_arguments(frame.f_code, frame.f_locals, samples.function)
        pending = self.begin(samples, args, kwargs)
        if pending is None:
            return False
        self.pending[frame] = pending
        return True

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

    def yielded(self, frame: FrameType, value: Any) -> None:
        """A generator gives an item."""
        pending = self.pending[frame]
        try:
            if len(pending.items) >= _MAX_YIELDED:
                raise NotPlainData("too many items")
            pending.items.append(form_of(value))
        except NotPlainData as error:
            del self.pending[frame]
            self._note(pending.samples, "result", error)

    def returned(self, frame: FrameType, value: Any) -> None:
        """A call ends; a generator has given its last item."""
        self.end(self.pending.pop(frame), value)

    def end(self, pending: Pending, value: Any) -> None:
        """A call, begun, has this result."""
        try:
            outcome = {"iterator": pending.items} if pending.samples.is_generator else {"output": form_of(value)}
        except NotPlainData as error:
            self._note(pending.samples, "result", error)
            if not is_iterator(type(value)):
                return
            outcome = {"iterator": None}  # looking at its items would take them from the project
        self._finish(pending, outcome)

    def raised(self, frame: FrameType, error: BaseException) -> None:
        """A call ends with an exception."""
        self.end_raised(self.pending.pop(frame), error)

    def end_raised(self, pending: Pending, error: BaseException) -> None:
        """A call, begun, has this exception."""
        self._finish(pending, describe_exception(error))

    def forget(self, frame: FrameType) -> None:
        """A call of which nobody will tell how it ended: an exception was thrown into a generator, for instance."""
        self.pending.pop(frame, None)

    def _finish(self, pending: Pending, outcome: dict[str, Any]) -> None:
        samples = pending.samples
        try:
            changes = self._changes(pending)
        except NotPlainData as error:
            self._note(samples, "changes", error)
            return
        if changes:
            outcome["changes"] = changes
        # Equal arguments with another outcome are written too: they tell a stateful function.
        key, text = self.records.text([pending.args, pending.kwargs]), self.records.text(outcome)
        if key not in samples.seen:
            samples.looks += _LOOKS_PER_SAMPLE
        if samples.seen.get(key) != text:
            samples.seen[key] = text
            call = {"args": pending.args, "kwargs": pending.kwargs}
            self.records.write(kind="sample", function=samples.id, call=pending.call, **call, **outcome)

    def _changes(self, pending: Pending) -> dict[str, Any]:
        after = {key: form_of(value) for key, value in pending.changeable}
        return {str(key): form for key, form in after.items() if form != pending.form_at(key)}

    def _meet(self, code: CodeType, frame: FrameType) -> Samples | None:
        if code.co_flags & _FUNCTION_FLAGS != _FUNCTION_FLAGS or code.co_name.startswith("<"):
            return None
        place = self._origins.of_file(code.co_filename)
        if place is None:
            return None
        kind, function = kind_of(code, frame.f_globals)
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
