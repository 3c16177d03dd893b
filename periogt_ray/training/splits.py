"""Who is trained on, who chooses the epoch, who is held out: by polymer, never by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, NamedTuple

import numpy as np

from periogt_ray.errors import ValidationError
from periogt_ray.training.trainer import Rows

__all__ = ["Fold", "SplitPlan", "cluster_of", "make_plan"]

SplitKind = Literal["random", "cluster"]
_FEW, _SOME = 50, 200  # polymers below which there are repeated folds, and no held-out test
_VALIDATION_SHARE = 0.1
_AUTHORS = (0.72, 0.8)  # ends of train and val
_SIMILAR = 0.4  # Tanimoto similarity within a cluster; at 0.6, 374 of 382 polymers were clusters of their own
_MOST_FOR_COUNTS = 20_000  # polymers, all pairs of which are compared in half a minute


class Fold(NamedTuple):
    """One network: what it learns from, what chooses its epoch, and what it is asked about afterwards.

    Attributes
    ----------
    name : str
        Of its files.
    rows : Rows
        Polymers by position.
    held_out : tuple of int
        Polymers that it has not seen and that no other network of its round is asked about.
    """

    name: str
    rows: Rows
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class SplitPlan:
    """How the polymers are divided.

    Attributes
    ----------
    folds : tuple of Fold
        The networks; each round of them holds out every polymer that is not tested once.
    test : tuple of int
        Polymers that no network learns from.
    calibration : tuple of int
        Polymers whose residuals make the intervals, where they are not those of the folds.
    note : str
        What was done, in words.
    """

    folds: tuple[Fold, ...]
    test: tuple[int, ...]
    calibration: tuple[int, ...] = ()
    note: str = ""

    @property
    def known(self) -> tuple[int, ...]:
        """Polymers that some network learns from or is validated on, ascending."""
        return tuple(sorted({i for fold in self.folds for part in fold.rows for i in part}))


def make_plan(
    keys: Sequence[str],
    *,
    seed: int,
    n_folds: int = 5,
    n_rounds: int | None = None,
    test_share: float = 0.2,
    parts: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
    is_authors: bool = False,
) -> SplitPlan:
    """Divide polymers.

    The place of a polymer follows from the seed and its own key. So in a set of 200 polymers or more, adding some moves
    no other. Smaller sets are dealt out evenly.

    Parameters
    ----------
    keys : sequence of str
        Of the polymers, n different ones.
    seed : int
        Of the division.
    n_folds, n_rounds : int
        Folds of a round, and rounds; None: two rounds below 200 polymers, else one.
    test_share : float
        Held out, from 200 polymers on.
    parts : sequence of str, optional
        The user's own parts by polymer: train, val, test, calibration.
    groups : sequence of int, optional
        Polymers of one group stay together; None: each is its own.
    is_authors : bool
        One network with 72 % to learn from, 8 % to choose the epoch and 20 % to test, or the user's own parts.

    Raises
    ------
    ValidationError
        The user's parts leave nothing to learn from, or the authors' recipe nothing to choose the epoch by.

    Examples
    --------
    >>> plan = make_plan([f"*{'C' * n}O*" for n in range(300)], seed=0)
    >>> len(plan.folds), len(plan.known) + len(plan.test)
    (5, 300)
    """
    n = len(keys)
    if parts is not None and any(parts):
        return _of_parts(keys, parts, seed, n_folds, n_rounds) if not is_authors else _of_authors_parts(parts)
    names = keys if groups is None else [f"group {group}" for group in groups]
    if is_authors:
        place = _ranks(names, seed, "authors")
        ends = [int(share * n) for share in _AUTHORS]
        train, val, test = (tuple(np.flatnonzero((place >= a) & (place < b)).tolist()) for a, b in _spans(ends, n))
        return SplitPlan((Fold("member-0", Rows(train, val), ()),), test, val, "72/8/20, as the authors do")
    is_tested = _positions(names, seed, "test") < (test_share if n >= _SOME else 0.0)
    test = tuple(np.flatnonzero(is_tested).tolist())
    others = np.flatnonzero(~is_tested)
    rounds = n_rounds or (2 if n < _SOME else 1)
    folds = _folds(names, others, seed, n_folds, rounds, keys=keys)
    note = f"{test_share:.0%} held out, {n_folds} folds" if test else f"no held-out test, {rounds} x {n_folds} folds"
    return SplitPlan(tuple(folds), test, (), note)


def _spans(ends: Sequence[int], n: int) -> list[tuple[int, int]]:
    return list(zip([0, *ends], [*ends, n], strict=True))


def _by_part(parts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the polymers of the parts train, val, test and calibration."""
    return [
        tuple(i for i, part in enumerate(parts) if part == name) for name in ("train", "val", "test", "calibration")
    ]


def _of_authors_parts(parts: Sequence[str]) -> SplitPlan:
    """Train one network on the user's own division, as PerioGT's authors do on theirs."""
    train, val, test, calibration = _by_part(parts)
    if not train or not val:
        raise ValidationError(
            f"The column of parts leaves {len(train)} polymers in the part train and {len(val)} in the part val; "
            "--recipe authors needs both: its network learns from train, and val chooses the epoch. Mark rows as val, "
            "or leave --recipe out."
        )
    return SplitPlan((Fold("member-0", Rows(train, val), ()),), test, calibration or val, "own parts, one network")


def _of_parts(keys: Sequence[str], parts: Sequence[str], seed: int, n_folds: int, n_rounds: int | None) -> SplitPlan:
    """Follow the user's own division."""
    train, val, test, calibration = _by_part(parts)
    if len(train) < 2 * n_folds:
        raise ValidationError(
            f"The column of parts leaves {len(train)} polymers in the part train; expected at least {2 * n_folds}."
        )
    if val:
        folds = [Fold(f"member-{k}", Rows(train, val), ()) for k in range(n_folds * (n_rounds or 1))]
        note = "own parts; the networks differ by their seeds"
        return SplitPlan(tuple(folds), test, calibration or val, note)
    folds = _folds(keys, np.array(train), seed, n_folds, n_rounds or 1, keys=keys)
    return SplitPlan(tuple(folds), test, calibration, f"own test, {n_folds} folds of the rest")


def _folds(
    names: Sequence[str], chosen: np.ndarray, seed: int, n_folds: int, n_rounds: int, *, keys: Sequence[str]
) -> list[Fold]:
    found = []
    for number in range(n_rounds):
        of_fold = _dealt([names[i] for i in chosen], seed, f"folds {number}", n_folds)
        for k in range(n_folds):
            held_out, learned = chosen[of_fold == k], chosen[of_fold != k]
            learned_names = [names[i] for i in learned]
            n_parts = round(1 / _VALIDATION_SHARE)
            if len(set(learned_names)) < n_parts:  # so few groups that the parts would be very unequal, or empty
                learned_names = [keys[i] for i in learned]
            of_part = _dealt(learned_names, seed, f"validation {number} {k}", n_parts)
            rows = Rows(tuple(learned[of_part != 0].tolist()), tuple(learned[of_part == 0].tolist()))
            found.append(Fold(f"member-{number * n_folds + k}", rows, tuple(held_out.tolist())))
    return found


def _positions(names: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    """Return a number from 0 to 1 for each name, which follows from it, the seed and the purpose."""
    digests = (sha256(f"{seed}|{purpose}|{name}".encode()).digest()[:8] for name in names)
    return np.array([int.from_bytes(digest, "big") / 2**64 for digest in digests])


def _ranks(names: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    return np.argsort(np.argsort(_positions(names, seed, purpose), kind="stable"), kind="stable")


def _dealt(names: Sequence[str], seed: int, purpose: str, n_parts: int) -> np.ndarray:
    """Return the part of each name, equal names in one; evenly where there are few names."""
    different = list(dict.fromkeys(names))
    if len(names) >= _SOME and len(different) == len(names):
        of_name = (_positions(different, seed, purpose) * n_parts).astype(int)
    else:
        of_name = _filled(different, names, seed, purpose, n_parts)
    place = dict(zip(different, of_name.tolist(), strict=True))
    return np.array([place[name] for name in names])


def _filled(different: Sequence[str], names: Sequence[str], seed: int, purpose: str, n_parts: int) -> np.ndarray:
    """Put one name after the other, the largest groups first, into the part that holds the fewest polymers."""
    sizes = dict.fromkeys(different, 0)
    for name in names:
        sizes[name] += 1
    position = _positions(different, seed, purpose)
    order = sorted(range(len(different)), key=lambda i: (-sizes[different[i]], position[i]))
    held = np.zeros(n_parts)
    found = np.empty(len(different), int)
    for i in order:
        found[i] = int(np.argmin(held))
        held[found[i]] += sizes[different[i]]
    return found


def cluster_of(fingerprints: np.ndarray, keys: Sequence[str], *, seed: int) -> np.ndarray:
    """Return the cluster of each polymer (Butina, J. Chem. Inf. Comput. Sci. 39, 747, 1999).

    A cluster is a polymer and all others of a Tanimoto similarity of 0.4 or more that are in no cluster yet. Polymers
    with the most neighbours are first, among equals in an order of the seed; of very many polymers, all in that order.

    Parameters
    ----------
    fingerprints : numpy.ndarray
        uint8 [n, 1191] of 0 and 1.
    keys : sequence of str
        Of the polymers.
    seed : int
        Of the order.

    Returns
    -------
    numpy.ndarray
        int [n].
    """
    bits = fingerprints.astype(np.float32)
    sizes = bits.sum(axis=1)

    def neighbours(i: int | slice) -> np.ndarray:
        common = bits[i] @ bits.T
        total = sizes[i, None] + sizes - common if isinstance(i, slice) else sizes[i] + sizes - common
        return common >= _SIMILAR * np.maximum(total, 1)

    order = _positions(keys, seed, "clusters")
    n_neighbours = _counts(neighbours, len(bits)) if len(bits) <= _MOST_FOR_COUNTS else np.zeros(len(bits))
    found = np.full(len(bits), -1)
    n_clusters = 0
    for i in np.lexsort((order, -n_neighbours)):
        if found[i] < 0:
            found[neighbours(int(i)) & (found < 0)] = n_clusters
            found[i] = n_clusters
            n_clusters += 1
    return found


def _counts(neighbours: Callable[[slice], np.ndarray], n: int) -> np.ndarray:
    return np.concatenate([neighbours(slice(start, start + 512)).sum(axis=1) for start in range(0, n, 512)])
