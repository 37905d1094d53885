"""A candidate's answers as csrc/sandbox/candidate.c gives them are, byte for byte, those that answers.py defines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from megatron_codex.sandbox import _jail
from megatron_codex.sandbox.answers import answer, pack_answer
from megatron_codex.sandbox.candidate import Caller, Fallback, refuse
from megatron_codex.sandbox.frames import BrokenFrame, open_connection, pack_frame, parse_body, write_bytes, write_frame
from megatron_codex.tagged import encode

# None shows the order of a set, which differs where it holds a nan (its hash is its address).
PROGRAMS = {
    "gives_back_one": "def f(*args, **kwargs):\n    return [*args, *kwargs.values()][-1]\n",
    "gives_back_all": "def f(*args, **kwargs):\n    return args, kwargs\n",
    "changes_lists": """
def f(*args, **kwargs):
    for each in [*args, *kwargs.values()]:
        if isinstance(each, list):
            each.append(len(each))
            each.reverse()
    return args[0] if args else None
""",
    "fails": "def f(*args, **kwargs):\n    raise ValueError(len(args), list(kwargs))\n",
    "is_rare": """
from collections import Counter, namedtuple
Pair = namedtuple("Pair", "left right")
class Own: pass
KINDS = [Counter, iter, lambda x: Pair(x, 1), lambda x: Own(), lambda x: 1 << 200, lambda x: {x: f}, lambda x: [x]]
def f(*args, **kwargs):
    return KINDS[len(repr(args)) % len(KINDS)](", ".join(type(each).__name__ for each in args))
""",
    "is_deep": """
def f(*args, **kwargs):
    value = args
    for _ in range(94 + len(repr(args)) % 12):
        value = [value]
    return value
""",
}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(1 << 55), max_value=1 << 55),
    st.sampled_from([(1 << 53) - 1, 1 << 53, -(1 << 53), 1 - (1 << 53), 10**18, -(10**17)]),
    st.floats(),
    st.text(st.characters()),  # lone surrogates as well
    st.text('"\\/\b\f\n\r\t\x00\x7f\x80\xff\ud83d\ude00é€\U0001f600', max_size=8),
    st.binary(max_size=4),
    st.complex_numbers(),
    st.builds(range, st.integers(-3, 3), st.integers(-3, 9)),
)
KEYS = st.one_of(SCALARS, st.tuples(SCALARS, SCALARS))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.sets(KEYS, max_size=3),
        st.frozensets(KEYS, max_size=3),
        st.binary(max_size=4).map(bytearray),
    ),
    max_leaves=12,
)
NAMES = st.one_of(st.sampled_from(["a", "b", "größe"]), st.text(min_size=1, max_size=3))
CALLS = st.builds(
    lambda args, kwargs: {
        "args": [encode(each) for each in args],
        "kwargs": {name: encode(each) for name, each in kwargs.items()},
    },
    st.lists(VALUES, max_size=3),
    st.dictionaries(NAMES, VALUES, max_size=2),
)

EDGES = [
    "".join(map(chr, range(0x300))),
    "\ud800 \udc00 \ud83d\ude00 \U0001f600 \U0010ffff \uffff",
    [10**17, 10**18, 10**19, -(10**18), (1 << 53) - 1, 1 << 53, -(1 << 53), 1 - (1 << 53)],
    [0.0, -0.0, 1e-320, float("inf"), -float("inf"), float("nan"), 0.1],
    ((), [], {}, "", ((), [()]), {(): {}, None: [], True: 2}),
    [True, False, None, 0, 1, -1],
]


@pytest.fixture(autouse=True)
def _no_program_afterwards() -> Iterator[None]:
    yield
    sys.modules.pop(_jail.PROGRAM, None)


def replies_of(source: str, calls: list[dict[str, Any]], *, in_frames: bool = False, fallback: Any = Fallback) -> bytes:
    """All bytes that a candidate sends. in_frames: each call in a frame of its own, as a tester's come."""
    with open_connection() as (ours, theirs):
        job = {"source": source, "entry_point": "f"}
        write_frame(ours.fileno(), job if in_frames else {**job, "calls": calls})
        for call in calls if in_frames else ():
            write_frame(ours.fileno(), {"calls": [call]})
        ours.shutdown(1)
        _jail.serve_candidate(theirs.fileno(), fallback, refuse)
        theirs.close()
        parts = []
        while part := ours.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def module_of(source: str) -> Any:
    module = type(sys)(_jail.PROGRAM)
    sys.modules[_jail.PROGRAM] = module
    exec(source, module.__dict__)
    return module


@pytest.mark.parametrize("name", PROGRAMS)
@settings(max_examples=25, deadline=None)
@given(calls=st.lists(CALLS, max_size=3))
@example(calls=[{"args": [encode(value)], "kwargs": {"b": 1, "a": [None]}} for value in EDGES])
def test_answers_are_those_of_the_definition(name: str, calls: list[dict[str, Any]]) -> None:
    found = replies_of(PROGRAMS[name], calls)
    module = module_of(PROGRAMS[name])
    defined = [pack_answer(answer(module.f, json.loads(json.dumps(call)))) for call in calls]
    assert found == pack_frame({"loaded": True}) + b"".join(defined)


@pytest.mark.parametrize("name", PROGRAMS)
@settings(max_examples=10, deadline=None)
@given(calls=st.lists(CALLS, max_size=3))
def test_answers_to_a_tester_are_those_of_the_definition(name: str, calls: list[dict[str, Any]]) -> None:
    calls = [{"function": 0, **call, "objects": []} for call in calls]
    found = replies_of(PROGRAMS[name], calls, in_frames=True)
    module = module_of(PROGRAMS[name])
    caller = Caller(-1, module, module.f)
    defined = [pack_answer(caller.answer(json.loads(json.dumps(call)))) for call in calls]
    assert found == pack_frame({"loaded": True}) + b"".join(defined)


@pytest.mark.parametrize("in_frames", [False, True], ids=["batch", "pair"])
def test_common_values_need_no_python(in_frames: bool) -> None:
    def never(*_: object) -> NoReturn:
        raise AssertionError("the fallback was asked")

    value = [None, True, -5, 1 << 52, 2.5, "a\n\u20ac", (1, "b"), {"k": [1], 2: {}}]
    call: dict[str, Any] = {"args": [encode(value)], "kwargs": {"a": encode(3)}}
    if in_frames:
        call = {"function": 0, **call, "objects": []}
    replies_of("def f(x, a):\n    return x, x[0:3], a\n", [call] * 3, in_frames=in_frames, fallback=never)
    rare = {**call, "args": [encode({1})]}
    with pytest.raises(AssertionError, match="was asked"):
        replies_of("def f(x, a): pass", [rare], in_frames=in_frames, fallback=never)


@settings(max_examples=40, deadline=None)
@given(args=st.lists(VALUES, max_size=3).map(tuple), kwargs=st.dictionaries(NAMES, VALUES, max_size=2))
@example(args=(1, [], 2.5, {"k": (1,), 2: {}}), kwargs={"b": "x", "größe": None, "a": -7})
@example(args=(), kwargs={})
def test_calls_of_a_tester_are_those_that_python_writes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    forms = {"args": [encode(each) for each in args], "kwargs": {name: encode(each) for name, each in kwargs.items()}}
    with open_connection() as (ours, theirs):
        was_sent = _jail.send_call(theirs.fileno(), args, kwargs)
        theirs.close()
        found = ours.recv(1 << 20)
    text = json.dumps([*forms["args"], *forms["kwargs"].values()])
    rare = any(f'{{"{tag}": ' in text for tag in "scbBrzi")
    assert was_sent == (not rare)
    assert found == (pack_frame({"calls": [{"function": 0, **forms, "objects": []}]}) if was_sent else b"")


@pytest.mark.parametrize("value", [["a\ud800\u20ac\U0001f600", -7, None], [[], ["x"], "y" * 9000, "f", "0"]])
def test_trusted_values_come_as_they_were_sent(value: Any) -> None:
    with open_connection() as (ours, theirs):
        write_frame(ours.fileno(), value)
        assert _jail.receive_trusted(theirs.fileno()) == value
        assert _jail.send(theirs.fileno(), value)
        assert _jail.receive(ours.fileno()) == json.dumps(value).encode()
        assert not _jail.send(theirs.fileno(), [{1}])
        write_bytes(ours.fileno(), b"\x7f\xff\xff\xff")
        with pytest.raises(ValueError, match="2147483647 bytes was announced"):
            _jail.receive(theirs.fileno())
        ours.close()
        with pytest.raises(EOFError):
            _jail.receive_trusted(theirs.fileno())


@pytest.mark.parametrize(
    "body",
    [b'{"a": 1}', b" [1] \n", b'"\xc3\xa9"', b'"\xff"', b"", b"[1", b"{} {}", b"\x00[", b"[" * 99999, b"1\x00"],
)
def test_bodies_of_frames_are_parsed_as_json_does(body: bytes) -> None:
    try:
        expected: Any = json.loads(body)
    except (ValueError, RecursionError):
        with pytest.raises(BrokenFrame):
            parse_body(body)
    else:
        assert parse_body(body) == expected
