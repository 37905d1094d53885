"""Which nodes are bad, from what all ranks found. A pure function: every rank that reads the same decides the same.

In: facts, addresses and clock offsets by rank. Out: complaints of nodes, and of the job where every node has the same:
a full disk that all share is nobody's fault, and another node would not help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from megatron_codex.launch.preflight.facts import Facts

_MOST_NAMED = 3
"""Differences of packages that a line names."""


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a node; with the whole job where node is None."""

    node: str | None
    check: str
    """answers, network, clock, code, packages, data, disk, gpu or link."""
    text: str

    def __str__(self) -> str:
        return f"{self.node or 'every node'}: {self.check}: {self.text}"


def missing_ranks(
    missing: Iterable[int], nodes: Mapping[int, str], *, world_size: int, timeout_s: float
) -> list[Complaint]:
    """Of ranks that did not answer. nodes: where each rank is, as the scheduler says."""
    by_node: dict[str, list[int]] = {}
    for rank in missing:
        by_node.setdefault(nodes[rank], []).append(rank)
    return [
        Complaint(node, "answers", f"{_ranks(ranks)} of {world_size} did not answer within {timeout_s:g} s")
        for node, ranks in by_node.items()
    ]


def unreachable(failures: Mapping[tuple[str, str], str], *, first_node: str) -> list[Complaint]:
    """Of pairs of nodes (from, to) that do not see each other: as few nodes as explain all of them.

    Where either could be the cause, it is the one that was called rather than the caller, and not the first node.
    """
    left = dict(failures)
    found = []
    while left:
        calls = Counter(node for pair in left for node in pair)
        called = Counter(to for _, to in left)
        bad = max(calls, key=lambda node: (calls[node], called[node], node != first_node, node))
        pairs = {pair: reason for pair, reason in left.items() if bad in pair}
        (caller, to), reason = next(iter(sorted(pairs.items())))
        others = f" (and {len(pairs) - 1} more pairs with it)" if len(pairs) > 1 else ""
        found.append(Complaint(bad, "network", f"{caller} cannot reach {to}: {reason}{others}"))
        left = {pair: reason for pair, reason in left.items() if bad not in pair}
    return found


def skewed_clocks(offsets: Mapping[str, float], *, first_node: str, most_s: float) -> list[Complaint]:
    """Of nodes whose clock is off the others' median. offsets: of all other nodes, against the first node's."""
    clocks = {first_node: 0.0} | dict(offsets)
    usual = median(clocks.values()) if len(clocks) > 2 else 0.0  # of two nobody knows which is right
    return [
        Complaint(
            node,
            "clock",
            f"its clock is {abs(clock - usual):.1f} s {'ahead of' if clock > usual else 'behind'} the others', "
            f"and preflight.max_clock_skew_s is {most_s:g}",
        )
        for node, clock in clocks.items()
        if abs(clock - usual) > most_s
    ]


def differing(facts: Iterable[Facts]) -> list[Complaint]:
    """Of nodes whose code, packages or data are not those of most ranks; and what nodes complain of themselves."""
    facts = list(facts)
    found: dict[tuple[str, str], str] = {}
    usual_code = _most(fact.code for fact in facts)
    names = sorted({name for fact in facts for name in fact.versions})
    usual = {name: _most(fact.versions.get(name, "none") for fact in facts) for name in names}
    files = sorted({path for fact in facts for path in fact.data})
    usual_data = {path: _most(fact.data.get(path, "none") for fact in facts) for path in files}
    for fact in facts:
        if fact.code != usual_code:
            found[fact.node, "code"] = f"its megatron_codex is {fact.code}, the others have {usual_code}"
        others = [
            f"{name} {fact.versions.get(name, 'none')}, the others have {usual[name]}"
            for name in names
            if fact.versions.get(name, "none") != usual[name]
        ]
        if others:
            more = f"; and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
            found[fact.node, "packages"] = "; ".join(others[:_MOST_NAMED]) + more
        for path in files:
            digest = fact.data.get(path, "none")
            if digest.startswith("error: "):
                found[fact.node, "data"] = f"{path} cannot be read: {digest.removeprefix('error: ')}"
            elif digest != usual_data[path] and not usual_data[path].startswith("error: "):
                found[fact.node, "data"] = f"{path} is not what the others have (another size or content)"
        found |= {(fact.node, check): text for check, text in fact.complaints.items()}
    return _of_nodes_or_the_job(found, nodes={fact.node for fact in facts})


def _of_nodes_or_the_job(found: Mapping[tuple[str, str], str], *, nodes: set[str]) -> list[Complaint]:
    complaints = []
    for check in ("disk", "data"):
        if all((node, check) in found for node in nodes):
            complaints.append(Complaint(None, check, next(found[node, check] for node in sorted(nodes))))
    of_the_job = {complaint.check for complaint in complaints}
    return complaints + [
        Complaint(node, check, text) for (node, check), text in sorted(found.items()) if check not in of_the_job
    ]


def _most(values: Iterable[str]) -> str:
    """The commonest; of several equally common ones the first."""
    return Counter(values).most_common(1)[0][0]


def _ranks(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
