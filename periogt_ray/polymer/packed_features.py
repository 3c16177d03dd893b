"""Features of a polymer as bytes: what the feature store keeps, and what processes hand to its writer.

::

    4 bytes, length of the content; then the content, compressed by zstd:
        int32 [2 + 4 G + O]   G, O; of each prompt graph repeat units, atoms, triplets, edges; of each oligomer its n
        one array a field, the graphs and the oligomers one behind the other

An array is stored in the narrowest type that holds its values. Features of atoms and bonds repeat in all graphs: of
those a table of the distinct rows, and an index. Edges are not stored, because they are the ends of the paths. The
bytes of descriptors are regrouped by their place in the number, with the same descriptor of all oligomers side by side;
zstd packs that best. What is read is equal to the bit to what was written.
"""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from periogt_ray.polymer.dimensions import (
    N_ATOM_FEATURES,
    N_BOND_FEATURES,
    N_DESCRIPTORS,
    N_FINGERPRINT_BITS,
    PATH_LENGTH,
)
from periogt_ray.polymer.features import FeaturizedPolymer, OligomerFeatures
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.triplet_graph import TripletGraph

__all__ = ["packed", "unpacked"]

# Level 9 leaves 4 % fewer bytes and takes four times as long.
_LEVEL = 3
_MOST_BYTES = 1 << 30  # of one polymer; a damaged length must not fill the memory
_SIGNED = tuple(np.dtype(name) for name in ("<i1", "<i2", "<i4"))
_UNSIGNED = tuple(np.dtype(name) for name in ("<u1", "<u2", "<u4"))


def packed(polymer: FeaturizedPolymer) -> bytes:
    """Return the features of a polymer as bytes.

    Examples
    --------
    >>> from periogt_ray.polymer.features import featurize
    >>> from periogt_ray.polymer.repeat_unit import RepeatUnit
    >>> polymer = featurize(RepeatUnit.parse("*CC*"), PromptScheme.MONOMER)
    >>> unpacked(packed(polymer), polymer.smiles, PromptScheme.MONOMER).n_triplets == polymer.n_triplets
    True
    """
    graphs, oligomers = polymer.graphs, polymer.oligomers
    shapes = [
        (n_units, len(graph.atom_features), graph.n_triplets, len(graph.paths))
        for n_units, graph in zip(polymer.n_units, graphs, strict=True)
    ]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(graph, name) for graph in graphs])

    numbers = [len(graphs), len(oligomers), *(number for shape in shapes for number in shape), *oligomers]
    fingerprints = np.stack([features.fingerprint for features in oligomers.values()])
    content = b"".join(
        (
            np.array(numbers, "<i4").tobytes(),
            _distinct(joined("atom_features")),
            _narrow(joined("triplet_atoms")),
            _distinct(joined("bond_features")),
            _narrow(joined("node_kind")),
            _narrow(joined("bond_class")),
            _narrow(joined("edge_kind")),
            _narrow(joined("paths")),
            np.packbits(fingerprints, axis=1).tobytes(),
            _regrouped(np.stack([features.descriptors for features in oligomers.values()])),
        )
    )
    return len(content).to_bytes(4, "little") + bytes(_codec().compress(content, asbytes=True))


def unpacked(content: bytes, smiles: str, scheme: PromptScheme) -> FeaturizedPolymer:
    """Return the polymer that :func:`packed` was given.

    Parameters
    ----------
    content : bytes
        What it returned.
    smiles, scheme : str, PromptScheme
        Of the polymer; they are not in the content.

    Raises
    ------
    ValueError
        If the content is nothing that :func:`packed` returns.
    """
    reader = _Reader(_decompressed(content))
    n_graphs, n_oligomers = reader.numbers(2).tolist()
    n_units, n_atoms, n_triplets, n_edges = reader.numbers(4 * n_graphs).reshape(n_graphs, 4).T.tolist()
    sizes = reader.numbers(n_oligomers).tolist()
    fields = {
        "atom_features": _split(reader.distinct(sum(n_atoms), N_ATOM_FEATURES), n_atoms),
        "triplet_atoms": _split(np.ascontiguousarray(reader.narrow(sum(n_triplets), 2).T), n_triplets),
        "bond_features": _split(reader.distinct(sum(n_triplets), N_BOND_FEATURES), n_triplets),
        "node_kind": _split(reader.narrow(sum(n_triplets), 1).ravel().astype(np.int8), n_triplets),
        "bond_class": _split(reader.narrow(sum(n_triplets), 1).ravel(), n_triplets),
        "edge_kind": _split(reader.narrow(sum(n_edges), 1).ravel().astype(np.int8), n_edges),
    }
    paths = reader.narrow(sum(n_edges), PATH_LENGTH)
    fields["paths"] = _split(np.ascontiguousarray(paths.T), n_edges)
    fields["edges"] = [np.ascontiguousarray(ends.T) for ends in _split(paths[[0, -1]].T, n_edges)]
    columns = [fields[name] for name in TripletGraph._fields]
    fingerprints, descriptors = reader.fingerprints(n_oligomers), reader.descriptors(n_oligomers)
    return FeaturizedPolymer(
        smiles=smiles,
        scheme=scheme,
        graphs=tuple(map(TripletGraph, *columns)),
        n_units=tuple(n_units),
        oligomers=dict(zip(sizes, map(OligomerFeatures, fingerprints, descriptors), strict=True)),
    )


class _Reader:
    """Takes arrays from a content, one behind the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def _array(self, dtype: Any, count: int) -> np.ndarray:
        if count < 0:
            raise ValueError("a number of entries is negative")
        found = np.frombuffer(self._content, dtype, count, self._place)  # ValueError beyond the end
        self._place += found.nbytes
        return found

    def numbers(self, count: int) -> np.ndarray:
        return self._array("<i4", count)

    def narrow(self, n_rows: int, n_columns: int) -> np.ndarray:
        """Return int32 [n_columns, n_rows]."""
        dtype = _SIGNED[self._choice()]
        return self._array(dtype, n_rows * n_columns).reshape(n_columns, n_rows).astype(np.int32)

    def distinct(self, n_rows: int, n_columns: int) -> np.ndarray:
        """Return float32 [n_rows, n_columns]."""
        dtype = _UNSIGNED[self._choice()]
        [n_distinct] = self.numbers(1).tolist()
        table = self._array("<f4", n_distinct * n_columns).reshape(n_distinct, n_columns)
        try:
            return table[self._array(dtype, n_rows)]
        except IndexError as error:
            raise ValueError("an index is beyond its table") from error

    def fingerprints(self, n_rows: int) -> np.ndarray:
        """Return uint8 [n_rows, 1191]."""
        n_bytes = -(-N_FINGERPRINT_BITS // 8)
        bits = self._array(np.uint8, n_rows * n_bytes).reshape(n_rows, n_bytes)
        return np.unpackbits(bits, axis=1, count=N_FINGERPRINT_BITS)

    def descriptors(self, n_rows: int) -> np.ndarray:
        """Return float32 [n_rows, 1613]."""
        groups = self._array(np.uint8, 4 * n_rows * N_DESCRIPTORS).reshape(4, N_DESCRIPTORS * n_rows)
        values = np.ascontiguousarray(groups.T).view("<f4").reshape(N_DESCRIPTORS, n_rows)
        return np.ascontiguousarray(values.T)

    def _choice(self) -> int:
        [choice] = self._array(np.uint8, 1).tolist()
        if choice >= len(_SIGNED):
            raise ValueError("there is no such type")
        return int(choice)


def _narrow(array: np.ndarray) -> bytes:
    """Return integers, a column behind the other, in the narrowest type that holds them."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    choice = next(i for i, dtype in enumerate(_SIGNED) if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)
    return bytes([choice]) + np.ascontiguousarray(array.T).astype(_SIGNED[choice]).tobytes()


def _distinct(array: np.ndarray) -> bytes:
    """Return float32 rows as a table of the distinct ones and an index; by their bits, so that -0 stays."""
    rows = np.ascontiguousarray(array.astype("<f4"))
    whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, index = np.unique(whole, return_index=True, return_inverse=True)
    choice = next(i for i, dtype in enumerate(_UNSIGNED) if len(first) - 1 <= np.iinfo(dtype).max)
    head = bytes([choice]) + np.array([len(first)], "<i4").tobytes()
    return head + rows[first].tobytes() + index.astype(_UNSIGNED[choice]).tobytes()


def _regrouped(descriptors: np.ndarray) -> bytes:
    groups = np.ascontiguousarray(descriptors.T.astype("<f4")).view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(groups.T).tobytes()


def _split(array: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    ends = list(accumulate(counts))
    return [array[end - count : end] for count, end in zip(counts, ends, strict=True)]


def _decompressed(content: bytes) -> bytes:
    n_bytes = int.from_bytes(content[:4], "little")
    if len(content) < 4 or n_bytes > _MOST_BYTES:
        raise ValueError("the content is cut, or has no length")
    try:
        return bytes(_codec().decompress(memoryview(content)[4:], decompressed_size=n_bytes, asbytes=True))
    except OSError as error:  # what pyarrow raises of bytes that zstd does not know
        raise ValueError(str(error)) from error


@cache
def _codec() -> Any:
    import pyarrow as pa  # here, because a process without a store does not need it

    return pa.Codec("zstd", compression_level=_LEVEL)
