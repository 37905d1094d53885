"""Row-wise operations on matrices of fp32 or bf16: the C++ library's on a CPU, plain torch's elsewhere.

The signatures are those of ops/reference_rows.py, where each operation is described. Rows are shared by as many
threads as torch uses; a row's result does not depend on their number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from megatron_codex.native.library import fastest
from megatron_codex.ops import reference_rows as reference


class _Nothing:
    """Stands for the library where tensors have no content: outputs are made as for it, and stay as they are."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


_NOTHING = _Nothing()

DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
"""What the library takes, and what it calls them."""


def row_statistics(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row, fp32: its largest element and the sum of exp(element - largest)."""
    library = _library(logits_NV)
    if library is None:
        return reference.row_statistics(logits_NV)
    module, how = library
    largest_N, sums_N = torch.empty(2, len(logits_NV), dtype=torch.float32)
    module.row_statistics(_matrix(logits_NV), _address(largest_N), _address(sums_N), **how)
    return largest_N, sums_N


def block_statistics(logits_NV: Tensor, *, block_size: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row's blocks of columns, fp32 [N, blocks]: the largest element, the sum of exp(element - largest), and of
    exp(scale * (element - largest)); the last block may be shorter."""
    library = _library(logits_NV)
    if library is None:
        return reference.block_statistics(logits_NV, block_size=block_size, scale=scale)
    module, how = library
    num_blocks = -(-logits_NV.shape[1] // block_size)
    found_3NB = torch.empty(3, len(logits_NV), num_blocks, dtype=torch.float32)
    largest_NB, sums_NB, tempered_NB = found_3NB
    outputs = [_address(x) for x in (largest_NB, sums_NB, tempered_NB)]
    module.block_statistics(_matrix(logits_NV), block_size, scale, *outputs, **how)
    return largest_NB, sums_NB, tempered_NB


def cross_entropy_gradient(
    logits_NV: Tensor, *, true_columns: int, labels_N: Tensor, log_sums_N: Tensor, gradients_N: Tensor
) -> None:
    """In place: logits to their gradients, given each row's log of the sum of exponentials and its loss's gradient."""
    library = _library(logits_NV)
    if library is None:
        reference.cross_entropy_gradient(
            logits_NV,
            true_columns=true_columns,
            labels_N=labels_N,
            log_sums_N=log_sums_N,
            gradients_N=gradients_N,
        )
        return
    module, how = library
    labels_N, log_sums_N, gradients_N = _labels_and_floats(logits_NV, labels_N, log_sums_N, gradients_N)
    given = (_address(labels_N), _address(log_sums_N), _address(gradients_N))
    module.cross_entropy_gradient(*_matrix_and_padding(logits_NV, true_columns), *given, **how)


def cross_entropy(
    logits_NV: Tensor, *, true_columns: int, labels_N: Tensor, gradients_N: Tensor
) -> tuple[Tensor, Tensor]:
    """In place: logits to their gradients; of each row, fp32: the largest [N]; the sum of exp(logit - largest) and the
    label's logit, 0 where it is in no column [2, N].

    One pass over memory instead of two: for a rank that has the whole vocabulary and knows the losses' gradients.
    """
    library = _library(logits_NV)
    if library is None:
        return reference.cross_entropy(logits_NV, true_columns=true_columns, labels_N=labels_N, gradients_N=gradients_N)
    module, how = library
    labels_N, gradients_N = _labels_and_floats(logits_NV, labels_N, gradients_N)
    largest_N, sums_2N = torch.empty(len(logits_NV)), torch.empty(2, len(logits_NV))
    given = (_address(labels_N), _address(gradients_N))
    found = (_address(largest_N), _address(sums_2N[0]), _address(sums_2N[1]))
    module.cross_entropy(*_matrix_and_padding(logits_NV, true_columns), *given, *found, **how)
    return largest_N, sums_2N


def gelu(x: Tensor) -> Tensor:
    """GELU with tanh (arXiv 1606.08415), of any shape, contiguous; ops/bias_gelu.py differentiates it."""
    library = _library(x)
    if library is None:
        return reference.gelu(x)
    module, how = library
    out = torch.empty_like(x)
    module.gelu(_as_rows(x), _as_rows(out), **how)
    return out


def gelu_gradient(x: Tensor, out_gradient: Tensor) -> Tensor:
    """Gradient of gelu's input; both contiguous."""
    library = _library(x)
    if library is None:
        return reference.gelu_gradient(x, out_gradient)
    module, how = library
    in_gradient = torch.empty_like(x)
    module.gelu_gradient(_as_rows(x), _as_rows(out_gradient), _as_rows(in_gradient), **how)
    return in_gradient


def causal_softmax(scores_NK: Tensor, *, num_queries: int, first_key: int, scale: float) -> None:
    """In place: softmax(scale * score) over the keys up to first_key + row % num_queries, 0 beyond."""
    library = _library(scores_NK)
    if library is None:
        reference.causal_softmax(scores_NK, num_queries=num_queries, first_key=first_key, scale=scale)
        return
    module, how = library
    module.causal_softmax(_matrix(scores_NK), num_queries, first_key, scale, **how)


def causal_softmax_gradient(
    probabilities_NK: Tensor, gradient_NK: Tensor, *, num_queries: int, first_key: int, scale: float
) -> None:
    """In place: the gradient of the probabilities becomes that of the scores before they were scaled."""
    library = _library(gradient_NK)
    if library is None:
        reference.causal_softmax_gradient(
            probabilities_NK, gradient_NK, num_queries=num_queries, first_key=first_key, scale=scale
        )
        return
    module, how = library
    module.causal_softmax_gradient(
        _matrix(probabilities_NK), _matrix(gradient_NK), num_queries, first_key, scale, **how
    )


def takes(tensor: Tensor) -> bool:
    """Whether the C++ library is there and has this tensor's dtype."""
    return _library(tensor) is not None


def in_order(rows: Tensor) -> bool:
    """Whether each row of a matrix lies without gaps, as the C++ library reads it."""
    return rows.stride(1) == 1 or rows.shape[1] <= 1 or rows.shape[0] == 0


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor has a shape and no content: in a dry run (planning/)."""
    return isinstance(tensor, FakeTensor)


def _library(tensor: Tensor) -> tuple[Any, dict[str, Any]] | None:
    """The C++ library and how to call it, or None where it is not there or cannot take this tensor."""
    if tensor.device.type != "cpu" or tensor.dtype not in DTYPES:
        return None
    found = fastest()
    if found is None:
        return None
    if is_fake(tensor):
        return _NOTHING, {}
    return found[0], {"instructions": found[1], "num_threads": torch.get_num_threads()}


def _address(tensor: Tensor) -> int:
    return 0 if is_fake(tensor) else tensor.data_ptr()


def _matrix(rows: Tensor) -> tuple[int, str, int, int, int]:
    """(address, dtype, rows, columns, stride) of a matrix whose rows are contiguous."""
    assert rows.dim() == 2, "rows of a matrix"
    assert in_order(rows), "rows must be contiguous"
    return _address(rows), DTYPES[rows.dtype], rows.shape[0], rows.shape[1], max(rows.stride(0), rows.shape[1])


def _matrix_and_padding(rows: Tensor, true_columns: int) -> tuple[tuple[int, str, int, int, int], int]:
    """_matrix of the columns that are no padding, and how many there are with it."""
    address, dtype, num_rows, num_padded, stride = _matrix(rows)  # a view of no columns would have no address
    return (address, dtype, num_rows, true_columns, stride), num_padded


def _labels_and_floats(rows: Tensor, labels_N: Tensor, *floats: Tensor) -> tuple[Tensor, ...]:
    """As C++ reads them; one for each row."""
    assert all(tensor.shape == rows.shape[:1] for tensor in (labels_N, *floats))
    return labels_N.to(torch.int64).contiguous(), *(tensor.float().contiguous() for tensor in floats)


def _as_rows(x: Tensor) -> tuple[int, str, int, int, int]:
    columns = x.shape[-1] if x.dim() else 1
    return _matrix(x if x.dim() == 2 else x.view(x.numel() // max(1, columns), columns))  # -1 is ambiguous for none
