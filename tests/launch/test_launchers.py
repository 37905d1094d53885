"""Other launchers of this machine meet at a port that nobody has."""

from __future__ import annotations

import socket

import pytest

from megatron_codex.errors import WorkError
from megatron_codex.launch import launchers


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    port = launchers.free_port()
    assert port in range(10000, 30000)
    monkeypatch.setattr(launchers, "_PORTS", range(port, port + 1))
    assert launchers.free_port() == port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(WorkError, match=f"every port from {port} to {port} is in use"),
    ):
        launchers.free_port()
