"""Sdists by name: fetched by pip from a local directory, and never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.problems.project import BrokenProjectError
from megatron_codex.problems.projects.index_download import fetch_sdist
from megatron_codex.problems.projects.pip_command import PackageIndex

from .conftest import write_sdist


def test_an_sdist_is_fetched_by_name_and_its_setup_is_not_run(no_index: None, wheels: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for version in ("1.0", "2.0"):
        setup = (
            f"open({str(ran)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='tiny', version='{version}')\n"
        )
        write_sdist(wheels / f"tiny-{version}.tar.gz", {f"tiny-{version}/setup.py": setup})
    index = PackageIndex(wheels=(wheels,))
    found = fetch_sdist("tiny", tmp_path / "cache", index)
    assert found == tmp_path / "cache" / "sdists" / "tiny" / "tiny-2.0.tar.gz"
    assert found.read_bytes() == (wheels / "tiny-2.0.tar.gz").read_bytes()
    assert fetch_sdist("tiny==1.0", tmp_path / "cache", index).name == "tiny-1.0.tar.gz"
    # The cache answers, even when the index is gone.
    assert fetch_sdist("tiny", tmp_path / "cache", PackageIndex()) == found
    assert not ran.exists()


def test_a_name_that_the_index_lacks(no_index: None, wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenProjectError, match="not in the index: absent: No matching distribution found") as raised:
        fetch_sdist("absent", tmp_path / "cache", PackageIndex(wheels=(wheels,)))
    assert raised.value.reason == "not in the index"
    assert "\n" not in raised.value.detail


def test_an_index_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, no_index: None, tmp_path: Path) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr("megatron_codex.problems.projects.pip_command._OPTIONS", ["--no-input", "--retries", "1"])
    with pytest.raises(BrokenProjectError, match="no network: the package index cannot be reached"):
        fetch_sdist("tiny", tmp_path / "cache", PackageIndex())
    assert not list((tmp_path / "cache").rglob("*.gz"))
