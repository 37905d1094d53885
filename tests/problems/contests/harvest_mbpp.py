"""By hand: what a harvest reveals of the hidden tests of MBPP-shaped problems, kind by kind of wrong program.

python -m tests.problems.contests.harvest_mbpp [PROBLEMS [STRATEGY ...]]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from megatron_codex.config.contests import STRATEGIES, ContestSiteConfig, MineConfig
from megatron_codex.problems.contests.harvest import Harvest, Harvester
from megatron_codex.problems.contests.journal import SubmissionJournal
from megatron_codex.problems.contests.site_client import HttpJudge
from megatron_codex.problems.contests.site_server import ContestServer
from megatron_codex.problems.contests.values import input_key
from megatron_codex.records import Problem
from tests.problems.contests.held_tests import held_and_known

_FAST = 1e6
"""Submissions a minute: the rate limit is not what is measured."""


def harvest_all(
    held: list[Problem], known: list[Problem], strategies: tuple[str, ...], folder: Path
) -> tuple[list[Harvest], int]:
    """The harvest of each problem, and the submissions that the site counted."""
    site = ContestSiteConfig(problems=folder, submissions_per_minute=_FAST, burst=1000)
    with ContestServer(held, site) as server, SubmissionJournal(folder / "journal.jsonl") as journal:
        config = MineConfig(
            input=(folder,),
            output=folder,
            judge=server.url,
            strategies=strategies,
            budget=10**6,  # type: ignore[arg-type]
        )
        harvester = Harvester(HttpJudge(server.url), journal, config)
        return [harvester.harvest(problem) for problem in known], server.site.num_submissions


def num_hidden(held: list[Problem], known: list[Problem]) -> int:
    """Tests that some wrong program can reveal: one for each input that is not known already."""
    return sum(
        len({input_key(test) for test in whole.io_examples} - {input_key(test) for test in own.io_examples})
        for whole, own in zip(held, known, strict=True)
    )


def main() -> None:
    held, known = held_and_known(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    hidden = num_hidden(held, known)
    print(f"{len(held)} problems, {sum(len(each.io_examples) for each in held)} tests held, {hidden} of them hidden")
    alone = [(name,) for name in sys.argv[2:] or STRATEGIES if name != "known_wrong"]  # MBPP has no known wrong ones
    for strategies in alone if sys.argv[2:] else [*alone, STRATEGIES]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            harvests, counted = harvest_all(held, known, strategies, Path(folder))
        revealed = sum(len(each.revealed) for each in harvests)
        submissions = sum((each.submissions for each in harvests), Counter[str]())
        complete = sum(each.complete for each in harvests)
        print(
            f"{', '.join(strategies)}: {revealed} of {hidden} revealed ({100 * revealed / hidden:.1f} %), {counted} "
            f"submissions {dict(submissions)}, {complete} problems complete, {time.monotonic() - started:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
