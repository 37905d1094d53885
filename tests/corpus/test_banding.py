from __future__ import annotations

import numpy as np

from megatron_codex.corpus import near_duplicates
from megatron_codex.corpus.banding import Banding, band_keys, choose_banding


def test_a_key_is_that_of_its_band() -> None:
    sketches = np.random.default_rng(0).integers(2**31, size=(2, 10), dtype=np.uint32)
    banding = Banding(num_bands=3, num_rows=3)
    sketches[1] = sketches[0]
    for place in range(10):
        sketches[1, place] ^= 1
        keys = band_keys(sketches, banding)
        differing = [0] if place == 9 else [0, 1 + place // 3]
        assert np.flatnonzero(keys[:, 0] != keys[:, 1]).tolist() == differing
        sketches[1, place] ^= 1
    assert len({*band_keys(np.ones((1, 10), np.uint32), banding)[1:, 0].tolist()}) == 3, "bands are told apart"


def test_the_bands_are_those_of_the_docstring() -> None:
    banding = choose_banding(threshold=0.85, num_permutations=128)
    assert banding == Banding(num_bands=11, num_rows=11)
    lines = (near_duplicates.__doc__ or "").splitlines()
    similarities, rates = (
        [float(number) for number in line.split()[1:]]
        for name in ("s ", "meet ")
        for line in lines
        if line.startswith("    " + name)
    )
    assert np.array_equal(banding.catch_rate(np.array(similarities)).round(2), rates)
    assert choose_banding(threshold=1, num_permutations=1) == Banding(num_bands=1, num_rows=1)
