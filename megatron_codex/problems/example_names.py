"""Classes and functions of the project that recorded values name, and where their source has to stand.

In: the examples of a function. Out: what its context must define besides (classes and functions of the library), what
the tests themselves define (those of the project's test files), and the examples for which that can be done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.context import ContextLimits, Named, NotExtractedError, gather_names
from megatron_codex.problems.modules import ProjectModules
from megatron_codex.problems.restorable_source import names_in
from megatron_codex.problems.tracing.origins import is_test_file

_MAX_NAMES = 40

Place = tuple[str, str]
"""(module, first part of a dotted name)."""


def forms_of(example: Example) -> list[object]:
    """Every recorded value of an example."""
    values = [*example["args"], *example["kwargs"].values(), *example.get("changes", {}).values()]
    return [*values, example.get("output"), example.get("iterator")]


def places_in(example: Example) -> set[Place]:
    """What an example names beside builtins and the standard library."""
    found = {(module, name.partition(".")[0]) for module, name in names_in(forms_of(example))}
    known = sys.stdlib_module_names | {"builtins"}
    return {(module, name) for module, name in found if module.partition(".")[0] not in known}


def settle_names(
    examples: Sequence[Example],
    modules: ProjectModules,
    limits: ContextLimits,
    build: Callable[[Sequence[Named]], str],
) -> tuple[str, str, list[Example]]:
    """(context, what the tests define, the examples that can be made again).

    build: the context with these names in it. Raises: NotExtractedError when it cannot be built at all.
    """
    context, test_context = build([]), ""
    settled: set[Place] = set()
    in_context: list[Named] = []
    in_tests: list[Named] = []
    wanted = sorted(set().union(*map(places_in, examples)))
    for place in wanted[:_MAX_NAMES]:
        module = modules.of_tests(place[0])
        if module is None:
            continue
        try:
            if is_test_file(module.name.replace(".", "/") + ".py"):
                test_context = gather_names([*in_tests, (place[1], module)], modules, limits)
                in_tests.append((place[1], module))
            else:
                context = build([*in_context, (place[1], module)])
                in_context.append((place[1], module))
        except NotExtractedError:
            continue
        settled.add(place)
    return context, test_context, [example for example in examples if places_in(example) <= settled]
