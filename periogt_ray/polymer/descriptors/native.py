"""All 1613 descriptors of a molecule from its arrays."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rdkit import Chem
from threadpoolctl import LibController, ThreadpoolController

from periogt_ray.polymer.descriptors.autocorrelation import autocorrelations, constitutional
from periogt_ray.polymer.descriptors.columns import assemble
from periogt_ray.polymer.descriptors.composition import composition_descriptors, surface_areas
from periogt_ray.polymer.descriptors.distances import component_distances, components, topological_distances
from periogt_ray.polymer.descriptors.estate import estate_descriptors
from periogt_ray.polymer.descriptors.eta import eta_indices
from periogt_ray.polymer.descriptors.extremes import elimination_plan
from periogt_ray.polymer.descriptors.fragments import fragment_descriptors
from periogt_ray.polymer.descriptors.information import bertz_complexity, information_contents
from periogt_ray.polymer.descriptors.molecule import MoleculeArrays, extract
from periogt_ray.polymer.descriptors.path_spectra import total_length
from periogt_ray.polymer.descriptors.pattern_sums import PatternSums, pattern_sums
from periogt_ray.polymer.descriptors.rings import ring_descriptors
from periogt_ray.polymer.descriptors.simple_paths import SimplePaths, molecular_ids
from periogt_ray.polymer.descriptors.spectra import adjacency_spectrum, burden_extremes, path_spectra
from periogt_ray.polymer.descriptors.topology import topology_descriptors
from periogt_ray.polymer.descriptors.weights import (
    FIRST_ELEMENT,
    SIGMA,
    VALENCE,
    atom_weights,
    carbon_weights,
    full_weights,
)
from periogt_ray.polymer.interrupts import undisturbed

__all__ = ["native_descriptors"]

_TRACE = 6  # attribute of a matrix that is left out where it is always zero


@undisturbed
def native_descriptors(mol: Chem.Mol, *, sums: PatternSums | None = None) -> np.ndarray:
    """Return the 2D descriptors, NaN where one does not exist.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitized, without explicit hydrogen; it is not modified.
    sums : PatternSums, optional
        Sums over the molecule's patterns, if they are known.

    Returns
    -------
    numpy.ndarray
        float64 [1613], in the order of :func:`periogt_ray.polymer.descriptors.columns.column_names`.

    Raises
    ------
    ValidationError
        If the molecule is over one of the bounds on size, or has several fragments.
    """
    with _one_blas_thread():
        arrays = extract(mol)
        return assemble(_all_blocks(arrays, pattern_sums(arrays.mol) if sums is None else sums))


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread: the last digits of its results depend on their number.

    That is a setting of the process, so only one thread at a time may be within. threadpoolctl's own
    limits do nothing in a thread while another one has set some; ours have to hold in any.
    """
    with _alone():
        libraries = _blas_libraries()
        before = [library.get_num_threads() for library in libraries]
        try:
            for library in libraries:
                _set_threads(library, 1)
            yield
        finally:
            for library, n_threads in zip(libraries, before, strict=True):
                _set_threads(library, n_threads)


@functools.cache
def _alone() -> threading.Lock:
    return threading.Lock()


@functools.cache
def _blas_libraries() -> tuple[LibController, ...]:
    return tuple(library for library in ThreadpoolController().lib_controllers if library.user_api == "blas")


def _set_threads(library: LibController, n_threads: int) -> None:
    # In newer releases of threadpoolctl the public method heeds which thread came first.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(n_threads)


def _all_blocks(arrays: MoleculeArrays, sums: PatternSums) -> dict[str, np.ndarray | list[float]]:
    distances = topological_distances(arrays.graph)
    weights = atom_weights(arrays)
    all_weights = full_weights(arrays, weights)
    estate = estate_descriptors(arrays, distances)
    return {
        **topology_descriptors(arrays, distances),
        **composition_descriptors(arrays, all_weights[0], sums),
        **ring_descriptors(arrays),
        **fragment_descriptors(arrays, np.ascontiguousarray(weights[[SIGMA, VALENCE]])),
        **autocorrelations(arrays, all_weights),
        **constitutional(all_weights),
        **_component_blocks(arrays, weights),
        "estate": estate["estate"],
        "surface": surface_areas(arrays, sums, estate),
        "eta": eta_indices(arrays, distances),
        "information": information_contents(arrays),
        "bertz": [bertz_complexity(arrays)],
    }


def _component_blocks(arrays: MoleculeArrays, weights: np.ndarray) -> dict[str, np.ndarray]:
    parts, plan = components(arrays.graph), elimination_plan(arrays.graph)
    paths = SimplePaths(arrays.graph, parts)
    shortest = component_distances(arrays.graph, parts, np.ones((1, len(arrays.begin))))
    lengths = np.concatenate([shortest, paths.longest[None]])
    (topological, longest), barysz = path_spectra(arrays, parts, lengths, weights[FIRST_ELEMENT:], carbon_weights())
    return {
        "adjacency": np.delete(adjacency_spectrum(arrays, plan), _TRACE),
        "distance": np.delete(topological, _TRACE),
        "barysz": barysz.ravel(),
        "bcut": burden_extremes(arrays, plan, weights).ravel(),
        "molecular_id": molecular_ids(arrays, paths),
        "detour": np.append(longest, 0.5 * total_length(parts, paths.longest, arrays.n_atoms)),
    }
