"""What crosses from an untrusted process: frames, answers and comparisons stand whatever arrives."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections import Counter, OrderedDict, namedtuple
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.sandbox.comparison import difference
from megatron_codex.sandbox.exceptions import exception_of
from megatron_codex.sandbox.frames import MAX_FRAME_BYTES, BrokenFrame, FrameTimeout, read_frame, write_frame
from megatron_codex.sandbox.plain import as_plain
from megatron_codex.sandbox.remote import write_back
from megatron_codex.tagged import NotPlainData, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)
TAGS = st.sampled_from(["f", "c", "b", "B", "r", "i", "t", "d", "s", "z", "x"])
FORMS = st.recursive(
    JSON, lambda inner: st.dictionaries(TAGS, inner | st.lists(inner, max_size=3), max_size=1), max_leaves=9
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


def exchange(data: bytes) -> Any:
    """What read_frame makes of bytes after which the sender is gone."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs, suppress(BrokenPipeError, ConnectionResetError):
            theirs.sendall(data)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with ours:
            return read_frame(ours.fileno())
    finally:
        sender.join()


@given(JSON)
@settings(max_examples=50, deadline=None)
def test_frame_round_trip(message: Any) -> None:
    body = json.dumps(message).encode()
    received = exchange(struct.pack(">I", len(body)) + body)
    assert json.dumps(received) == json.dumps(message)


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_value_or_a_broken_frame_or_an_end(data: bytes) -> None:
    with suppress(BrokenFrame, EOFError):
        exchange(data)


def test_deep_and_large_frames_are_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(BrokenFrame):
        exchange(struct.pack(">I", len(deep)) + deep)
    with pytest.raises(BrokenFrame, match="at most"):
        exchange(struct.pack(">I", MAX_FRAME_BYTES + 1))
    with pytest.raises(BrokenFrame, match="at most"):
        write_frame(1, "x" * MAX_FRAME_BYTES)


def test_silent_peer_is_a_timeout() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(FrameTimeout):
            read_frame(ours.fileno(), deadline=time.monotonic() + 0.05)
        with pytest.raises(FrameTimeout):
            write_frame(ours.fileno(), "x" * (4 << 20), deadline=time.monotonic() + 0.05)
        os.write(theirs.fileno(), struct.pack(">I", 2) + b"7 ")
        assert read_frame(ours.fileno(), deadline=time.monotonic() + 5) == 7


@given(FORMS, st.sampled_from(["value", "raised", "iterator", "message", "unsupported"]), PLAIN)
@settings(max_examples=150, deadline=None)
def test_any_answer_is_compared_or_refused(form: Any, key: str, expected: Any) -> None:
    for example in ({"output": encode(expected)}, {"raises": "ValueError"}):
        with suppress(NotPlainData):
            assert isinstance(difference({key: form}, example), str)


@given(PLAIN)
@settings(max_examples=100, deadline=None)
def test_equal_values_do_not_differ(value: Any) -> None:
    assert difference({"value": encode(value)}, {"output": encode(value)}) == ""


class Liar(list[int]):
    def __iter__(self) -> Any:
        return iter([9, 9])

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_plain_takes_what_the_builtin_base_holds() -> None:
    point = namedtuple("point", "x y")
    value = [Liar([1, 2]), Counter("aa"), OrderedDict(x=1), point(1, 2)]
    plain = as_plain(value)
    assert plain == [[1, 2], {"a": 2}, {"x": 1}, (1, 2)]
    assert [type(item) for item in plain] == [list, dict, dict, tuple]
    for hopeless in (object(), Liar, lambda: 0, iter([])):
        with pytest.raises(NotPlainData):
            as_plain([hopeless])


def test_exception_is_rebuilt_as_its_most_special_builtin_class() -> None:
    error = exception_of({"raised": ["Mine", "KeyError", "LookupError", "object"], "message": "k"})
    assert type(error) is KeyError and error.args == ("k",)
    assert type(exception_of({"raised": ["UnicodeDecodeError", "UnicodeError"], "message": "m"})) is UnicodeError
    assert type(exception_of({"raised": [7, "print", "nonsense"]})) is RuntimeError


def test_changed_argument_keeps_its_identity_and_type() -> None:
    inner: list[int] = [1]
    old: list[Any] = [inner, 2]
    write_back(old, [[1, 5], 3])
    assert old == [[1, 5], 3]
    pair: tuple[Any, ...] = (inner, {"a": 1})
    write_back(pair, ([7], {"b": 2}))
    assert inner == [7] and pair[1] == {"b": 2}
    with pytest.raises(NotPlainData):
        write_back([], {})
    with pytest.raises(ValueError, match=r"shorter|longer"):
        write_back(([],), ([], []))
