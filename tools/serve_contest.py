"""Serve a contest's judge on this machine: it holds hidden tests and shows the first one that a program fails."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.contests import ContestSiteConfig
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging
from megatron_codex.problems.contests.site_server import ContestServer
from megatron_codex.problems.readers import read_problems


def main() -> None:
    config = parse_command(ContestSiteConfig, description=__doc__ or "")
    configure_logging()
    with ContestServer(read_problems(config.problems), config) as server:
        print(server.url, flush=True)
        server.wait()


if __name__ == "__main__":
    run_command(main)
