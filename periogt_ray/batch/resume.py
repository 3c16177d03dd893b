"""How a later run continues a batch: the record that is kept, and what must be equal in both runs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict

from periogt_ray import __version__
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.artifacts.layout import LABEL_STATS_NAME, SCALER_NAMES
from periogt_ray.artifacts.manifest import hash_of
from periogt_ray.artifacts.packages import PACKAGE_NAME
from periogt_ray.batch.options import BatchOptions
from periogt_ray.batch.parts import PartsDirectory
from periogt_ray.batch.summary import BatchSummary
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.dimensions import FEATURE_VERSION
from periogt_ray.settings import Settings
from periogt_ray.tables.columns import Columns
from periogt_ray.tables.parts import PartSize
from periogt_ray.tables.predictions import OutputLayout
from periogt_ray.tables.reading import TableScan

__all__ = ["Basis", "BatchRecord", "basis_of", "check_device", "check_unchanged", "finished_before"]

logger = logging.getLogger(__name__)

# What a user calls the parts of a basis that can change between two runs.
_NAMES = {
    "input_sha256": "the input",
    "columns": "how the input is read (--smiles-column, --id-column, --no-header, --keep-columns)",
    "properties": "--property",
    "is_wide": "--wide",
    "level": "--level",
    "artifacts": "the artifacts",
}


class Basis(TypedDict):
    """Everything that the output follows from; equal ones give equal outputs."""

    input_sha256: str
    columns: dict[str, Any]
    is_wide: bool
    level: float
    properties: list[str]
    artifacts: str
    feature_version: int
    descriptor_engine: str
    version: str


@dataclass(frozen=True)
class BatchRecord:
    """What a batch computes; kept beside its finished parts.

    Attributes
    ----------
    basis : Mapping
        A :class:`Basis`; of another version it may have other keys.
    part_size : PartSize
        Of the parts.
    device : str
        Kind of device, ``cpu`` or ``cuda``: the last digits differ between them.
    """

    basis: Mapping[str, Any]
    part_size: PartSize
    device: str

    @classmethod
    def read(cls, parts: PartsDirectory, *, is_resumed: bool) -> "BatchRecord | None":
        """Return the record of the run to go on with; None if there is none.

        Raises
        ------
        ValidationError
            If it is damaged, or there are finished parts and the user did not say to go on.
        """
        document = parts.record()
        if document is None:
            return None
        if not is_resumed:
            n_finished = len(parts.finished())
            if not n_finished:
                return None
            raise ValidationError(
                f"{parts.path} holds {n_finished} finished parts of an interrupted run. Add --resume to continue "
                "it, or delete that directory to start over."
            )
        try:
            size = PartSize(*map(int, document["part_size"]))
            return cls(dict(document["basis"]), size, str(document["device"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValidationError(
                f"The record in {parts.path} is damaged or of another version. Delete the directory to start over."
            ) from error

    def keep(self, parts: PartsDirectory) -> None:
        """Write it where the parts will be; parts of another run are removed."""
        parts.begin(asdict(self))


def basis_of(
    scan: TableScan, artifacts: ArtifactDirectory, layout: OutputLayout, *, settings: Settings, level: float = 0.9
) -> Basis:
    """Return everything that the output follows from."""
    property_ids = layout.property_ids
    return Basis(
        input_sha256=scan.sha256,
        columns=_columns(scan.table.columns, scan.table.n_skipped),
        is_wide=layout.is_wide,
        level=level,
        properties=list(property_ids),
        artifacts=_digest(artifacts, property_ids),
        feature_version=FEATURE_VERSION,
        descriptor_engine=settings.descriptor_engine,
        version=__version__,
    )


def _columns(columns: Columns, n_skipped: int) -> dict[str, Any]:
    """Return which columns are read, and from where on, as JSON holds it."""
    return {
        "smiles": columns.smiles,
        "id": columns.id,
        "kept": list(columns.kept_names),
        "others": list(columns.others),
        "names": [columns.names[i] for i in (columns.smiles, columns.id, *columns.others) if i is not None],
        "n_skipped": n_skipped,
    }


def _digest(artifacts: ArtifactDirectory, property_ids: Sequence[str]) -> str:
    """Return a digest of every file that the predictions follow from."""
    names = [artifacts.encoder, *(path for name in property_ids for path in artifacts.property(name).weight_paths)]
    own = [name for name in property_ids if name not in artifacts.packages]
    files = (artifacts.calibration_file(name) for name in own)
    names += [file.relative_to(artifacts.root).as_posix() for file in files if file is not None]
    names += [name for name in (LABEL_STATS_NAME, *SCALER_NAMES) if (artifacts.root / name).is_file()]
    # A package's record holds the hashes of all its files.
    names += [f"models/{name}/{PACKAGE_NAME}" for name in property_ids if name in artifacts.packages]
    digest = sha256()
    for name in names:
        digest.update(f"{name} {hash_of(artifacts.path_of(name))}\n".encode())
    return digest.hexdigest()


def check_unchanged(record: BatchRecord, basis: Basis, *, parts: PartsDirectory) -> None:
    """Refuse to go on with a run that computed something else.

    Raises
    ------
    ValidationError
        If input, properties, artifacts or version are not those of the record.
    """
    changed = [name for name, value in basis.items() if record.basis.get(name) != value]
    if "properties" in changed and "artifacts" in changed:
        changed.remove("artifacts")  # the digest is of those files that the properties need
    if changed:
        told = ", ".join(_NAMES.get(name, name) for name in changed)
        raise ValidationError(
            f"{parts.path} cannot be resumed: changed since it was begun: {told}. "
            "Restore that, or delete the directory to start over."
        )


def check_device(record: BatchRecord, device: str, *, parts: PartsDirectory) -> None:
    """Refuse to go on with a run on another kind of device.

    Raises
    ------
    ValidationError
        If ``device`` is not that of the record.
    """
    if record.device != device:
        raise ValidationError(
            f"The finished parts in {parts.path} were computed on {record.device}; this run would use "
            f"{device}, whose last digits differ. Resume on the same kind of device (PERIOGT_DEVICE), or "
            "delete that directory to start over."
        )


def finished_before(options: BatchOptions, basis: Basis) -> BatchSummary | None:
    """Return the summary of an equal run that has ended, if the user wants to resume it."""
    if not options.is_resumed:
        return None
    summary = BatchSummary.read(options.summary_path)
    if summary is None or summary.basis != basis or not _has_size(options.output_path, summary.output_bytes):
        return None
    logger.info("%s is complete; nothing is left to do.", options.output_path)
    return summary


def _has_size(path: Path, n_bytes: int) -> bool:
    try:
        return path.stat().st_size == n_bytes
    except OSError:
        return False
