"""megatron-core's own reader and writer of .bin/.idx, which ours are compared with."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # at import it says of each optional library that it does without
    from megatron.core.datasets.indexed_dataset import IndexedDataset as MegatronDataset
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder as MegatronDatasetBuilder

__all__ = ["MegatronDataset", "MegatronDatasetBuilder"]
