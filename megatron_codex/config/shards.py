"""The option --shard I/N of commands whose processes share one work."""

from __future__ import annotations

from collections.abc import Callable

from megatron_codex.errors import Fault


def read_share(text: str) -> tuple[int, int]:
    """(I, N) of "I/N". Raises: ValueError for another form."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ValueError("not of this form")
    return int(number), int(count)


def share_faults(shard: str | None, launched: Callable[[], tuple[int, int]]) -> list[Fault]:
    """The fault of a shard that is no I/N, or, where none is given, of what the launcher says."""
    try:
        launched() if shard is None else read_share(shard)
    except ValueError as error:
        rule, remedy = f"must be I/N with I in 0..N-1 ({error})", "give for example --shard 0/4; 0/1 does all"
        return [Fault(field="shard", value=shard, rule=rule, remedy=remedy)]
    return []
