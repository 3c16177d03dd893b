"""Features of polymers already seen, in a directory that outlives a service or a batch.

::

    <directory>/segments/<version of the features>/    segments: many polymers a file, 64 MB each (polymer/segments.py)

An entry is found by the SHA-256 of version, scheme and polymer. One that is damaged counts as absent. Several
processes, on several nodes, may share the directory: each writes segments of its own and reads all. That needs no lock
of the file system and no database: neither is safe on network file systems with several writers. Small segments are
made one, and the least recently used ones removed when all are beyond the maximum, by whoever notices
(polymer/compaction.py).
"""

import atexit
import logging
import re
import threading
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import rdkit

from periogt_ray.polymer.compaction import compact, trim
from periogt_ray.polymer.descriptors import DescriptorEngine
from periogt_ray.polymer.dimensions import FEATURE_VERSION
from periogt_ray.polymer.features import FeaturizedPolymer, computed_unit, featurize
from periogt_ray.polymer.packed_features import packed, unpacked
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.polymer.segments import SegmentIndex, SegmentWriter, segments_in
from periogt_ray.runtime.files import PRIVATE_DIRECTORY_MODE, make_directory
from periogt_ray.runtime.record_file import KEY_BYTES
from periogt_ray.settings import Settings

__all__ = ["FeatureStore", "StoreFacts", "featurized", "older_features"]

logger = logging.getLogger(__name__)

_SEGMENTS = "segments"
_SEGMENT_BYTES = 64 << 20
_SEGMENTS_OF_SMALL_STORE = 16  # so that what is removed is a small part of it
_LOOK_SHARE = 0.01  # of the maximum; so much a process writes before it looks at the size of all
_OLDER_FORM = re.compile(r"v\d+-.+-rdkit.+")  # directories of a store with a file a polymer


def featurized(unit: RepeatUnit, scheme: PromptScheme, settings: Settings) -> tuple[FeaturizedPolymer, bool]:
    """Return the features of a polymer, and whether they were in the store that the settings name, if any.

    Raises
    ------
    ValidationError
        As :func:`~periogt_ray.polymer.features.featurize`.
    """
    if settings.feature_store is None:
        return featurize(unit, scheme, engine=settings.descriptor_engine), False
    store = _store_of_process(settings.feature_store, settings.feature_store_bytes)
    return store.featurize(unit, scheme, engine=settings.descriptor_engine)


@cache
def _store_of_process(directory: Path, max_bytes: int) -> "FeatureStore":
    """Return the store, one for all of a process, because it has a segment of its own; sealed when that ends."""
    store = FeatureStore(directory, max_bytes)
    if older := older_features(directory):
        logger.warning("%s. %s", *older)
    atexit.register(store.close)
    return store


def older_features(directory: Path) -> tuple[str, str] | None:
    """Return a message and a remedy if there are features of an earlier version, else None."""
    found = sorted(str(path) for path in directory.glob("v*-rdkit*") if _OLDER_FORM.fullmatch(path.name))
    if not found:
        return None
    message = f"{directory} also contains features of an earlier version, one file for each polymer, which are not used"
    return message, f"To free their space: rm -r {' '.join(found)}"


class StoreFacts(NamedTuple):
    """What is in a store, of the present version of the features."""

    n_entries: int
    n_files: int
    n_bytes: int


class FeatureStore:
    """Features in a directory; may be used by several threads.

    Parameters
    ----------
    directory : pathlib.Path
        Where they are; exists.
    max_bytes : int
        Size beyond which segments are removed; processes that write together may exceed it by a hundredth each.
    segment_bytes : int, optional
        Size of a segment.

    Attributes
    ----------
    directory : pathlib.Path
        As given.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     store = FeatureStore(Path(directory), 1 << 30)
    ...     unit = RepeatUnit.parse("*CC*")
    ...     [store.featurize(unit, PromptScheme.MONOMER, engine="native")[1] for _ in range(2)]
    [False, True]
    """

    def __init__(self, directory: Path, max_bytes: int, *, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max(1, max_bytes // _SEGMENTS_OF_SMALL_STORE))
        self._versions: dict[DescriptorEngine, _Version] = {}
        self._n_unlooked = _LOOK_SHARE * max_bytes  # so that the first entry looks at what is there
        self._is_broken = False
        self._lock = threading.RLock()

    def featurize(
        self, unit: RepeatUnit, scheme: PromptScheme, *, engine: DescriptorEngine
    ) -> tuple[FeaturizedPolymer, bool]:
        """Return the features of a polymer, and whether they were there; else compute and keep them.

        Raises
        ------
        ValidationError
            As :func:`~periogt_ray.polymer.features.featurize`; such a polymer leaves no entry.
        """
        unit = computed_unit(unit, scheme)
        polymer = self._get(unit.smiles, scheme, engine)
        if polymer is not None:
            return polymer, True
        polymer = featurize(unit, scheme, engine=engine)
        self.keep(unit.smiles, scheme, packed(polymer), engine=engine)
        return polymer, False

    def has(self, unit: RepeatUnit, scheme: PromptScheme, *, engine: DescriptorEngine) -> bool:
        """Whether the features of a polymer are there; does not read them."""
        smiles = computed_unit(unit, scheme).smiles
        with self._lock:
            version = self._version(engine)
            return version.index.has(version.key(smiles, scheme))

    def keep(self, smiles: str, scheme: PromptScheme, content: bytes, *, engine: DescriptorEngine) -> bool:
        """Keep packed features; return whether that was possible.

        A store that cannot be written costs time, not predictions.

        Parameters
        ----------
        smiles : str
            Of the unit whose features were computed.
        scheme, engine : PromptScheme, str
            They depend on.
        content : bytes
            What :func:`~periogt_ray.polymer.packed_features.packed` returned.
        """
        with self._lock:
            version = self._version(engine)
            try:
                version.append(version.key(smiles, scheme), content, segment_bytes=self._segment_bytes)
                self._n_unlooked += len(content)
                if self._n_unlooked > _LOOK_SHARE * self._max_bytes:
                    self._n_unlooked = 0.0
                    self.tidy(engine=engine)
            except OSError as error:
                self._say_broken(error)
                return False
            return True

    def tidy(self, *, engine: DescriptorEngine, least: int = 16) -> None:
        """Make small segments one, if there are at least so many, and remove the least recently used ones.

        Raises
        ------
        OSError
            If the directory cannot be written.
        """
        directory = self._version(engine).directory
        make_directory(directory, mode=PRIVATE_DIRECTORY_MODE)
        compact(directory, segment_bytes=self._segment_bytes, least=least)
        all_versions = [directory, *(path for path in directory.parent.iterdir() if path != directory)]
        if n_removed := trim(all_versions, max_bytes=self._max_bytes):
            logger.info("%s: %d segments of the least recently used features are removed.", self.directory, n_removed)

    def facts(self, *, engine: DescriptorEngine) -> StoreFacts:
        """Return what is in the store."""
        with self._lock:
            version = self._version(engine)
            version.index.look(is_forced=True)
            found = segments_in(version.directory)
            return StoreFacts(len(version.index), len(found), sum(one.n_bytes for one in found))

    def close(self) -> None:
        """Seal what this process has written, so that others read it quickly."""
        with self._lock:
            for version in self._versions.values():
                try:
                    version.close()
                except OSError as error:  # without its index a segment is read entry by entry
                    self._say_broken(error)
            self._versions = {}

    def _say_broken(self, error: OSError) -> None:
        if not self._is_broken:
            logger.warning("Features cannot be saved in %s: %s.", self.directory, error.strerror)
        self._is_broken = True

    def _version(self, engine: DescriptorEngine) -> "_Version":
        if engine not in self._versions:
            self._versions[engine] = _Version(self.directory, engine)
        return self._versions[engine]

    def _get(self, smiles: str, scheme: PromptScheme, engine: DescriptorEngine) -> FeaturizedPolymer | None:
        try:
            with self._lock:
                version = self._version(engine)
                content = version.index.find(version.key(smiles, scheme))
            return None if content is None else unpacked(content, smiles, scheme)
        except (OSError, ValueError) as error:
            logger.warning(
                "The stored features of %s in %s cannot be read and are computed again: %s",
                smiles,
                self.directory,
                error,
            )
            return None


class _Version:
    """The entries of one version of the features, and the segment of this process among them."""

    def __init__(self, root: Path, engine: DescriptorEngine) -> None:
        self._name = f"v{FEATURE_VERSION}-{engine}-rdkit{rdkit.__version__}"
        self.directory = root / _SEGMENTS / self._name
        self.index = SegmentIndex(self.directory)
        self._writer: SegmentWriter | None = None

    def key(self, smiles: str, scheme: PromptScheme) -> bytes:
        return sha256(f"{self._name} {scheme.name} {smiles}".encode()).digest()[:KEY_BYTES]

    def append(self, key: bytes, content: bytes, *, segment_bytes: int) -> None:
        """Append an entry; OSError if that cannot be done."""
        if self._writer is not None and (not self._writer.is_usable or self._writer.n_bytes >= segment_bytes):
            self._seal()
        if self._writer is None:
            make_directory(self.directory, mode=PRIVATE_DIRECTORY_MODE)
            self._writer = SegmentWriter(self.directory)
        self.index.note(self._writer.path, self._writer.append(key, content))

    def close(self) -> None:
        try:
            self._seal()
        finally:
            self.index.close()

    def _seal(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.seal()
