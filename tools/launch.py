"""Run a command of tools/ on a SLURM cluster, or its ranks on this machine (docs/cluster.md).

launch.py submit --config YAML [-- ARGUMENT ...]       write RUN/launch/NAME.sbatch and submit it
launch.py chain --stages YAML ... --run-dir DIR        jobs that wait for each other; again: what is left
launch.py local --config YAML [-- ARGUMENT ...]        the same here, without SLURM
launch.py status RUN                                   queue, restarts, step, loss, tokens/s, time left
Each has --help; --dry-run prints what it would start. Exit codes: 0 done, 1 the work failed, 2 bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from megatron_codex.children import Ended
from megatron_codex.config.command_line import parse_command
from megatron_codex.config.launch import ChainConfig, StatusConfig, SubmitConfig
from megatron_codex.errors import InputError, run_command
from megatron_codex.launch.chain import chain_shown, run_chain_here, submit_chain
from megatron_codex.launch.local import commands_here, run_here
from megatron_codex.launch.script import render
from megatron_codex.launch.status import status_shown
from megatron_codex.launch.submit import checked_work, submit, submitted_work


def run_ranks(num_ranks: int, command: Sequence[str]) -> Ended:
    from megatron_codex.parallel.local_ranks import run_local_ranks  # torch takes seconds: only where ranks are started

    return run_local_ranks(num_ranks, command)


def launch(verb: str, config: SubmitConfig) -> object:
    work = submitted_work(config) if verb == "submit" else checked_work(config)
    if verb == "submit":
        return render(work.config, work_key=work.key).rstrip() if config.dry_run else submit(work)
    return "\n".join(commands_here(work)) if config.dry_run else sys.exit(run_here(work, run_ranks))


def main() -> None:
    verb, *argv = sys.argv[1:] or ["--help"]
    own = argv[: argv.index("--")] if "--" in argv else argv
    if verb in ("submit", "local"):
        config = parse_command(SubmitConfig, own)
        print(launch(verb, replace(config, arguments=(*config.arguments, *argv[len(own) + 1 :]))))
    elif verb == "chain":
        chain = parse_command(ChainConfig, own)
        if chain.local and not chain.dry_run:
            sys.exit(run_chain_here(chain, run_ranks))
        print(chain_shown(chain) if chain.dry_run else "\n".join(map(str, submit_chain(chain))))
    elif verb == "status":
        print(status_shown(parse_command(StatusConfig, own, positional="run")))
    elif verb in ("-h", "--help"):
        print(__doc__, end="")
    else:
        raise InputError(verb, rule="is no verb of launch.py", remedy="give submit, chain, local or status")


if __name__ == "__main__":
    run_command(main)
