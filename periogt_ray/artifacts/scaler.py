"""The descriptor scaler: mean and scale of each descriptor over the molecules a model was pretrained on."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from periogt_ray.artifacts.layout import SCALER_EXPECTED, missing_files, scaler_path
from periogt_ray.artifacts.safe_pickle import load_scaler_arrays
from periogt_ray.errors import ModelLoadError
from periogt_ray.polymer.dimensions import N_DESCRIPTORS

__all__ = ["Scaler", "read_scaler", "scaler_bytes"]


class Scaler(NamedTuple):
    """Mean and scale of each descriptor."""

    mean: np.ndarray  # float64 [1613]
    scale: np.ndarray  # float64 [1613]

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Standardise descriptors [..., 1613]; returns float32."""
        return ((values - self.mean) / self.scale).astype(np.float32)


def read_scaler(root: Path) -> Scaler:
    """Read the descriptor scaler of an artifact directory, the arrays in preference to the pickle.

    Returns
    -------
    Scaler
        mean and scale, float64 [1613].

    Raises
    ------
    CheckpointMissingError
        Neither file exists.
    ModelLoadError
        The file is corrupt, refused, or of another size.
    """
    path = scaler_path(root)
    if path is None:
        raise missing_files(root, [SCALER_EXPECTED])
    mean, scale = _load_npz(path) if path.suffix == ".npz" else load_scaler_arrays(path)
    if mean.shape != (N_DESCRIPTORS,) or scale.shape != (N_DESCRIPTORS,):
        raise ModelLoadError(f"{path}: shapes {mean.shape} and {scale.shape}, expected ({N_DESCRIPTORS},) each.")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelLoadError(f"{path}: expected finite means and positive scales.")
    return Scaler(mean, scale)


def _load_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the arrays mean and scale of an npz file."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            if any(arrays[name].dtype.kind != "f" for name in ("mean", "scale")):
                raise ValueError("they are not of floating point")
            return arrays["mean"].astype(np.float64), arrays["scale"].astype(np.float64)
    except (ValueError, KeyError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ModelLoadError(f"{path}: expected the arrays mean and scale ({error}).") from error


def scaler_bytes(scaler: Scaler) -> bytes:
    """Return an npz file of mean and scale; equal arrays give equal bytes, which numpy.savez does not."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in scaler._asdict().items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array, dtype=np.float64), allow_pickle=False)
            # The zip format's earliest date, in place of the time of writing.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue())
    return buffer.getvalue()
