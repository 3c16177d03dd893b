"""The same bits for the same rows, whatever is computed beside them.

A float32 product of one row changes in its last bit with the number of rows beside it: libraries choose
their kernels by shape, and some element-wise functions compute the last, incomplete vector of an array in another way.
So on a CPU, where answers are promised bit for bit, everything that could depend on a shape is
computed in parts that all have the same shape: rows in blocks of a fixed number, filled up with zeros,
and attention a graph at a time. Each part is computed by the same calls on buffers that start at a
multiple of 64 bytes, so nothing is left by which a library could choose. On a GPU and in training the
functions here compute everything at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = [
    "BLOCK_ROWS",
    "GRAPH_BLOCK_ROWS",
    "PROMPT_BLOCK_NODES",
    "THIN_BLOCK_ROWS",
    "by_blocks",
    "by_parts",
    "lay_out_weights",
]

# Measured on two cores with AVX-512 and MKL, compact and published sizes, products of 64 rows by weights laid out as
# below take 0.8 to 1.3 times as long as one product of all rows; 32 rows up to 1.6 times, and 128 rows are
# hardly faster and cost a lone polymer of 50 triplets twice as much.
BLOCK_ROWS = 64
# Of networks of a few columns (those of paths): a call's own cost is more than that of 64 rows. With 1024 rows, and 64
# of whole graphs, a lone polymer took 1.25 times as long (embedded model), many together as long.
THIN_BLOCK_ROWS = 256
GRAPH_BLOCK_ROWS = 16  # of networks over a row a graph, of which a lone polymer has one
PROMPT_BLOCK_NODES = 32  # nodes with 4 to 24 prompts each: as many rows
_ALIGNMENT_BYTES = 64
_FLOATS_PER_LINE = 16


def by_blocks(function: Callable[..., Tensor], *rows: Tensor, n_rows: int = BLOCK_ROWS) -> Tensor:
    """Apply a function of rows to blocks of equal shape.

    Parameters
    ----------
    function : callable
        Maps matrices of the same number of rows to one matrix of as many rows, each row by itself.
    *rows : Tensor
        float32 [N, ...], of the same N, which need not be a multiple of ``n_rows``.
    n_rows : int
        Rows of a block.

    Returns
    -------
    Tensor
        [N, ...].

    Examples
    --------
    >>> layer = nn.Linear(3, 5)
    >>> with torch.inference_mode():
    ...     by_blocks(layer, torch.zeros(100, 3)).shape
    torch.Size([100, 5])
    """
    n_total = len(rows[0])
    if not _promises_bits(rows[0]) or n_total == 0:
        return function(*rows)
    whole = [_whole_blocks(matrix, n_rows) for matrix in rows]
    return by_parts(function, *whole, n_rows=n_rows)[:n_total]


def by_parts(function: Callable[..., Tensor], *rows: Tensor, n_rows: int) -> Tensor:
    """Apply a function to parts of ``n_rows`` rows; like :func:`by_blocks` for a multiple of them."""
    if len(rows[0]) == n_rows or not _promises_bits(rows[0]):
        return function(*rows)
    return torch.cat([function(*part) for part in zip(*(torch.split(matrix, n_rows) for matrix in rows), strict=True)])


def lay_out_weights(network: nn.Module) -> None:
    """Store the weights of linear layers by column, each row of the product's right side on lines of its own.

    A product of few rows by such a weight is up to twice as fast, and the extra line keeps the rows of wide
    layers from falling on the same places of the processor's cache. Values and shapes stay.
    """
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.ndim != 2 or isinstance(module, nn.Embedding) or weight.device.type != "cpu":
                continue
            n_out, n_in = weight.shape
            n_padded = -(-n_out // _FLOATS_PER_LINE) * _FLOATS_PER_LINE + _FLOATS_PER_LINE
            columns = weight.new_zeros(n_in, n_padded)[:, :n_out]
            columns.copy_(weight.detach().t())
            setattr(module, name, nn.Parameter(columns.t(), requires_grad=weight.requires_grad))


def _promises_bits(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not torch.is_grad_enabled()


def _whole_blocks(matrix: Tensor, n_rows: int) -> Tensor:
    """Return the matrix, or a copy, of a multiple of ``n_rows`` rows that starts where a fresh buffer does."""
    missing = -len(matrix) % n_rows
    if missing:
        return torch.cat([matrix, matrix.new_zeros(missing, *matrix.shape[1:])])
    if not matrix.is_contiguous() or matrix.data_ptr() % _ALIGNMENT_BYTES:
        return matrix.clone(memory_format=torch.contiguous_format)
    return matrix
