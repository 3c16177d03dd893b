"""Features of polymers already seen, in a directory that outlives a service or a batch.

::

    <directory>/<version of the features>/<2 digits>/<SHA-256 of polymer and scheme>

A file holds the arrays of one polymer as safetensors, deflated. Files appear whole; one that does not
read back, or is another polymer's, counts as absent. Several processes, on several nodes, may share the
directory: the least recently used files go when it has grown beyond its bound, by whoever notices.
"""

import logging
import os
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import filelock
import numpy as np
import rdkit
from safetensors import SafetensorError
from safetensors.numpy import load, save

from periogt_ray.polymer.descriptors import DescriptorEngine
from periogt_ray.polymer.dimensions import FEATURE_VERSION
from periogt_ray.polymer.features import FeaturizedPolymer, OligomerFeatures, computed_unit, featurize
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.triplet_graph import TripletGraph
from periogt_ray.runtime.files import PRIVATE_MODE, write_bytes_atomically
from periogt_ray.settings import Settings

__all__ = ["FeatureFiles", "featurized"]

logger = logging.getLogger(__name__)

_LOCK = ".lock"
_KEY = "key"  # an array of its own, the key's text as bytes
_UNITS = "n_units"
# Deflating takes a hundredth of the time of featurizing, and leaves a tenth of the bytes.
_LEVEL = 1
_TOUCH_AFTER_S = 3600.0  # a network file system is spared a write for every read
_KEPT_SHARE = 0.9  # of the bound, so that not every file calls for a look at all of them
_LOOK_SHARE = 0.01


def featurized(unit: RepeatUnit, scheme: PromptScheme, settings: Settings) -> tuple[FeaturizedPolymer, bool]:
    """Return the features of a polymer, and whether they were in the directory that the settings name, if any.

    Raises
    ------
    ValidationError
        As :func:`~periogt_ray.polymer.features.featurize`.
    """
    if settings.feature_store is None:
        return featurize(unit, scheme, engine=settings.descriptor_engine), False
    files = _files_of_process(settings.feature_store, settings.feature_store_bytes)
    return files.featurize(unit, scheme, engine=settings.descriptor_engine)


@cache
def _files_of_process(directory: Path, max_bytes: int) -> "FeatureFiles":
    return FeatureFiles(directory, max_bytes)  # one, because it counts what it has written


@dataclass
class _Count:
    n_bytes: int
    is_broken: bool = False


class FeatureFiles:
    """Features in a directory.

    Parameters
    ----------
    directory : pathlib.Path
        Where they are; exists.
    max_bytes : int
        Size beyond which files go; processes that write together may exceed it by a hundredth each.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._written = _Count(max_bytes)  # so that the first file looks at what is there

    def featurize(
        self, unit: RepeatUnit, scheme: PromptScheme, *, engine: DescriptorEngine
    ) -> tuple[FeaturizedPolymer, bool]:
        """Return the features of a polymer, and whether they were there; else compute and keep them.

        Raises
        ------
        ValidationError
            As :func:`~periogt_ray.polymer.features.featurize`; such a polymer leaves no file.
        """
        unit = computed_unit(unit, scheme)
        path, key = self._place(unit.smiles, scheme, engine)
        polymer = _read(path, key, unit.smiles, scheme)
        if polymer is not None:
            return polymer, True
        polymer = featurize(unit, scheme, engine=engine)
        self._keep(path, _packed(polymer, key))
        return polymer, False

    def _place(self, smiles: str, scheme: PromptScheme, engine: DescriptorEngine) -> tuple[Path, bytes]:
        version = f"v{FEATURE_VERSION}-{engine}-rdkit{rdkit.__version__}"
        key = f"{version} {scheme.name} {smiles}".encode()
        name = sha256(key).hexdigest()
        return self._directory / version / name[:2] / name, key

    def _keep(self, path: Path, content: bytes) -> None:
        """Write a file; a directory that cannot be written costs time, not predictions."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced: what a power cut tears does not inflate, and is computed again.
            write_bytes_atomically(path, content, mode=PRIVATE_MODE, sync=False)
            self._written.n_bytes += len(content)
            if self._written.n_bytes > _LOOK_SHARE * self._max_bytes:
                self._written.n_bytes = 0
                self._trim()
        except OSError as error:
            if not self._written.is_broken:
                logger.warning("Features are not kept in %s: %s.", self._directory, error.strerror)
            self._written.is_broken = True

    def _trim(self) -> None:
        """Remove the least recently used files if all together are too large."""
        try:
            with filelock.FileLock(self._directory / _LOCK, timeout=0):
                found = [(status.st_mtime, status.st_size, path) for path, status in _files(self._directory)]
                size = sum(n_bytes for _, n_bytes, _ in found)
                if size <= self._max_bytes:
                    return
                for _, n_bytes, path in sorted(found):
                    path.unlink(missing_ok=True)
                    size -= n_bytes
                    if size <= _KEPT_SHARE * self._max_bytes:
                        return
        except filelock.Timeout:
            return  # another process is at it


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    """Return every file but the lock; what goes meanwhile is left out."""
    found = []
    for root, _, names in os.walk(directory):
        for name in names:
            path = Path(root, name)
            try:
                found.append((path, path.stat()))
            except FileNotFoundError:
                continue
    return [(path, status) for path, status in found if path != directory / _LOCK]


def _packed(polymer: FeaturizedPolymer, key: bytes) -> bytes:
    arrays = {_KEY: np.frombuffer(key, np.uint8), _UNITS: np.array(polymer.n_units, np.int64)}
    for number, graph in enumerate(polymer.graphs):
        arrays |= {f"graph.{number}.{name}": array for name, array in graph._asdict().items()}
    for n_units, features in polymer.oligomers.items():
        arrays |= {f"oligomer.{n_units}.{name}": array for name, array in features._asdict().items()}
    return zlib.compress(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}), _LEVEL)


def _read(path: Path, key: bytes, smiles: str, scheme: PromptScheme) -> FeaturizedPolymer | None:
    """Return the polymer of a file; None if there is no such file, or none that is whole and this polymer's."""
    try:
        content = path.read_bytes()
        if path.stat().st_mtime < time.time() - _TOUCH_AFTER_S:
            with suppress(PermissionError):
                os.utime(path)
        arrays = load(zlib.decompress(content))
        if arrays[_KEY].tobytes() != key:
            return None
        sizes = tuple(int(n_units) for n_units in arrays[_UNITS])
        return FeaturizedPolymer(
            smiles=smiles,
            scheme=scheme,
            graphs=tuple(
                TripletGraph(*(arrays[f"graph.{number}.{name}"] for name in TripletGraph._fields))
                for number in range(len(sizes))
            ),
            n_units=sizes,
            oligomers={
                n_units: OligomerFeatures(*(arrays[f"oligomer.{n_units}.{name}"] for name in OligomerFeatures._fields))
                for n_units in sorted(set(sizes))
            },
        )
    except FileNotFoundError:
        return None
    except (OSError, zlib.error, SafetensorError, KeyError) as error:
        logger.warning("%s is not read, and made anew: %s", path, error)
        return None
