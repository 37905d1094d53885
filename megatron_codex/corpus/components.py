"""Connected components of documents: what is like what is alike belongs together.

In: pairs of documents. Out: for each document the first one of its component. A union-find over arrays: each root is
the lowest position of its tree, so the result does not depend on the order of the pairs. Memory: 8 bytes a document.

Source: path halving, Tarjan and van Leeuwen 1984, for many documents at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHUNK_DOCUMENTS = 1 << 16

Positions = NDArray[np.int64]


class Components:
    """Components of the documents 0 to num_documents - 1, each alone at first."""

    def __init__(self, num_documents: int) -> None:
        self._parents = np.arange(num_documents, dtype=np.int64)

    def firsts(self, documents: Positions) -> Positions:
        """The lowest position in the component of each of `documents`, as far as pairs were joined."""
        at = documents
        while True:
            parents = self._parents[at]
            grandparents = self._parents[parents]
            if np.array_equal(parents, grandparents):
                return parents
            self._parents[at] = grandparents
            at = grandparents

    def join(self, left: Positions, right: Positions) -> None:
        """Put left[i] and right[i] into one component, for each i."""
        while len(left):
            one, other = self.firsts(left), self.firsts(right)
            apart = one != other
            left, right, one, other = left[apart], right[apart], one[apart], other[apart]
            np.minimum.at(self._parents, np.maximum(one, other), np.minimum(one, other))

    def all_firsts(self) -> Positions:
        """firsts of all documents: the array itself, after which nothing more is joined."""
        for begin in range(0, len(self._parents), _CHUNK_DOCUMENTS):
            chunk = self._parents[begin : begin + _CHUNK_DOCUMENTS]
            while not np.array_equal(chunk, above := self._parents[chunk]):
                chunk[:] = above
        return self._parents
