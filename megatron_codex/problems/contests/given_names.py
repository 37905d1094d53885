"""Names that LeetCode's programs use without importing them.

In: a program. Out: the import lines that it lacks, and the classes that only LeetCode has.
"""

from __future__ import annotations

import ast
import builtins

from megatron_codex.problems.functions import FunctionNode, parse_source

STRUCTURES = ("ListNode", "TreeNode", "Node", "NestedInteger", "Interval", "Employee")
"""Given classes of lists and trees; no test can hand over their objects here."""

_MEMBERS = {
    "typing": "Any Callable Deque DefaultDict Dict FrozenSet Generator Iterable Iterator List Mapping Optional "
    "Sequence Set Tuple Union",
    "collections": "Counter OrderedDict defaultdict deque",
    "functools": "cache cmp_to_key lru_cache reduce",
    "heapq": "heapify heappop heappush heappushpop heapreplace nlargest nsmallest",
    "bisect": "bisect_left bisect_right insort",
    "itertools": "accumulate chain combinations count groupby islice pairwise permutations product zip_longest",
    "math": "ceil comb floor gcd inf isqrt lcm log2 sqrt",
}
_MODULES = "bisect collections functools heapq itertools math operator random re string typing"
_IMPORTS = {name: f"from {module} import {name}" for module, names in _MEMBERS.items() for name in names.split()}
_IMPORTS |= {name: f"import {name}" for name in _MODULES.split()}


def missing_imports(code: str) -> list[str]:
    """Lines to put before the program. Raises: NotSplit."""
    return list(dict.fromkeys(_IMPORTS[name] for name in sorted(_unbound(code)) if name in _IMPORTS))


def structures_of(code: str) -> list[str]:
    """The given classes that the program needs, in annotations as text, too. Raises: NotSplit."""
    texts = {node.value for node in ast.walk(parse_source(code)) if isinstance(node, ast.Constant)}
    unbound = _unbound(code)
    return [name for name in STRUCTURES if name in unbound or name in texts]


def _unbound(code: str) -> set[str]:
    """Names that are used, but bound nowhere in the program, and no builtins."""
    used: set[str] = set()
    bound = set(dir(builtins))
    for node in ast.walk(parse_source(code)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, FunctionNode | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
    return used - bound
