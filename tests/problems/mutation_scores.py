"""How strong the chosen tests are beside the calls recorded first, as many of them: a table, project by project.

Run: python -m tests.problems.mutation_scores problems.jsonl. Reads each problem's provenance, as trace_ci.py wrote it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from megatron_codex.problems.readers import read_problems

_KEYS = ("mutants", "killed", "killed_by_first", "killed_by_recorded", "branch_exits", "covered", "covered_by_first")


def main() -> None:
    totals: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys((*_KEYS, "problems"), 0))
    for path in sys.argv[1:]:
        for problem in read_problems(Path(path)):
            for name in (problem.provenance["project"], "all"):
                totals[name]["problems"] += 1
                for key in _KEYS:
                    totals[name][key] += problem.provenance["tests"][key]
    print(f"{'project':20} {'problems':>8} {'mutants':>8} {'chosen':>8} {'first':>8} {'recorded':>8} "
          f"{'exits':>8} {'chosen':>8} {'first':>8}")  # fmt: skip
    for name, total in sorted(totals.items(), key=lambda item: (item[0] == "all", item[0])):
        scores = [total[key] / max(total["mutants"], 1) for key in _KEYS[1:4]]
        covered = [total[key] / max(total["branch_exits"], 1) for key in _KEYS[5:]]
        print(f"{name:20} {total['problems']:8} {total['mutants']:8} " + " ".join(f"{each:8.1%}" for each in scores)
              + f" {total['branch_exits']:8} " + " ".join(f"{each:8.1%}" for each in covered))  # fmt: skip


if __name__ == "__main__":
    main()
