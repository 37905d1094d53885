"""Large files read in ranges: the documents, and the shards' bytes, of files that are read whole."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.corpus import divide, tars
from megatron_codex.corpus.build import build_corpus
from megatron_codex.corpus.candidates import Candidate
from megatron_codex.corpus.discover import Unit, find_units
from megatron_codex.corpus.divide import divide_units
from megatron_codex.corpus.readers import read_unit
from megatron_codex.errors import InputError

METADATA = b"Metadata-Version: 2.1\nName: x\nLicense: MIT\n"


def run_here(function: Callable[[Any], None], tasks: Sequence[Any], *, done: object, description: str) -> None:
    for task in tasks:
        function(task)


def divided(path: Path, folder: Path, **changes: Any) -> list[Unit]:
    config = CorpusConfig(input=(path,), output=folder / "unused", **changes)
    return divide_units(find_units(config), config, run=run_here, folder=folder)


def candidates(units: Sequence[Unit], *, max_bytes: int = 1_000_000) -> list[Candidate]:
    return [candidate for unit in units for candidate in read_unit(unit, max_bytes=max_bytes)]


def same_in_ranges(path: Path, folder: Path, **changes: Any) -> list[Unit]:
    """The file's ranges, which hold what it holds as a whole."""
    whole = find_units(CorpusConfig(input=(path,), output=folder / "unused", **changes))
    units = divided(path, folder, **changes)
    assert candidates(units) == candidates(whole)
    return units


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divide, "RANGE_BYTES", 3_000)
    monkeypatch.setattr(divide, "DIVIDED_TAR_BYTES", 1)
    monkeypatch.setattr(tars, "_HELD_BYTES", 2_000)


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def source(number: int, size: int = 700) -> bytes:
    return (f"name_{number} = {number}\n" * size)[:size].encode()


def every_member(path: Path, *, form: int = tarfile.PAX_FORMAT, metadata_at: int | None = 20) -> Path:
    """40 files of all that a tar may hold between them: long names, links, folders, a package's metadata."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for number in range(40):
            if number == metadata_at:
                add(archive, "p-1/PKG-INFO", METADATA)
            add(archive, f"p-1/{number}.py", source(number))
            add(archive, f"p-1/{'long/' * 40}{number}é.py", source(number, 100))
            add(archive, f"p-1/data{number}.bin", b"\0" * 900)
            add(archive, f"p-1/link{number}.py", type=tarfile.SYMTYPE, linkname="0.py")
            add(archive, f"p-1/folder{number}", type=tarfile.DIRTYPE)
    return path


@pytest.mark.parametrize(
    ("form", "metadata_at"),
    [(tarfile.GNU_FORMAT, 20), (tarfile.PAX_FORMAT, 20), *((tarfile.USTAR_FORMAT, at) for at in (None, 0, 2, 39))],
)
def test_a_plain_tar_is_read_in_ranges_of_its_members(tmp_path: Path, form: int, metadata_at: int | None) -> None:
    units = same_in_ranges(every_member(tmp_path / "a.tar", form=form, metadata_at=metadata_at), tmp_path)
    assert len(units) > 5
    assert units[0].begin == 0
    assert [unit.begin for unit in units[1:]] == [unit.end for unit in units[:-1]]
    licences = {candidate.licence for candidate in candidates(units)}
    # Past the bytes that wait for it, a licence reaches later files only.
    assert licences == {None: {""}, 0: {"MIT"}, 2: {"MIT"}}.get(metadata_at, {"", "MIT"})


def test_files_that_wait_for_their_licence_are_not_parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_HELD_BYTES", 1_000_000)
    units = same_in_ranges(every_member(tmp_path / "a.tar", metadata_at=20), tmp_path)
    assert len(units) > 3
    assert {candidate.licence for candidate in candidates(units)} == {"MIT"}


@pytest.mark.parametrize("position", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "trailing"])
def test_a_damaged_tar_gives_what_it_gives_as_a_whole(tmp_path: Path, position: float, damage: str) -> None:
    path = every_member(tmp_path / "a.tar")
    content = path.read_bytes()
    at = int(len(content) * position)
    if damage == "cut":
        path.write_bytes(content[:at])
    elif damage == "overwritten":
        path.write_bytes(content[:at] + random.Random(1).randbytes(1_500) + content[at + 1_500 :])
    else:
        path.write_bytes(content[:at] + bytes(2048) + content)
    same_in_ranges(path, tmp_path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_truncated_member_is_damage_however_large_it_claims_to_be(tmp_path: Path, name: str) -> None:
    member = tarfile.TarInfo("data.bin")
    member.size = 10**12
    content = member.tobuf() + bytes(5_000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    units = same_in_ranges(tmp_path / name, tmp_path)
    assert [candidate.fault for candidate in candidates(units)] == ["unreadable"]


@pytest.mark.parametrize("max_archive_bytes", [1, 50_000, 99_999])
def test_a_tar_that_is_too_large_is_counted_once(tmp_path: Path, max_archive_bytes: int) -> None:
    path = every_member(tmp_path / "a.tar")
    units = same_in_ranges(path, tmp_path, max_archive_bytes=max_archive_bytes)
    faults = [candidate.fault for candidate in candidates(units) if not candidate.path]
    assert faults == ["archive_too_large"]


@pytest.mark.parametrize(("field", "num_units"), [("comment", None), ("uname", 1)])
def test_a_global_header_that_says_more_than_a_comment_keeps_a_tar_whole(
    tmp_path: Path, field: str, num_units: int | None
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", pax_headers={field: "0123456789abcdef"}) as archive:
        for number in range(20):
            add(archive, f"{number}.py", source(number))
    units = same_in_ranges(tmp_path / "a.tar", tmp_path)
    assert num_units in (None, len(units))
    assert (len(units) > 1) == (field == "comment")


def test_tars_that_are_small_beside_the_input_stay_one_task_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_member(tmp_path / "in" / "large.tar")
    for number in range(3):
        with tarfile.open(tmp_path / "in" / f"{number}.tar", "w") as archive:
            for file in range(12):
                add(archive, f"{file}.py", source(number + file))
    monkeypatch.setattr(divide, "_DIVIDED_TAR_SHARE", 0.1)
    names = [unit.path.name for unit in divided(tmp_path / "in", tmp_path)]
    assert [names.count(f"{number}.tar") for number in range(3)] == [1, 1, 1]
    assert names.count("large.tar") > 5


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_a_compressed_tar_stays_one_task(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / name, "w:gz") as archive:
        for number in range(20):
            add(archive, f"{number}.py", random.Random(number).randbytes(700))
    assert len(divided(tmp_path / name, tmp_path)) == 1


def lines(path: Path, *, end: bytes = b"\n", bad: int | None = None, bad_line: bytes = b"{}") -> Path:
    rows = [json.dumps({"content": source(number).decode(), "path": f"{number}.py"}).encode() for number in range(40)]
    if bad is not None:
        rows[bad] = bad_line
    path.write_bytes(b"\n".join([b"", *rows, b" "]) + end)
    return path


@pytest.mark.parametrize("end", [b"\n", b""], ids=["ended", "unended"])
@pytest.mark.parametrize("range_bytes", [1, 700, 3_000, 100_000])
def test_json_lines_are_read_in_ranges_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes, range_bytes: int
) -> None:
    path = lines(tmp_path / "a.jsonl", end=end)
    monkeypatch.setattr(divide, "RANGE_BYTES", range_bytes)
    if range_bytes == 1:  # a range for each byte: of a short file
        path.write_bytes(b'{"text": "a"}\n\n{"text": "b"}' + end)
    units = same_in_ranges(path, tmp_path)
    assert len(units) == -(-path.stat().st_size // range_bytes)


@pytest.mark.parametrize(
    ("bad_line", "message"),
    [
        pytest.param(b'{"no": 1}', "no text under any of", id="no-text"),
        pytest.param(b"{", "not valid JSON", id="no-json"),
        pytest.param(b'{"text": "\xff"}', "not readable as UTF-8", id="no-utf8"),
    ],
)
@pytest.mark.parametrize("line", [0, 17, 39])
def test_a_bad_line_is_named_by_its_number_in_the_file(
    tmp_path: Path, line: int, bad_line: bytes, message: str
) -> None:
    path = lines(tmp_path / "a.jsonl", bad=line, bad_line=bad_line)
    units = divided(path, tmp_path)
    assert len(units) > 5
    with pytest.raises(InputError, match=rf"a\.jsonl:{line + 2}: .*{message}"):
        candidates(units)


def test_parquet_is_read_in_ranges_of_row_groups(tmp_path: Path) -> None:
    rows = [{"content": source(number).decode(), "path": f"{number}.py"} for number in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=2, compression=None)
    units = same_in_ranges(tmp_path / "a.parquet", tmp_path)
    assert 3 < len(units) < 20
    rows[23]["content"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet", row_group_size=3, compression=None)
    with pytest.raises(InputError, match=r"b\.parquet:24: no text under any of"):
        candidates(divided(tmp_path / "b.parquet", tmp_path))


def built(inputs: Sequence[Path], output: Path, **changes: Any) -> dict[str, bytes]:
    build_corpus(CorpusConfig(input=tuple(inputs), output=output, shard_bytes=10_000, **changes))
    return {path.name: path.read_bytes() for path in sorted(output.glob("shard-*"))}


def test_the_shards_are_those_of_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divide, "RANGE_BYTES", 20_000)
    inputs = [every_member(tmp_path / "a.tar"), lines(tmp_path / "b.jsonl")]
    in_ranges = built(inputs, tmp_path / "ranges", workers=2)
    monkeypatch.setattr(divide, "RANGE_BYTES", 10**9)
    monkeypatch.setattr(divide, "DIVIDED_TAR_BYTES", 10**9)
    assert built(inputs, tmp_path / "whole", workers=1) == in_ranges
    assert len(in_ranges) > 2
