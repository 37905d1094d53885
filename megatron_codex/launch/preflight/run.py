"""Preflight from the first connection to the verdict: every rank of the job calls it once, before training starts.

In: the configuration, and who measures the links (a function: this room does not import torch). Out, in RUN/launch:
preflight.json, with what all ranks found; and bad_nodes.txt, a line for each bad node: name, tab, time, tab, reason.

Rank 0 decides, so that all ranks end alike; when it does not answer, the others say so and end without it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from megatron_codex.config.preflight import PreflightConfig
from megatron_codex.errors import WorkError
from megatron_codex.exit_codes import ExitCode
from megatron_codex.files import atomic_file
from megatron_codex.heartbeat import this_attempt, this_node
from megatron_codex.launch.preflight.exchange import Address, ClockServer, Folder, clock_offset
from megatron_codex.launch.preflight.facts import Facts, find_facts
from megatron_codex.launch.preflight.verdict import (
    Complaint,
    differing,
    missing_ranks,
    skewed_clocks,
    unreachable,
)

BAD_NODES = "bad_nodes.txt"
REPORT = "preflight.json"

MeasureLinks = Callable[[], Mapping[str, Any]]
"""-> {"wrong": [reasons], "gb_s": {"0-1": 1.25}}: what this rank saw of the links to its neighbours."""


class BadNodeError(WorkError):
    """Nodes are bad: a line for each. The same command goes on without them."""

    exit_code = ExitCode.BAD_NODE


def preflight(
    config: PreflightConfig,
    *,
    rank: int,
    world_size: int,
    measure_links: MeasureLinks,
    clock: Callable[[], float] = time.time,
) -> str:
    """Check this job's nodes; a line that says what was found good. Collective.

    clock: seconds of this node's Unix clock. Raises: BadNodeError; WorkError when what is wrong is not a node's.
    """
    settings, launch = config.preflight, config.training.output_dir / "launch"
    node = this_node()
    until = time.monotonic() + settings.timeout_s
    folder = Folder(_folder(launch, world_size), rank=rank, world_size=world_size)
    with ClockServer(clock) as server:
        address = Address(rank=rank, node=node, host=_host(node), port=server.port)
        folder.answer("address", asdict(address))
        addresses = {other: Address(**found) for other, found in folder.answers("address", until=until).items()}
        here = [other for other, found in addresses.items() if found.node == node]
        leads = rank == min(here)
        facts = find_facts(config, rank=rank, node=node, ranks_here=len(here), leads=leads)
        offsets, failures = _look_around(addresses, node, settings.connect_timeout_s, clock) if leads else ({}, {})
        folder.answer("facts", {"facts": asdict(facts), "offsets": offsets, "failures": failures})
        facts_until = time.monotonic() + settings.timeout_s  # hashing and writing take their own time
        answers = folder.answers("facts", until=facts_until, of=list(addresses))
        complaints = _judge(folder, config, rank, addresses, answers, world_size)
    links: Mapping[int, Mapping[str, Any]] = {}
    if not complaints and world_size > 1 and settings.link_test_mb:
        folder.answer("links", measure_links())
        links = folder.answers("links", until=time.monotonic() + settings.timeout_s)
        complaints = judge_links(links, addresses, config, world_size)
    if rank == min(addresses):
        _write_report(launch, answers, links, complaints)
    if complaints:
        _raise(complaints)
    return f"preflight: {world_size} ranks on {len({found.node for found in addresses.values()})} nodes are good"


def _judge(
    folder: Folder,
    config: PreflightConfig,
    rank: int,
    addresses: Mapping[int, Address],
    answers: Mapping[int, Mapping[str, Any]],
    world_size: int,
) -> list[Complaint]:
    """The first of those that answered decides, and the others take its word."""
    timeout_s = config.preflight.timeout_s
    if rank == min(addresses):
        complaints = _find_complaints(config, addresses, answers, world_size)
        folder.answer("verdict", {"complaints": [asdict(complaint) for complaint in complaints]})
        return complaints
    end = time.monotonic() + 2 * timeout_s
    while time.monotonic() < end:
        said = folder.answer_of("verdict", min(addresses))
        if said is not None:
            return [Complaint(**complaint) for complaint in said["complaints"]]
        time.sleep(0.1)
    nodes = _nodes_of_ranks(addresses, world_size)
    return missing_ranks([min(addresses)], nodes, world_size=world_size, timeout_s=2 * timeout_s)


def _find_complaints(
    config: PreflightConfig,
    addresses: Mapping[int, Address],
    answers: Mapping[int, Mapping[str, Any]],
    world_size: int,
) -> list[Complaint]:
    settings = config.preflight
    nodes = _nodes_of_ranks(addresses, world_size)
    missing = [rank for rank in range(world_size) if rank not in answers]
    complaints = missing_ranks(missing, nodes, world_size=world_size, timeout_s=settings.timeout_s)
    first_node = addresses[min(addresses)].node
    failures = {
        (addresses[rank].node, to): reason
        for rank, answer in answers.items()
        for to, reason in answer["failures"].items()
    }
    complaints += unreachable(failures, first_node=first_node)
    offsets = answers[min(answers)]["offsets"] if min(answers) == min(addresses) else {}
    complaints += skewed_clocks(offsets, first_node=first_node, most_s=settings.max_clock_skew_s)
    return complaints + differing(Facts(**answer["facts"]) for answer in answers.values())


def judge_links(
    links: Mapping[int, Mapping[str, Any]], addresses: Mapping[int, Address], config: PreflightConfig, world_size: int
) -> list[Complaint]:
    """What the ranks' measurements (links: by rank) say against nodes."""
    nodes = {rank: address.node for rank, address in addresses.items()}
    missing = [rank for rank in range(world_size) if rank not in links]
    settings = config.preflight
    complaints = missing_ranks(missing, nodes, world_size=world_size, timeout_s=settings.timeout_s)
    failures: dict[tuple[str, str], str] = {}
    for rank, found in links.items():
        for peer, reason in found["wrong"].items():
            failures[nodes[rank], nodes[int(peer)]] = f"{reason} {_between(rank, int(peer), nodes)}"
        for peer, speed in found["gb_s"].items():
            if speed < settings.min_link_gb_s:
                reason = f"{speed:.3f} GB/s {_between(rank, int(peer), nodes)}, and preflight.min_link_gb_s is"
                failures[nodes[rank], nodes[int(peer)]] = f"{reason} {settings.min_link_gb_s:g}"
    bad = unreachable(failures, first_node=nodes[0])
    return complaints + [Complaint(found.node, "link", found.text.partition(": ")[2]) for found in bad]


def _between(rank: int, peer: int, nodes: Mapping[int, str]) -> str:
    return f"between rank {rank} ({nodes[rank]}) and rank {peer} ({nodes[peer]})"


def _look_around(
    addresses: Mapping[int, Address], node: str, timeout_s: float, clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, str]]:
    """(other node -> its clock's offset, other node -> why it cannot be reached)."""
    offsets: dict[str, float] = {}
    failures: dict[str, str] = {}
    leaders = {address.node: address for _, address in sorted(addresses.items(), reverse=True)}
    for other, address in leaders.items():
        if other == node:
            continue
        try:
            offsets[other] = clock_offset(address, timeout_s=timeout_s, clock=clock)
        except OSError as error:
            failures[other] = f"{address.host} port {address.port}: {error.strerror or error}"
    return offsets, failures


def _folder(launch: Path, world_size: int) -> Path:
    """Of this start of the job: ranks of an earlier one must not answer for it."""
    port = os.environ.get("MASTER_PORT", "alone")
    path = launch / "preflight" / f"{this_attempt()}-{port}"
    if world_size == 1:
        shutil.rmtree(path, ignore_errors=True)
    return path


def _host(node: str) -> str:
    """The address under which other nodes find this one: what SLURM says, or else its name."""
    if "SLURM_JOB_ID" in os.environ and shutil.which("scontrol"):
        shown = subprocess.run(
            ["scontrol", "show", "node", "--oneliner", node], capture_output=True, text=True, check=False, timeout=60
        )
        for word in shown.stdout.split():
            if word.startswith("NodeAddr="):
                return word.removeprefix("NodeAddr=")
    return "127.0.0.1" if os.environ.get("MASTER_ADDR", "127.0.0.1") in ("127.0.0.1", "localhost") else node


def _nodes_of_ranks(addresses: Mapping[int, Address], world_size: int) -> dict[int, str]:
    """Where each rank is; of those that did not answer by the job's nodes, which ranks fill one after the other."""
    nodes = _job_nodes()
    each = -(-world_size // len(nodes)) if nodes else 0
    guessed = {rank: nodes[rank // each] if nodes else f"(node of rank {rank})" for rank in range(world_size)}
    return guessed | {rank: address.node for rank, address in addresses.items()}


def _job_nodes() -> list[str]:
    if "SLURM_JOB_NODELIST" not in os.environ or shutil.which("scontrol") is None:
        return []
    command = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.split()


def _write_report(
    launch: Path, answers: Mapping[int, Any], links: Mapping[int, Any], complaints: list[Complaint]
) -> None:
    content = {"complaints": [asdict(complaint) for complaint in complaints], "ranks": answers, "links": links}
    with atomic_file(launch / REPORT, "w") as handle:
        json.dump(content, handle, indent=1)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if any(complaint.node is None for complaint in complaints):
        return  # another start on other nodes would fail likewise
    with (launch / BAD_NODES).open("a", encoding="utf-8") as handle:
        for complaint in complaints:
            handle.write(f"{complaint.node}\t{now}\t{complaint.check}: {complaint.text}\n")


def _raise(complaints: list[Complaint]) -> None:
    of_the_job = [complaint for complaint in complaints if complaint.node is None]
    if of_the_job:
        raise WorkError("\n".join(map(str, of_the_job)))
    raise BadNodeError("\n".join(map(str, complaints)))
