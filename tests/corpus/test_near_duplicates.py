from __future__ import annotations

import functools
import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from megatron_codex.config.corpus import NearDuplicateConfig
from megatron_codex.corpus import components, near_duplicates
from megatron_codex.corpus.banding import Banding, choose_banding
from megatron_codex.corpus.near_duplicates import find_near_duplicates
from megatron_codex.corpus.sketches import EMPTY, estimate_jaccard, sketch_documents
from megatron_codex.errors import ConfigError, InputError

Sketches = NDArray[np.uint32]
K = 128


def random_sketches(num_documents: int, seed: int, num_permutations: int = K) -> Sketches:
    rng = np.random.default_rng(seed)
    return rng.integers(2**31, size=(num_documents, num_permutations), dtype=np.uint32)


def changed(sketch: Sketches, num_places: int, *, seed: int = 0) -> Sketches:
    """A copy that differs in num_places places."""
    copy = sketch.copy()
    copy[np.random.default_rng(seed).choice(len(sketch), num_places, replace=False)] ^= 1 << 30
    return copy


def brute_force(sketches: Sketches, threshold: float) -> list[int]:
    """Components of all pairs that the estimate calls alike."""
    firsts = list(range(len(sketches)))
    for right in range(len(sketches)):
        for left in range(right):
            if estimate_jaccard(sketches[left], sketches[right]) >= threshold:
                low, high = sorted((firsts[left], firsts[right]))
                firsts = [low if first == high else first for first in firsts]
    return firsts


def families(num_families: int, size: int, seed: int) -> Sketches:
    """Shuffled documents: families whose members are each like the founder, to some degree."""
    rng = np.random.default_rng(seed)
    founders = random_sketches(num_families, seed)
    members = [
        changed(founder, int(rng.integers(0, 30)), seed=int(rng.integers(2**32)))
        for founder in founders
        for _ in range(size)
    ]
    return np.stack(members)[rng.permutation(len(members))]


@pytest.mark.parametrize("seed", range(3), ids=lambda seed: f"seed-{seed}")
def test_only_documents_with_a_verified_pair_are_dropped_and_few_are_missed(tmp_path: Path, seed: int) -> None:
    sketches = families(40, 5, seed)
    found = find_near_duplicates(sketches, threshold=0.85, work=tmp_path)
    expected = np.array(brute_force(sketches, 0.85))
    # What was found are parts of the true components: whoever is together in the one is in the other.
    assert np.array_equal(expected[found], expected)
    assert np.array_equal(found[found], found) and (found <= np.arange(len(found))).all()
    alike = estimate_jaccard(sketches[:, None], sketches[None]) >= 0.85
    same = found[:, None] == found[None]
    np.fill_diagonal(alike, False)
    assert (alike & same).any(axis=1)[found != np.arange(len(found))].all()
    num_dropped = np.count_nonzero(found != np.arange(len(found)))
    num_expected = np.count_nonzero(expected != np.arange(len(found)))
    assert num_expected > 50 and num_dropped > 0.9 * num_expected
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("num_changed", [8, 13, 19], ids=lambda number: f"{number}-places-differ")
def test_pairs_above_the_threshold_are_found_at_the_predicted_rate(tmp_path: Path, num_changed: int) -> None:
    """Pairs that differ in exactly these many random places, all above the threshold."""
    num_pairs, banding = 3000, choose_banding(threshold=0.85, num_permutations=K)
    rng = np.random.default_rng(num_changed)
    sketches = random_sketches(2 * num_pairs, 7)
    sketches[num_pairs:] = sketches[:num_pairs]
    for copy in sketches[num_pairs:]:
        copy[rng.choice(K, num_changed, replace=False)] ^= 1 << 30
    found = find_near_duplicates(sketches, threshold=0.85, work=tmp_path)
    rate = np.mean(found[num_pairs:] == np.arange(num_pairs))
    expected = rate_of_a_whole_band(banding, num_changed)
    assert abs(rate - expected) < 4 * np.sqrt(expected * (1 - expected) / num_pairs) + 1e-9
    assert np.array_equal(found[:num_pairs], np.arange(num_pairs))


def rate_of_a_whole_band(banding: Banding, num_changed: int) -> float:
    """The share of the ways to lay num_changed differences on K places that leave a band whole, by counting."""

    @functools.cache
    def ways(num_bands: int, left: int) -> float:  # to break each of these bands, and put what is left anywhere
        if num_bands == 0:
            return float(np.prod([(rest - i) / (i + 1) for i in range(left)]))
        rows = banding.num_rows
        choose = [1.0]
        for i in range(min(rows, left)):
            choose.append(choose[-1] * (rows - i) / (i + 1))
        return sum(choose[taken] * ways(num_bands - 1, left - taken) for taken in range(1, len(choose)))

    rest = K - banding.num_bands * banding.num_rows
    total = float(np.prod([(K - i) / (i + 1) for i in range(num_changed)]))
    return 1 - ways(banding.num_bands, num_changed) / total


def test_nothing_below_the_threshold_is_joined(tmp_path: Path) -> None:
    """They share ten of eleven bands, but the comparison has the last word."""
    first = random_sketches(1, 0)[0]
    just_above, below = first.copy(), first.copy()
    just_above[:19] ^= 1 << 30
    below[-20:] ^= 1 << 30  # 108 of 128 places: 0.844
    sketches = np.stack([first, below, just_above])
    assert find_near_duplicates(sketches, threshold=0.85, work=tmp_path).tolist() == [0, 1, 0]
    assert find_near_duplicates(sketches, threshold=0.84, work=tmp_path).tolist() == [0, 0, 0]


def test_chains_join_and_the_first_is_kept(tmp_path: Path) -> None:
    middle = random_sketches(2, 1)
    one, other = changed(middle[0], 12), changed(middle[0], 12, seed=5)
    assert estimate_jaccard(one, other) < 0.85 < estimate_jaccard(one, middle[0])
    sketches = np.stack([middle[1], other, one, middle[0], changed(middle[1], 3)])
    assert find_near_duplicates(sketches, threshold=0.85, work=tmp_path).tolist() == [0, 1, 1, 1, 0]


def test_documents_that_are_skipped_or_without_words_take_no_part(tmp_path: Path) -> None:
    sketches = np.repeat(random_sketches(1, 2), 6, axis=0)
    sketches[[1, 4]] = EMPTY
    skip = np.array([True, False, False, False, False, False])
    assert find_near_duplicates(sketches, threshold=0.85, skip=skip, work=tmp_path).tolist() == [0, 1, 2, 2, 4, 2]
    assert find_near_duplicates(sketches, threshold=0.85, work=tmp_path).tolist() == [0, 1, 0, 0, 4, 0]
    assert find_near_duplicates(sketches[:0], threshold=0.85, work=tmp_path).tolist() == []
    all_skipped = np.ones(6, bool)
    found = find_near_duplicates(sketches, threshold=0.85, skip=all_skipped, work=tmp_path)
    assert found.tolist() == list(range(6))


def test_the_result_does_not_depend_on_slices_and_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sketches = np.concatenate([families(60, 4, 5), np.repeat(random_sketches(1, 6), 100, axis=0), families(1, 100, 8)])
    sketches = sketches[np.random.default_rng(0).permutation(len(sketches))]
    expected = find_near_duplicates(sketches, threshold=0.85, work=tmp_path)
    mapped = np.memmap(tmp_path / "sketches", np.uint32, "w+", shape=sketches.shape)
    mapped[:] = sketches
    for name, value in (("_SLICE_DOCUMENTS", 7), ("_PARTITION_DOCUMENTS", 16), ("_COMPARED_AT_ONCE", 3)):
        monkeypatch.setattr(near_duplicates, name, value)
        assert np.array_equal(find_near_duplicates(mapped, threshold=0.85, work=tmp_path), expected), name


@pytest.mark.parametrize("slice_documents", [1 << 15, 500], ids=["one-block", "many-blocks"])
def test_equal_sketches_are_compared_with_the_first_of_them_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_documents: int
) -> None:
    sketches = np.repeat(random_sketches(1, 3, 16), 100_000, axis=0)
    sketches[1] ^= 1
    monkeypatch.setattr(near_duplicates, "_SLICE_DOCUMENTS", slice_documents)
    monkeypatch.setattr(near_duplicates, "_PARTITION_DOCUMENTS", 4 * slice_documents)
    compared = count_comparisons(monkeypatch)
    found = find_near_duplicates(sketches, threshold=0.85, work=tmp_path)
    assert found[:3].tolist() == [0, 1, 0] and not found[2:].any()
    assert sum(compared) == len(sketches) - 2


def test_a_bucket_of_many_differing_sketches_is_not_quadratic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They share all bands but the last, and are otherwise of two kinds, and some of none."""
    sketches = random_sketches(3_000, 4)
    sketches[:, : K - 24] = sketches[0, : K - 24]  # 104 of 128 places are the same: below the threshold
    kind = np.arange(3_000) % 30
    for number in (0, 1):
        sketches[kind == number, K - 24 :] = sketches[number, K - 24 :]
        sketches[kind == number, K - 1] = np.arange(100)
    compared = count_comparisons(monkeypatch)
    monkeypatch.setattr(near_duplicates, "_MAX_COMPARISONS", 30_000)
    with caplog.at_level(logging.WARNING):
        found = find_near_duplicates(sketches, threshold=0.85, work=tmp_path)
    assert np.array_equal(found[kind == 0], np.zeros(100)) and np.array_equal(found[kind == 1], np.ones(100))
    assert np.array_equal(found[kind > 1], np.flatnonzero(kind > 1))
    assert sum(compared) < 12 * 30_000
    assert "was not compared with all of them" in caplog.text


def count_comparisons(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    compared: list[int] = []
    agreements = near_duplicates._Search._agreements

    def counted(self: object, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        compared.append(len(left))
        return agreements(self, left, right)  # type: ignore[arg-type]

    monkeypatch.setattr(near_duplicates._Search, "_agreements", counted)
    return compared


def test_a_large_bucket_s_members_chain_through_its_leaders(tmp_path: Path) -> None:
    """In a bucket of more than 64, a member that is like a follower only is compared with all, too."""
    assert choose_banding(threshold=0.85, num_permutations=K) == Banding(num_bands=11, num_rows=11)
    base = random_sketches(1, 9)[0]
    one, other = base.copy(), base.copy()
    one[11:121:11] ^= 1 << 30  # a place in each band but the first, so that they meet there only
    one[121:123] ^= 1 << 30
    other[12:122:11] ^= 1 << 30
    other[123:125] ^= 1 << 30
    crowd = np.repeat(base[None], 80, axis=0)
    crowd[:, 11:] = random_sketches(80, 10)[:, 11:]
    sketches = np.concatenate([[one, base], crowd, [other]])
    assert estimate_jaccard(one, other) < 0.85 < estimate_jaccard(one, base)
    found = find_near_duplicates(sketches, threshold=0.85, work=tmp_path)
    assert found[[0, 1, -1]].tolist() == [0, 0, 0]
    assert np.array_equal(found[2:-1], np.arange(2, 82))


def test_memory_grows_by_a_few_bytes_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """9 bytes of components and marks; what is sketched and compared goes through in slices and partitions."""
    for name, value in (("_SLICE_DOCUMENTS", 2048), ("_PARTITION_DOCUMENTS", 8192), ("_COMPARED_AT_ONCE", 256)):
        monkeypatch.setattr(near_duplicates, name, value)
    monkeypatch.setattr(components, "_CHUNK_DOCUMENTS", 4096)
    peaks = []
    for num_documents in (50_000, 150_000):
        sketches = np.memmap(tmp_path / "sketches", np.uint32, "w+", shape=(num_documents, 8))
        sketches[:] = np.random.default_rng(0).integers(2**31, size=sketches.shape, dtype=np.uint32)
        sketches[::3] = sketches[0]  # a bucket that grows with the corpus
        tracemalloc.start()
        find_near_duplicates(sketches, threshold=0.85, work=tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 100_000 < 12


def test_changed_copies_of_files_are_found_from_their_text(tmp_path: Path) -> None:
    """From bytes on: copies with a word in 100 changed (Jaccard about 0.9), in 10 (0.4) and none."""
    rng = np.random.default_rng(0)
    originals = [[b"w%d" % number for number in rng.integers(500, size=600)] for _ in range(100)]
    documents = [b" ".join(words) for words in originals]
    for share in (0, 0.01, 0.1):
        for words in originals:
            place = rng.random(len(words)) < share
            documents.append(b" ".join(b"new" if new else word for new, word in zip(place, words, strict=True)))
    offsets = np.cumsum([0, *map(len, documents)])
    sketches = sketch_documents(b"".join(documents), offsets, num_permutations=128, shingle_words=5)
    found = find_near_duplicates(sketches, threshold=0.85, work=tmp_path).reshape(4, 100)
    assert np.array_equal(found[0], np.arange(100)) and np.array_equal(found[1], np.arange(100))
    assert np.mean(found[2] == np.arange(100)) > 0.8
    assert np.array_equal(found[3], np.arange(300, 400))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"sketches": np.zeros((2, 3), np.int64)}, "sketches"),
        ({"sketches": np.zeros(3, np.uint32)}, "sketches"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"skip": np.zeros(3, bool)}, "skip"),
        ({"skip": np.zeros(2, np.int8)}, "skip"),
    ],
    ids=str,
)
def test_faulty_arguments_are_refused(tmp_path: Path, arguments: dict[str, object], name: str) -> None:
    good = {"sketches": np.zeros((2, 16), np.uint32), "threshold": 0.85, "skip": None}
    with pytest.raises(InputError, match=f"^{name}: got") as caught:
        find_near_duplicates(**{**good, **arguments}, work=tmp_path / "work")  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"threshold": 0.0}, ["threshold"]),
        ({"threshold": 1.1}, ["threshold"]),
        ({"threshold": float("nan")}, ["threshold"]),
        ({"num_permutations": 0, "shingle_words": 65}, ["num_permutations", "shingle_words"]),
        ({"num_permutations": 1025}, ["num_permutations"]),
        ({"shingle_words": 0}, ["shingle_words"]),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, float], fields: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        NearDuplicateConfig(**values)  # type: ignore[arg-type]
    assert [fault.field for fault in caught.value.faults] == fields
