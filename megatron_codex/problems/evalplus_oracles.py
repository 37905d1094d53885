"""The functions of HumanEval+ and MBPP+ for which equality with the reference's answer is not the rule.

In: a problem's calls and the reference's answers. Out: source that defines check(candidate) by EvalPlus's rule for it
(evalplus/eval/__init__.py, release 0.3), or "". The calls stand in the source as literals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SAME_SET = "assert set(answer) == set(expected)"
"""Lists in any order, with or without repeats."""
_FOUND = "assert (answer if isinstance(answer, bool) else answer is not None) == bool(expected)"
"""Whether something was found: a bool, or anything but None."""

_HUMAN_EVAL = {
    "find_zero": (
        "value = sum(factor * answer**power for power, factor in enumerate(args[0]))\nassert abs(value) <= TOLERANCE"
    ),
}
_MBPP = {
    **dict.fromkeys(
        (
            "similar_elements",
            "find_char_long",
            "common_in_nested_lists",
            "extract_singly",
            "larg_nnum",
            "intersection_array",
            "find_dissimilar",
            "Diff",
        ),
        _SAME_SET,
    ),
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), _FOUND),
    # Their statements allow several readings, each of which EvalPlus takes.
    "are_equivalent": "pass",
    "sum_div": "assert answer == expected or answer == 0",
    "surface_Area": (
        "base, height = args\n"
        "slant = ((base / 2) ** 2 + height**2) ** 0.5\n"
        "assert answer == expected or abs(answer - round(base**2 + 2 * base * slant)) <= TOLERANCE"
    ),
    "digit_distance_nums": (
        "width = max(len(str(number)) for number in args)\n"
        "first, second = (str(number).zfill(width) for number in args)\n"
        "padded = sum(abs(int(a) - int(b)) for a, b in zip(first, second))\n"
        "assert answer == expected or answer == padded"
    ),
}


def oracle_test(task_id: str, entry_point: str, calls: Sequence[tuple[Any, Any]], *, tolerance: float) -> str:
    """Source of check(candidate); "" where answers must be equal. calls: (arguments, the reference's answer)."""
    source = _rule(task_id, entry_point).replace("TOLERANCE", repr(tolerance))
    if not source:
        return ""
    rule = "".join(f"        {line}\n" for line in source.split("\n"))
    return (
        "from copy import deepcopy\nfrom math import inf, nan\n\n"
        f"CALLS = {list(calls)!r}\n\n\n"
        "def check(candidate):\n    for args, expected in CALLS:\n"
        f"        answer = candidate(*deepcopy(args))\n{rule}"
    )


def answers_with_found(task_id: str, entry_point: str) -> bool:
    """Whether only it counts if the reference's answer is None: it may be no plain data, as a match object is not."""
    return _rule(task_id, entry_point) == _FOUND


def _rule(task_id: str, entry_point: str) -> str:
    rules = {"mbpp": _MBPP, "humaneval": _HUMAN_EVAL}.get(task_id.partition("/")[0].casefold(), {})
    return rules.get(entry_point, "")
