"""The full grid of layouts against one rank; run by hand, for it takes an hour on two cores:

    python -m tests.parallel.grid DIRECTORY [NUMBER_OF_RANKS ...]

TP 1, 2, 4 x PP 1, 2, 4 x virtual PP 1, 2 x DP 1, 2, as far as 8 ranks go, each with and without sequence parallelism,
the distributed optimizer and overlapped communication, with every kind of recompute, in fp32 and bf16. Tasks (base,
base with attention within documents, Codex-S left-padded and packed) and attention patterns take turns. Prints a line
for each layout and, in Markdown, the largest differences of each shape (docs/parallelism.md). DIRECTORY/grid.jsonl has
what is done: a second call goes on from there. Options are taken in an order that meets all shapes early.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tests.parallel.verify_ranks import verify_job, verify_on_ranks

MOST_RANKS = 8
CHUNK = 16
"""Layouts verified by one set of rank processes."""

_COLUMNS = (
    *("ranks", "TP", "PP", "virtual PP", "DP", "SP", "layouts", "differ"),
    *("fp32 loss", "fp32 gradient", "bf16 loss", "bf16 gradient", "seconds"),
)
_TASKS: tuple[dict[str, Any], ...] = (
    {"task": "base"},
    {"task": "base", "data": {"reset_attention_at_documents": True}},
    {"task": "codex_s"},
    {"task": "codex_s", "data": {"layout": "packed"}},
)


def main() -> None:
    """Verify what is not done yet, then print all."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / "grid.jsonl"
    by_ranks: dict[int, list[dict[str, Any]]] = defaultdict(list)
    wanted = {int(argument) for argument in sys.argv[2:]}
    finished = {(line["ranks"], json.dumps(line["job"])) for line in _lines(done)}
    for num_ranks, job in grid():
        if (num_ranks, json.dumps(job)) not in finished and (not wanted or num_ranks in wanted):
            by_ranks[num_ranks].append(job)
    for jobs in by_ranks.values():
        random.Random(0).shuffle(jobs)
    for num_ranks, jobs in sorted(by_ranks.items()):
        for start in range(0, len(jobs), CHUNK):
            chunk = jobs[start : start + CHUNK]
            reports = verify_on_ranks(num_ranks, chunk, directory / f"{num_ranks}_ranks", timeout_s=3600)
            with done.open("a") as handle:
                for job, report in zip(chunk, reports, strict=True):
                    handle.write(json.dumps({"job": job, "ranks": num_ranks, "report": report}) + "\n")
                    print(_line(report), flush=True)
    print(table(_lines(done)))


def grid() -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of ranks, job) of every layout."""
    number = 0
    for tp, pp, vpp, dp in product((1, 2, 4), (1, 2, 4), (1, 2), (1, 2)):
        if tp * pp * dp > MOST_RANKS or (vpp > 1 and pp == 1):
            continue
        options = product(
            (False, True)[: 1 + (tp > 1)], (False, True), (False, True), ("none", "selective", "full"), ("fp32", "bf16")
        )
        for sequence, sharded, overlapped, recompute, precision in options:
            parallel = {
                "tensor_model_parallel_size": tp,
                "pipeline_model_parallel_size": pp,
                "virtual_pipeline_model_parallel_size": vpp if vpp > 1 else None,
                "sequence_parallel": sequence,
                "use_distributed_optimizer": sharded,
                "overlap_grad_reduce": overlapped,
                "overlap_param_gather": overlapped and sharded,
                "recompute": recompute,
            }
            training = {"global_batch_size": 8, "precision": precision}
            model: dict[str, Any] = {"num_layers": max(4, pp * vpp)}
            if number // 3 % 2:
                model |= {"attention_pattern": "alternating", "band_width": 5}
            # 3 and 5 are no multiples of each other or of the options' numbers: tasks and patterns meet all of them.
            job = verify_job(**_TASKS[number // 5 % 4], parallel=parallel, model=model, training=training)
            number += 1
            yield tp * pp * dp, job


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown: largest differences of each shape over its options, and how many layouts they are."""
    shapes: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        parallel = line["job"]["parallel"]
        tp, pp = parallel["tensor_model_parallel_size"], parallel["pipeline_model_parallel_size"]
        vpp = parallel["virtual_pipeline_model_parallel_size"] or 1
        shapes[line["ranks"], tp, pp, vpp, line["ranks"] // tp // pp, parallel["sequence_parallel"]].append(line)
    rows = [
        f"| {' | '.join(_COLUMNS)} |",
        "| " + " | ".join("---:" for _ in _COLUMNS) + " |",
    ]
    for shape, members in sorted(shapes.items()):
        ranks, tp, pp, vpp, dp, sequence = shape
        failed = sum(bool(member["report"].get("error") or member["report"]["first"]) for member in members)
        cells = [ranks, tp, pp, vpp, dp, "yes" if sequence else "no", len(members), failed]
        for precision in ("fp32", "bf16"):
            reports = [m["report"] for m in members if m["job"]["training"]["precision"] == precision]
            for what in ("loss", "gradient"):
                cells.append(f"{max(_largest(report, what) for report in reports):.1e}" if reports else "not run")
        cells.append(f"{sum(member['report'].get('seconds', 0) for member in members) / len(members):.1f}")
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def _largest(report: dict[str, Any], what: str) -> float:
    return max((size for name, size in report.get("checks", {}).items() if name.startswith(what)), default=float("nan"))


def _line(report: dict[str, Any]) -> str:
    if "error" in report:
        return str(report["error"])
    numbers = f"loss {_largest(report, 'loss'):.1e}, gradient {_largest(report, 'gradient'):.1e}"
    verdict = "" if report["first"] is None else f"; DIFFERS: {report['first']}"
    return f"{report['layout']}; {numbers}; {report['seconds']:.1f} s{verdict}"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
