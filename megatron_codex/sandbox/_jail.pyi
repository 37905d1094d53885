from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn, Protocol

def lock_down(
    *, output: int, descriptors: tuple[int, ...], limits: tuple[tuple[int, int], ...], ruleset: int, filter: bytes
) -> None: ...
def serve(
    *,
    connection: int,
    driver: int,
    own_pidfd: int,
    directory: str,
    filter: bytes,
    build_cell: Callable[[], tuple[int, int, int]],
    roles: dict[bytes, Callable[..., NoReturn]],
) -> None: ...

PROGRAM: str
"""Name of the module that a judged program becomes."""

class Fallback(Protocol):
    def answer(self, text: bytes, /) -> bytes: ...
    def describe(self, text: bytes, arguments: list[Any], value: Any, raised: BaseException | None, /) -> bytes: ...

def serve_candidate(
    channel: int,
    make_fallback: Callable[[int, Callable[..., Any], ModuleType], Fallback],
    refuse: Callable[[int, BaseException], NoReturn],
    /,
) -> None: ...
def receive(channel: int, /) -> bytes: ...
def receive_trusted(channel: int, /) -> Any: ...
def send(channel: int, value: Any, /) -> bool: ...
def send_call(channel: int, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> bool: ...
