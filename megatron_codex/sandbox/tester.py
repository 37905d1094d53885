"""Inside a jail of its own: runs a problem's tests against a function that lives in another process.

In: one frame from the driver, [references, classes, test, entry_point, nonce]; the channel to the candidate. Out: one
frame to the driver, [nonce, verdict, detail, num_calls]. The candidate never holds that descriptor, and never sees the
tests: it receives arguments and returns data (border.py says of which kinds).
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from megatron_codex.sandbox import _jail
from megatron_codex.sandbox.border import Stub
from megatron_codex.sandbox.exceptions import exception_of
from megatron_codex.sandbox.frames import open_connection, pack_frame, write_bytes, write_frame
from megatron_codex.sandbox.remote import CandidateGoneError, Remote, UnsupportedError

_MAX_DETAIL_CHARS = 500
_MODULE_NAME = "tests"
_NUM_WARM_UPS = 16
"""As a candidate's."""
_WARM_UP = "def check(candidate):\n    assert candidate(1) == 1\n    assert candidate([2.5]) == 'a'\n"


def run(channel: int, report: int) -> NoReturn:
    """Run the tests, send the verdict, exit with 0."""
    report_verdict(channel, report)
    os._exit(0)


def report_verdict(channel: int, report: int) -> None:
    """Run the tests and send the verdict."""
    references, class_names, test, entry_point, nonce = _jail.receive_trusted(report)
    remote = Remote(channel, ends_loops="StopIteration" in test)
    verdict, detail = _judge(references, class_names, test, entry_point, remote)
    if remote.broken is not None:
        verdict, detail = _verdict_of(remote.broken, remote)
    sent = _jail.send(report, [nonce, verdict, detail[:_MAX_DETAIL_CHARS], remote.num_calls])
    assert sent


def warm_up() -> None:
    """In the worker, before it forks: what every test sets up, Python sets up once."""
    answers = [{"loaded": True}, {"value": 1}, {"value": "a"}]
    for _ in range(_NUM_WARM_UPS):
        with open_connection() as (candidate, channel), open_connection() as (driver, report):
            write_bytes(candidate.fileno(), b"".join(map(pack_frame, answers)))
            write_frame(driver.fileno(), [[], [], _WARM_UP, "f", ""])
            report_verdict(channel.fileno(), report.fileno())
    del sys.modules[_MODULE_NAME]


def _judge(
    references: list[str], class_names: list[str], test: str, entry_point: str, remote: Remote
) -> tuple[str, str]:
    try:
        loaded = remote.receive_loaded()
        if "raised" in loaded:
            remote.raised = exception_of(loaded)
            return _describe(remote.raised, loaded["raised"])
        names = _helpers(references)
        for name in class_names:
            if _is_own_class(names.get(name)):
                remote.classes[name] = names[name]
        function = names[entry_point] = Stub(0, remote.call)
        _load_check(test, names)(function)
    except BaseException as error:
        if remote.num_calls == 0 and remote.broken is None and not isinstance(error, CandidateGoneError):
            return "unsupported", f"the tests fail before they call the function: {_name_and_text(error)}"
        return _verdict_of(error, remote)
    if remote.num_calls == 0:
        return "unsupported", "the tests never call the function"
    return "passed", ""


def _load_check(test: str, names: dict[str, Any]) -> Callable[[Stub], object]:
    exec(compile(test, "<test>", "exec", dont_inherit=True), names)
    if "check" not in names:
        raise NameError("they do not define check(candidate)")
    check: Callable[[Stub], object] = names["check"]
    return check


def _helpers(references: list[str]) -> dict[str, Any]:
    """What the prompt defines besides the function: from a trusted source, as the candidate could change its own.

    The first reference that runs is taken; none need run, since most tests use nothing of it. A test that does fails
    on the missing name.
    """
    for reference in references:
        names = _new_module()
        try:
            exec(compile(reference, "<reference>", "exec", dont_inherit=True), names)
        except Exception:
            continue
        return names
    return _new_module()


def _is_own_class(value: object) -> bool:
    return isinstance(value, type) and value.__module__ == _MODULE_NAME


def _new_module() -> dict[str, Any]:
    """Names of a module that sys.modules knows: dataclasses look theirs up there."""
    sys.modules[_MODULE_NAME] = types.ModuleType(_MODULE_NAME)
    return sys.modules[_MODULE_NAME].__dict__


def _verdict_of(error: BaseException, remote: Remote) -> tuple[str, str]:
    if isinstance(error, CandidateGoneError):
        return "died", str(error)
    if isinstance(error, UnsupportedError):
        return "unsupported", str(error)
    if error is remote.raised:
        return _describe(error, [type(error).__name__])
    if isinstance(error, AssertionError):
        return "wrong", _text(error) or "an assertion failed"
    return "error", f"in the tests: {_name_and_text(error)}"


def _describe(error: BaseException, names: list[Any]) -> tuple[str, str]:
    return "error", f"{names[0] if names else type(error).__name__}: {error}"


def _text(error: BaseException) -> str:
    """The message of a test's exception, which may hold an answer that cannot be shown: an integer of 6,000 digits."""
    try:
        return str(error)
    except Exception as failure:
        return f"its message cannot be made: {type(failure).__name__}"


def _name_and_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {_text(error)}"
