"""calibration.npz beside a property's weights: what intervals and the domain of its answers follow from.

Polymers are kept as fingerprints and as coordinates in the embedding, never as SMILES: data sets are not ours to ship.
"""

import io
import json
import threading
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from periogt_ray.errors import ModelLoadError
from periogt_ray.runtime.files import FILE_MODE, write_bytes_atomically

__all__ = ["FINGERPRINT_BYTES", "Calibration", "CalibrationFacts", "calibration_path", "polymer_hash"]

FINGERPRINT_BYTES = 128  # of the 1024 Morgan bits
_NAME = "calibration.npz"
# numpy reads the headers of arrays with Python's parser, which in Python 3.11 can raise a SystemError where several
# threads use it at once, as requests for cards do.
_READING = threading.Lock()
_FORMAT = "periogt-calibration"
_VERSION = 1
_FACTS = "facts"  # JSON, as bytes
_DTYPES = {
    "fingerprints": np.uint8,
    "hashes": np.uint64,
    "is_training": np.bool_,
    "residuals": np.float32,
    "scales": np.float32,
    "coordinates": np.float16,
    "nearest_similarities": np.float32,
    "nearest_distances": np.float32,
    "center": np.float32,
    "projection": np.float32,
}


def polymer_hash(smiles: str) -> np.uint64:
    """Return the hash of a polymer by a text that it is known by."""
    return np.uint64(int.from_bytes(sha256(smiles.encode()).digest()[:8], "big"))


def calibration_path(property_id: str) -> str:
    """Return where a property's calibration is, relative to the artifact directory."""
    return f"finetuned_ckpt/{property_id}/{_NAME}"


@dataclass(frozen=True)
class CalibrationFacts:
    """The part of a calibration that is not an array.

    Attributes
    ----------
    property_id : str
        Whose.
    scale : str
        What a residual is divided by: ``constant``, ``neighbours`` or ``spread``.
    floor : float
        Added to every scale, in the property's unit, against vanishing widths.
    lowest, highest : float
        Range of the training labels, in the property's unit.
    elements : tuple of str
        Elements of the training polymers.
    charges : tuple of (str, int)
        Charged atoms of the training polymers, as element and charge.
    n_training, n_charged : int
        Training polymers, and those among them whose repeat unit has a net charge.
    reference : str
        What the domain is measured against, in words: ``training``, or ``calibration`` where the training polymers are
        not known.
    partners : tuple of int
        Of copolymers whose training polymers are kept as monomers: hashes of those of which every training copolymer
        has at least one. Otherwise empty.
    known_by : str
        Which text of a polymer its hash is of: ``chain``, or ``smiles`` in older files and for composites.
    report : dict
        What was measured: coverage, widths, interval scores, by kind of scale and split; and where the rows came from.
    """

    property_id: str
    scale: str
    floor: float
    lowest: float
    highest: float
    elements: tuple[str, ...]
    charges: tuple[tuple[str, int], ...]
    n_training: int
    n_charged: int
    reference: str = "training"
    partners: tuple[int, ...] = ()
    known_by: str = "smiles"
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """Known polymers of a property: N of them, in K coordinates of an embedding of width E.

    Attributes
    ----------
    facts : CalibrationFacts
        The rest.
    fingerprints : numpy.ndarray
        uint8 [N, 128], packed Morgan bits of the 3-mer.
    hashes : numpy.ndarray
        uint64 [N], of a text of each polymer: tells whether a polymer is among these, and not which those are. 0 where
        that is not kept.
    is_training : numpy.ndarray
        bool [N]: the network learned from it, or what stands for that; the domain is measured to these.
    residuals : numpy.ndarray
        float32 [N], value minus prediction of networks that did not see the row; NaN where there is none.
    scales : numpy.ndarray
        float32 [N], what each residual is divided by; NaN likewise.
    coordinates : numpy.ndarray
        float16 [N, K + 1], principal components of the standardised embedding and the length of what they leave out.
    nearest_similarities, nearest_distances : numpy.ndarray
        float32 [training polymers], of each to the nearest others, ascending.
    center : numpy.ndarray
        float32 [E].
    projection : numpy.ndarray
        float32 [E, K + 1]: the scale of each column of the embedding, then K directions.
    """

    facts: CalibrationFacts
    fingerprints: np.ndarray
    hashes: np.ndarray
    is_training: np.ndarray
    residuals: np.ndarray
    scales: np.ndarray
    coordinates: np.ndarray
    nearest_similarities: np.ndarray
    nearest_distances: np.ndarray
    center: np.ndarray
    projection: np.ndarray

    def save(self, path: Path, *, mode: int = FILE_MODE) -> None:
        """Write the file atomically; equal calibrations give equal bytes.

        Parameters
        ----------
        path : pathlib.Path
            :func:`calibration_path` in an artifact directory; its folder is made.
        mode : int
            Permissions of the file.
        """
        document = {"format": _FORMAT, "version": _VERSION, **asdict(self.facts)}
        text = json.dumps(document, sort_keys=True, allow_nan=False).encode()
        arrays: dict[str, np.ndarray] = {
            name: np.asarray(getattr(self, name), dtype=dtype) for name, dtype in _DTYPES.items()
        }
        arrays[_FACTS] = np.frombuffer(text, dtype=np.uint8)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                content = io.BytesIO()
                np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
                # The zip format's earliest date, in place of the time of writing.
                info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                archive.writestr(info, content.getvalue(), zipfile.ZIP_DEFLATED)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, buffer.getvalue(), mode=mode)

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read the file; nothing in it is executed.

        Raises
        ------
        ModelLoadError
            The file is not a calibration of this version, or its arrays do not belong together.
        """
        try:
            with _READING, np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
                document = json.loads(archive[_FACTS].tobytes())
                if document.pop("format") != _FORMAT or document.pop("version") != _VERSION:
                    raise ValueError(f"expected {_FORMAT} of version {_VERSION}")
                found = cls(_facts(document), **{name: archive[name] for name in _DTYPES})
            found._check()
        except (ValueError, KeyError, TypeError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
            raise ModelLoadError(
                f"{path}: not a calibration that this version reads ({type(error).__name__}: {error}). Put an "
                "intact copy in its place (that of the embedded model comes with the package), run `periogt calibrate` "
                "for published weights, or remove it to get answers without intervals.",
                {"file": str(path)},
            ) from error
        return found

    def is_known(self, *names: str) -> bool:
        """Whether the network learned from a polymer, by the texts that it may be known by.

        False where that is not known, because polymers of the user's stand for those of the training.
        """
        return self.facts.reference == "training" and self._holds(self.is_training, names)

    def made_intervals(self, *names: str) -> bool:
        """Whether the intervals follow from a polymer, by the texts that it may be known by."""
        return self._holds(self._has_residual, names)

    @property
    def has_interval_rows(self) -> bool:
        """Whether it is kept from which polymers the intervals follow; for copolymers known by monomers it is not."""
        return bool(self.hashes[self._has_residual].all())

    @property
    def _has_residual(self) -> np.ndarray:
        return ~np.isnan(self.residuals)

    def _holds(self, chosen: np.ndarray, names: Iterable[str]) -> bool:
        return bool(np.isin(self.hashes[chosen], [polymer_hash(name) for name in names]).any())

    def _check(self) -> None:
        """Raise ValueError where types or shapes are not those that are written."""
        n, n_training = len(self.fingerprints), int(np.count_nonzero(self.is_training))
        width, n_coordinates = len(self.center), self.coordinates.shape[-1]
        shapes = {
            "fingerprints": (n, FINGERPRINT_BYTES),
            "coordinates": (n, n_coordinates),
            "nearest_similarities": (n_training,),
            "nearest_distances": (n_training,),
            "center": (width,),
            "projection": (width, n_coordinates),
        }
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            expected = shapes.get(name, (n,))
            if array.dtype != dtype or array.shape != expected:
                raise ValueError(f"{name} is {array.dtype} {array.shape}; expected {np.dtype(dtype)} {expected}")
            if name not in ("residuals", "scales") and np.isnan(array).any():
                raise ValueError(f"{name} holds NaN")


def _facts(document: Mapping[str, Any]) -> CalibrationFacts:
    known = {entry.name for entry in fields(CalibrationFacts)}
    given = {key: value for key, value in document.items() if key in known}
    given["elements"] = tuple(map(str, given["elements"]))
    given["charges"] = tuple((str(element), int(charge)) for element, charge in given["charges"])
    given["partners"] = tuple(map(int, given.get("partners", ())))
    return CalibrationFacts(**given)
