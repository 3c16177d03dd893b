"""The arithmetic in which a GPU computes linear layers.

Cards from Ampere on multiply TF32 numbers (10 bits of mantissa) up to eight times as fast as float32. ``exact`` uses
that without losing precision: each float32 matrix is the sum of its rounding to TF32 and of the rest, and a product is
the sum of three products of such parts [1]_. The fourth, rest by rest, lies below float32's own rounding.

References
----------
.. [1] H. Ootomo and R. Yokota, "Recovering single precision accuracy from Tensor Cores while surpassing the FP32
   theoretical peak performance", Int. J. High Perform. Comput. Appl. 36, 475 (2022).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Precision", "arithmetic", "split", "split_linear"]

logger = logging.getLogger(__name__)

# A layer of fewer rows is float32: three products and the splitting would take longer.
MIN_SPLIT_ROWS = 256
_KERNEL_THREADS, _WARP = 256, 32
# One block of threads a row.
_SPLIT_SOURCE = """
extern "C" __global__ void split_rows(const float* rows, float* parts, int n_columns) {
    const float* row = rows + (long long)blockIdx.x * n_columns;
    float* part = parts + 3LL * blockIdx.x * n_columns;
    for (int column = threadIdx.x; column < n_columns; column += blockDim.x) {
        float value = row[column];
        float high = __uint_as_float((__float_as_uint(value) + 0x1000u) & 0xFFFFE000u);
        part[column] = value - high;
        part[n_columns + column] = high;
        part[2 * n_columns + column] = high;
    }
}
"""
_HALF_STEP, _TF32_BITS = 0x1000, -0x2000  # of the 13 bits of a float32 that TF32 has not
_FIRST_WITH_TF32 = (8, 0)


class Precision(StrEnum):
    """Arithmetic of linear layers on a GPU; a CPU always computes in float32.

    Attributes
    ----------
    EXACT
        Three TF32 products for each float32 one where the card has TF32, else float32. Deviates from float32 by
        at most 2e-5 standard deviations of a property's labels.
    FLOAT32
        float32.
    TF32
        One TF32 product. Fast; deviates by up to 2.2e-2 standard deviations of the outputs (1.2e-3 rms over 1,600
        polymers with random weights of full size; docs/speed.md).
    """

    EXACT = "exact"
    FLOAT32 = "float32"
    TF32 = "tf32"


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute linear layers inside the block with a precision.

    One thread at a time: which products are TF32 is a setting of the process.
    """
    if device.type != "cuda" or precision == Precision.FLOAT32 or not _has_tf32(device):
        yield
    elif precision == Precision.TF32:
        with _tf32_products():
            yield
    else:
        with _SplitLinears():
            yield


def split(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return a float32 matrix as the sum of its rounding to TF32 and of the rest.

    Examples
    --------
    >>> high, low = split(torch.tensor([1 + 2.0**-20]))
    >>> high.item(), low.item() == 2.0**-20
    (1.0, True)
    """
    high = (matrix.view(torch.int32) + _HALF_STEP).bitwise_and_(_TF32_BITS).view(torch.float32)
    return high, matrix - high


def split_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``rows @ weight.T + bias`` as one product of three times the inner length.

    The two small products come first: a TF32 product rounds each sum towards zero, so that small terms added to a large
    sum would lose more.

    Parameters
    ----------
    rows : Tensor
        float32 [N, K].
    weight, bias : Tensor
        float32 [O, K] and [O].
    """
    weight_high, weight_low = split(weight)
    weights = torch.cat([weight_high, weight_low, weight_high], dim=-1)
    return functional.linear(_low_high_high(rows), weights, bias)


def _low_high_high(rows: Tensor) -> Tensor:
    """Return the parts of rows, the rest and twice the rounding, side by side: [N, 3K]."""
    kernel = _split_kernel(rows.device) if rows.is_cuda else None
    if kernel is None:
        high, low = split(rows)
        return torch.cat([low, high, high], dim=-1)
    rows = rows.contiguous()
    n_columns = rows.shape[-1]
    parts = rows.new_empty(*rows.shape[:-1], 3 * n_columns)
    n_threads = min(_KERNEL_THREADS, -(-n_columns // _WARP) * _WARP)
    kernel(grid=(rows.numel() // n_columns, 1, 1), block=(n_threads, 1, 1), args=[rows, parts, n_columns])
    return parts


@cache
def _split_kernel(device: torch.device) -> Callable[..., None] | None:
    """Compile the splitting as one kernel, a third of the time of torch's own six; None where that fails."""
    try:
        with torch.cuda.device(device):
            # Private to torch, which ships the compiler (NVRTC); no other compiler is needed.
            kernel: Callable[..., None] = torch.cuda._compile_kernel(_SPLIT_SOURCE, "split_rows")
    except Exception as error:
        # Whatever fails in a private function of torch, its public ones compute the same.
        logger.info("rows are split by torch's own functions, which is slower: %s", error)
        return None
    return kernel


class _SplitLinears(TorchFunctionMode):
    """Replaces each linear layer of enough rows by a split product in TF32."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not functional.linear or args[0].numel() < MIN_SPLIT_ROWS * args[0].shape[-1]:
            return func(*args, **(kwargs or {}))
        with _tf32_products():
            return split_linear(*args, **(kwargs or {}))


@contextmanager
def _tf32_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@cache
def _has_tf32(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= _FIRST_WITH_TF32
