"""preprocess_data --shard: processes that know nothing of each other make the bytes that one makes alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.corpus import preprocess
from megatron_codex.corpus.preprocess import preprocess_data
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.journals import Journal
from megatron_codex.unfinished import partial_path

TASK_BYTES = 1_000


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "TASK_BYTES", TASK_BYTES)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    lines = (json.dumps({"text": f"number = {number}\n" * (number % 7)}) + "\n" for number in range(200))
    path.write_text("".join(lines))
    return path


def config(source: Path, prefix: Path, shard: str | None = None, **values: object) -> PreprocessConfig:
    given = {"input": (source,), "output_prefix": prefix, "workers": 1, "shard": shard} | values
    return PreprocessConfig(**given)  # type: ignore[arg-type]


def contents(prefix: Path) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.bin").read_bytes(), Path(f"{prefix}.idx").read_bytes()


@pytest.fixture
def alone(tmp_path: Path, source: Path) -> tuple[bytes, bytes]:
    preprocess_data(config(source, tmp_path / "alone"))
    return contents(tmp_path / "alone")


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]], ids=str)
def test_the_last_share_to_end_joins_all(
    tmp_path: Path, source: Path, alone: tuple[bytes, bytes], order: list[int]
) -> None:
    prefix = tmp_path / "shared"
    summaries = [preprocess_data(config(source, prefix, f"{number}/3")) for number in order]
    assert summaries[:2] == [None, None]
    assert summaries[2] is not None
    assert summaries[2].num_documents + summaries[2].num_empty == 200
    assert contents(prefix) == alone
    assert not partial_path(prefix).exists()


def test_shares_may_run_at_the_same_time(tmp_path: Path, source: Path, alone: tuple[bytes, bytes]) -> None:
    prefix = tmp_path / "shared"
    with ThreadPoolExecutor(5) as threads:
        summaries = list(threads.map(preprocess_data, [config(source, prefix, f"{number}/5") for number in range(5)]))
    assert sum(summary is not None for summary in summaries) == 1
    assert contents(prefix) == alone


def test_a_share_finds_its_work_joined_by_another(
    tmp_path: Path, source: Path, alone: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "shared"
    joining = Journal.joining
    others = iter(["1/2"])

    def after_the_other(journal: Journal) -> AbstractContextManager[bool]:
        for other in others:
            assert preprocess_data(config(source, prefix, other)) is not None
        return joining(journal)

    monkeypatch.setattr(Journal, "joining", after_the_other)
    assert preprocess_data(config(source, prefix, "0/2")) is None
    assert contents(prefix) == alone


def test_a_share_does_its_own_tasks_only(tmp_path: Path, source: Path) -> None:
    prefix = tmp_path / "shared"
    preprocess_data(config(source, prefix, "1/2"))
    numbers = sorted(int(path.stem) for path in partial_path(prefix).glob("*.part"))
    assert len(numbers) > 3
    assert all(number % 2 == 1 for number in numbers)


@pytest.mark.parametrize("harm", ["lost", "torn"])
def test_a_share_that_was_stopped_goes_on(tmp_path: Path, source: Path, alone: tuple[bytes, bytes], harm: str) -> None:
    prefix = tmp_path / "shared"
    preprocess_data(config(source, prefix, "0/2"))
    kept, harmed, *_ = sorted(partial_path(prefix).glob("*.part"))
    made_at = kept.stat().st_mtime_ns
    harmed.write_bytes(harmed.read_bytes()[:-3])
    if harm == "lost":
        harmed.unlink()
    assert preprocess_data(config(source, prefix, "0/2")) is None
    assert kept.stat().st_mtime_ns == made_at
    assert preprocess_data(config(source, prefix, "1/2")) is not None
    assert contents(prefix) == alone


def test_another_division_goes_on_with_what_is_there(tmp_path: Path, source: Path, alone: tuple[bytes, bytes]) -> None:
    prefix = tmp_path / "shared"
    preprocess_data(config(source, prefix, "0/2"))
    assert preprocess_data(config(source, prefix)) is not None
    assert contents(prefix) == alone


def test_a_share_of_done_work_has_nothing_to_do(tmp_path: Path, source: Path) -> None:
    prefix = tmp_path / "shared"
    preprocess_data(config(source, prefix))
    before = Path(f"{prefix}.idx").stat().st_mtime_ns
    assert preprocess_data(config(source, prefix, "0/2")) is None
    assert Path(f"{prefix}.idx").stat().st_mtime_ns == before
    assert not partial_path(prefix).exists()


def test_the_output_of_other_work_is_kept(tmp_path: Path, source: Path) -> None:
    prefix = tmp_path / "shared"
    preprocess_data(config(source, prefix))
    with pytest.raises(InputError, match="exists already"):
        preprocess_data(config(source, prefix, "0/2", append_eod=False))


def test_unfinished_work_of_other_settings_is_kept(tmp_path: Path, source: Path) -> None:
    prefix = tmp_path / "shared"
    preprocess_data(config(source, prefix, "0/2"))
    with pytest.raises(InputError, match="holds unfinished work of a run with other append_eod"):
        preprocess_data(config(source, prefix, "1/2", append_eod=False))


@pytest.mark.parametrize(("shard", "executor"), [("2/2", "processes"), ("a/b", "processes"), ("0/2", "mpi")])
def test_shares_that_cannot_be(source: Path, shard: str, executor: str) -> None:
    with pytest.raises(ConfigError, match=r"shard|executor"):
        config(source, Path("x"), shard, executor=executor)
