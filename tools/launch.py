"""Run a command of tools/ on a SLURM cluster, or its ranks on this machine (docs/cluster.md).

launch.py submit --config YAML [-- ARGUMENT ...]       write RUN/launch/NAME.sbatch and submit it
launch.py chain --stages YAML ... --run-dir DIR        jobs that wait for each other; again: what is left
launch.py local --config YAML [-- ARGUMENT ...]        the same here, without SLURM
launch.py status RUN                                   queue, restarts, step, loss, tokens/s, time left
Each has --help; --dry-run prints the scripts and starts nothing. Exit codes: 0 done, 1 the work failed, 2 bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.launch import ChainConfig, StatusConfig, SubmitConfig
from megatron_codex.errors import InputError, run_command
from megatron_codex.launch.chain import chain_stages, run_chain_here, submit_chain
from megatron_codex.launch.local import run_here
from megatron_codex.launch.script import render
from megatron_codex.launch.status import run_status, status_json, status_text
from megatron_codex.launch.submit import checked_work, submit, submitted_work


def run_ranks(num_ranks: int, command: Sequence[str]) -> int:
    from megatron_codex.parallel.local_ranks import run_local_ranks  # torch takes seconds: only where ranks are started

    return run_local_ranks(num_ranks, command)


def main() -> None:
    verb, *argv = sys.argv[1:] or ["--help"]
    own = argv[: argv.index("--")] if "--" in argv else argv
    further = tuple(argv[len(own) + 1 :])
    if verb in ("submit", "local"):
        config = parse_command(SubmitConfig, own)
        config = replace(config, arguments=(*config.arguments, *further))
        work = submitted_work(config) if verb == "submit" else checked_work(config)
        if config.dry_run:
            print(render(work.config, work_key=work.key), end="")
        elif verb == "submit":
            print(submit(work))
        else:
            sys.exit(run_here(work, run_ranks))
    elif verb == "chain":
        chain = parse_command(ChainConfig, own)
        if chain.dry_run:
            print(
                "\n".join(render(stage.work.config, work_key=stage.work.key) for stage in chain_stages(chain)), end=""
            )
        elif chain.local:
            sys.exit(run_chain_here(chain, run_ranks))
        else:
            print("\n".join(map(str, submit_chain(chain))))
    elif verb == "status":
        status = parse_command(StatusConfig, own, positional="run")
        print((status_json if status.json else status_text)(run_status(status)))
    elif verb in ("-h", "--help"):
        print(__doc__, end="")
    else:
        raise InputError(verb, rule="is no verb of launch.py", remedy="give submit, chain, local or status")


if __name__ == "__main__":
    run_command(main)
