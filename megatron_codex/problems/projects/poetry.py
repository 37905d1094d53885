"""Requirements as Poetry's own tables have them: its version operators written in the standard's.

In: [tool.poetry] of a pyproject.toml. Out: requirement strings. Source: Poetry's "Dependency specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)(.*)")


def poetry_requirements(poetry: dict[str, Any], extras: tuple[str, ...]) -> Iterator[str]:
    """Without extras what the project needs; with extras what the groups of these names and its optional parts need."""
    main = _dict(poetry.get("dependencies"))
    if not extras:
        yield from _of_table({name: value for name, value in main.items() if not _is_optional(value)})
        return
    yield from _of_table(_dict(poetry.get("dev-dependencies")))
    groups, optional = _dict(poetry.get("group")), _dict(poetry.get("extras"))
    for extra in extras:
        yield from _of_table(_dict(_dict(groups.get(extra)).get("dependencies")))
        named = optional.get(extra)
        yield from _of_table(
            {name: main[name] for name in named or () if name in main} if isinstance(named, list) else {}
        )


def _of_table(table: dict[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        for each in value if isinstance(value, list) else [value]:
            given = each if isinstance(each, dict) else {"version": each}
            if name.lower() == "python" or not isinstance(given.get("version"), str):
                continue
            names = ",".join(extra for extra in given.get("extras") or () if isinstance(extra, str))
            marker = f" ; {given['markers']}" if isinstance(given.get("markers"), str) else ""
            yield f"{name}{f'[{names}]' if names else ''}{_specifier(given['version'])}{marker}"


def _specifier(text: str) -> str:
    """^1.2 -> >=1.2,<2; ~1.2 -> >=1.2,<1.3; 1.2 -> ==1.2; * -> nothing. Of alternatives (||) the last: the newest."""
    parts = text.split("||")[-1].replace(" ", ",").split(",")
    return ",".join(filter(None, (_one(part.strip()) for part in parts)))


def _one(part: str) -> str:
    match = _VERSION.match(part.lstrip("^~=<>! "))
    if part in ("", "*") or match is None:
        return ""
    numbers = [int(number) for number in match.group(1).split(".")]
    if part.startswith("^"):
        place = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
        return f">={match.group(1)},<{_next(numbers, place)}"
    if part.startswith("~") and not part.startswith("~="):
        return f">={match.group(1)},<{_next(numbers, min(1, len(numbers) - 1))}"
    return part if part[0] in "<>=!~" else f"=={part}"


def _next(numbers: list[int], place: int) -> str:
    return ".".join(str(number) for number in [*numbers[:place], numbers[place] + 1])


def _is_optional(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.get("optional"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
