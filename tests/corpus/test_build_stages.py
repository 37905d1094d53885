"""Stages of a build that look at all documents together, what is written of what they drop, and kills in between."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from megatron_codex.config.corpus import CorpusConfig, DecontaminationConfig, NearDuplicateConfig
from megatron_codex.corpus.build import LEDGER, CorpusSummary, build_corpus
from megatron_codex.corpus.shards import read_documents
from megatron_codex.errors import InputError
from megatron_codex.files import sha256_file
from megatron_codex.jsonl import read_jsonl

ROOT = Path(__file__).parents[2]
PROBLEM = {
    "task_id": "Own/0",
    "prompt": 'def mirrored_sum(left, right):\n    """Add the mirrored digits of left to those of right."""\n',
    "entry_point": "mirrored_sum",
    "canonical_solution": (
        "    mirrored_left = int(str(left)[::-1])\n    mirrored_right = int(str(right)[::-1])\n"
        "    total_of_mirrors = mirrored_left + mirrored_right\n    return total_of_mirrors\n"
    ),
    "test": "def check(candidate):\n    assert candidate(12, 21) == 33\n",
}


def module(number: int, lines: int = 60) -> str:
    """Code of its own names, the same for the same number."""
    draw = random.Random(number)
    return "".join(f"name_{draw.randrange(10**6)} = {draw.randrange(10**6)} + {number}\n" for _ in range(lines))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def build(source: Path, output: Path, **changes: Any) -> CorpusSummary:
    summary = build_corpus(CorpusConfig(input=(source,), output=output, **{"workers": 1, **changes}))
    assert summary is not None
    return summary


def kept(output: Path) -> list[str]:
    return [row["path"] for path in sorted(output.glob("shard-*.parquet")) for row in read_documents(path)]


def counts(summary: CorpusSummary) -> dict[str, int]:
    return {reason: files for reason, files, _ in summary.rows()}


def test_near_duplicates_go_on_request_and_the_first_stays(tmp_path: Path) -> None:
    nearly = module(1).replace("\n", "  # the same\n", 1)
    source = write(tmp_path / "in", {"a.py": module(1), "b.py": nearly, "c.py": module(2), "d.py": module(1)})
    assert counts(build(source, tmp_path / "off")) == {"kept": 3, "duplicate": 1}
    summary = build(source, tmp_path / "on", near_duplicates=NearDuplicateConfig(enabled=True))
    assert counts(summary) == {"kept": 2, "duplicate": 1, "near_duplicate": 1}
    assert kept(tmp_path / "on") == ["a.py", "c.py"]
    assert sum(size for _, _, size in summary.rows()) == sum(path.stat().st_size for path in source.iterdir())


def test_documents_with_a_problem_go_and_the_ledger_names_each(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps(PROBLEM) + "\n")
    leaked = module(1) + PROBLEM["prompt"] + PROBLEM["canonical_solution"]
    source = write(tmp_path / "in", {"a.py": module(2), "b.py": leaked, "c.py": module(3), "d.py": leaked})
    config = DecontaminationConfig(problems=(problems,))
    summary = build(source, tmp_path / "out", decontamination=config, workers=2)
    assert counts(summary) == {"kept": 2, "duplicate": 1, "contaminated": 1}
    assert kept(tmp_path / "out") == ["a.py", "c.py"]
    rows = list(read_jsonl(tmp_path / "out" / LEDGER))
    assert [(row["path"], row["task_id"], row["outcome"]) for row in rows] == [
        ("b.py", "Own/0", "contaminated"),
        ("d.py", "Own/0", "duplicate"),
    ]
    assert all(leaked[row["start"] : row["end"]].startswith(row["excerpt"][:50]) for row in rows)


def test_a_missing_problem_file_is_said_before_anything_is_read(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"a.py": module(1)})
    with pytest.raises(InputError, match=r"gone\.jsonl: no such file"):
        build(source, tmp_path / "out", decontamination=DecontaminationConfig(problems=(tmp_path / "gone.jsonl",)))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_faulty_problem_file_is_said_before_anything_is_read(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"a.py": module(1)})
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps(PROBLEM) + "\n{broken\n")
    with pytest.raises(InputError, match=r"problems\.jsonl:2: .*not valid JSON"):
        build(source, tmp_path / "out", decontamination=DecontaminationConfig(problems=(problems,)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "problems.jsonl"]


def test_rejects_are_kept_with_their_reasons_on_request(tmp_path: Path) -> None:
    files = {"a.py": module(1), "b.py": module(1), "c.py": "=" * 50, "d.py": module(2)}
    source = write(tmp_path / "in", {**files, "big.py": "x" * 1_000_000})
    (source / "latin.py").write_bytes(b"x = '\xe9'\n")
    build(source, tmp_path / "out", keep_rejects=True)
    rows = [row for path in (tmp_path / "out/rejects").iterdir() for row in pq.read_table(path).to_pylist()]
    assert {row["path"]: (row["reason"], row["content"]) for row in rows} == {
        "b.py": ("duplicate", files["b.py"].encode()),
        "big.py": ("too_large", b""),
        "c.py": ("low_alphanumeric", b"=" * 50),
        "latin.py": ("undecodable", b"x = '\xe9'\n"),
    }
    assert kept(tmp_path / "out") == ["a.py", "d.py"]


def many_archives(root: Path) -> Path:
    """Units enough that a kill meets the build at any stage."""
    root.mkdir()
    for number in range(12):
        with zipfile.ZipFile(root / f"{number:02}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in range(40):
                archive.writestr(f"p{number}/{file}.py", module(number * 30 + file, lines=300))
    return root


def command(source: Path, output: Path) -> subprocess.Popen[bytes]:
    arguments = ["--input", str(source), "--output", str(output), "--workers", "3", "--shard-bytes", "1000000"]
    script = [sys.executable, str(ROOT / "tools/build_corpus.py"), *arguments, "near_duplicates.enabled=true"]
    return subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def hashes(output: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(output.glob("*.parquet"))}


@pytest.mark.slow
def test_kills_of_workers_and_of_the_whole_run_change_no_byte(tmp_path: Path) -> None:
    source = many_archives(tmp_path / "in")
    summary = build(source, tmp_path / "calm", shard_bytes=1_000_000, near_duplicates=NearDuplicateConfig(enabled=True))
    assert counts(summary)["duplicate"] == 110 and len(summary.shards) > 2
    draw = random.Random(1)
    num_worker_kills = num_run_kills = 0
    for _ in range(20):
        process = command(source, tmp_path / "out")
        deadline = time.monotonic() + draw.uniform(1, 6)
        while process.poll() is None and (time.monotonic() < deadline or num_run_kills >= 3):
            time.sleep(0.1)
            workers = psutil.Process(process.pid).children() if process.poll() is None else []
            if num_worker_kills < 5 and workers:
                draw.choice(workers).kill()
                num_worker_kills += 1
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            num_run_kills += 1
        _, stderr = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, stderr.decode()
        if (tmp_path / "out").exists():
            break  # it was put in its place in one rename, and killed after that
    assert num_worker_kills > 0 and num_run_kills > 0
    assert hashes(tmp_path / "out") == hashes(tmp_path / "calm")
    assert not os.path.lexists(tmp_path / "out.partial")
