"""An opened artifact directory, through which everything else reads artifacts.

Opening one is cheap: it reads ``index.json``, or takes an inventory where there is none (or one
that another machine wrote), and says what is missing before any weight is read.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from periogt_ray.artifacts.architecture import HEAD_FAMILIES
from periogt_ray.artifacts.calibration import Calibration, calibration_path
from periogt_ray.artifacts.index import DEFAULT_NAME, Index, read_index
from periogt_ray.artifacts.inventory import missing_statistics, take_inventory
from periogt_ray.artifacts.layout import (
    LABEL_STATS_NAME,
    MANIFEST_NAME,
    MODEL_CARD_NAME,
    NEXT_STEP,
    missing_files,
    read_json,
    require_files,
)
from periogt_ray.artifacts.manifest import RecordedFile, read_manifest
from periogt_ray.artifacts.packages import PREFIX, LeftOut, Package, encoder_hash, package_info, scan_packages
from periogt_ray.artifacts.properties import ALIASES, PROPERTIES, UNPUBLISHED, PropertyInfo, check_kind
from periogt_ray.artifacts.scaler import Scaler, read_scaler
from periogt_ray.artifacts.statistics import LabelStats, read_label_stats
from periogt_ray.artifacts.weight_files import read_state_dict
from periogt_ray.errors import (
    CheckpointMissingError,
    ChecksumMismatchError,
    ModelLoadError,
    UnsupportedPropertyError,
    ValidationError,
)
from periogt_ray.polymer.input_kinds import InputKind
from periogt_ray.polymer.prompt_scheme import PromptScheme
from periogt_ray.runtime.files import sha256_of
from periogt_ray.settings import Settings

if TYPE_CHECKING:
    import torch

__all__ = ["ArtifactDirectory"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArtifactDirectory:
    """An opened artifact directory. Make one with :meth:`open`.

    Attributes
    ----------
    root : pathlib.Path
        The directory.
    name : str
        Name of the model.
    encoder : str
        Path of the pretrained encoder's weights relative to ``root``.
    encoder_dims : dict
        Sizes of the encoder.
    properties : dict
        Id -> :class:`PropertyInfo`, served and not.
    model_card : dict or None
        Content of the optional model_card.json.
    statistics : dict
        Id -> mean and standard deviation of its training labels.
    recorded : dict
        What setup recorded of files, by relative path; empty without a manifest.
    verifies_hashes : bool
        Whether weight files are held against their recorded SHA-256, too.
    packages : dict
        The user's own finetuned properties by id, served and not; they are among ``properties``, too.
    left_out : tuple of LeftOut
        Directories of packages that are not used.
    """

    root: Path
    name: str
    encoder: str
    encoder_dims: Mapping[str, int]
    properties: dict[str, PropertyInfo]
    model_card: dict[str, Any] | None
    statistics: Mapping[str, LabelStats] = field(repr=False)
    recorded: Mapping[str, RecordedFile] = field(repr=False, default_factory=dict)
    verifies_hashes: bool = False
    packages: Mapping[str, Package] = field(repr=False, default_factory=dict)
    left_out: tuple[LeftOut, ...] = field(repr=False, default=())

    @classmethod
    def open(cls, root: Path, *, verify_hashes: bool = False) -> "ArtifactDirectory":
        """Read what an artifact directory holds; no weights are read and nothing is written.

        Parameters
        ----------
        root : pathlib.Path
            The directory.
        verify_hashes : bool
            Compare each weight file with its recorded SHA-256 when it is loaded, not only with its size.

        Raises
        ------
        CheckpointMissingError
            A file that predictions need is absent; ``details["missing"]`` lists all of them.
        ModelLoadError
            A file is there and cannot be used.
        """
        root = Path(root).absolute()
        if not root.is_dir():
            raise CheckpointMissingError(
                f"no artifact directory at {root}. {NEXT_STEP}", {"missing": [str(root)], "directory": str(root)}
            )
        indexed = read_index(root)
        card_path = root / MODEL_CARD_NAME
        card = read_json(card_path) if card_path.is_file() else None
        if card is not None and not isinstance(card, dict):
            raise ModelLoadError(f"{card_path}: expected a JSON object, found a {type(card).__name__}.")
        if indexed is None:
            indexed = Index(str((card or {}).get("name", DEFAULT_NAME)), take_inventory(root), {})
        encoder = require_files(root, indexed.inventory)
        statistics = read_label_stats(root / LABEL_STATS_NAME)
        manifest = read_manifest(root)
        return cls(
            root=root,
            name=indexed.name,
            encoder=encoder.path,
            encoder_dims=encoder.architecture.dims,
            properties=indexed.inventory.infos(set(statistics), schemes=indexed.schemes),
            model_card=card,
            statistics=statistics,
            recorded={} if manifest is None else manifest.files,
            verifies_hashes=verify_hashes,
        )

    @classmethod
    def of_settings(cls, settings: Settings) -> "ArtifactDirectory":
        """Open the directory that the settings name, with the user's own packages; raises as :meth:`open`."""
        return cls.open(settings.checkpoint_dir).with_packages(settings.models_dir)

    def with_packages(self, directory: Path | None) -> "ArtifactDirectory":
        """Return the same artifacts with the packages of a directory; a property that is here already stays.

        Parameters
        ----------
        directory : pathlib.Path or None
            Of packages; need not exist.
        """
        scanned = list(scan_packages(directory))
        found = {each.id: each for each in scanned if isinstance(each, Package)}
        left_out = [each for each in scanned if isinstance(each, LeftOut)]
        for property_id in [key for key in found if key in self.properties]:
            logger.warning(
                "%s is not used: %s serves a property %r itself.", found.pop(property_id).root, self.root, property_id
            )
            left_out.append(LeftOut(property_id, f"{self.name} serves a property {property_id!r} itself"))
        if not found and not left_out:
            return self
        sha256 = self.encoder_sha256 if found else ""
        infos = {key: package_info(package, encoder_sha256=sha256) for key, package in found.items()}
        statistics = {key: package.statistics for key, package in found.items()}
        return replace(
            self,
            properties={**self.properties, **infos},
            statistics={**self.statistics, **statistics},
            packages=found,
            left_out=tuple(left_out),
        )

    @property
    def encoder_sha256(self) -> str:
        """SHA-256 of the pretrained encoder's file: as recorded, else of the file."""
        recorded = self.recorded.get(self.encoder)
        return encoder_hash(self.encoder_path) if recorded is None else recorded.sha256

    def path_of(self, relative: str) -> Path:
        """Return the place of a file from its relative path in answers, in a package or in the directory."""
        prefix, _, rest = relative.partition("/")
        property_id, _, inner = rest.partition("/")
        if prefix == PREFIX and property_id in self.packages:
            return self.packages[property_id].root / inner
        return self.root / relative

    @property
    def encoder_path(self) -> Path:
        """The pretrained encoder's weight file."""
        return self.root / self.encoder

    @property
    def supported(self) -> list[str]:
        """Ids of the properties that are served, sorted."""
        return sorted(key for key, info in self.properties.items() if info.supported)

    @property
    def embedding_scheme(self) -> PromptScheme:
        """The scheme to featurize a polymer with for its embedding, which needs the repeat unit's own graph only.

        It is mirror-invariant where all networks of the directory are.
        """
        schemes = [info.prompt_scheme for info in self.properties.values()]
        is_invariant = bool(schemes) and all(scheme.is_mirror_invariant for scheme in schemes)
        return PromptScheme.MIRROR_INVARIANT if is_invariant else PromptScheme.MONOMER

    def property(self, property_id: str) -> PropertyInfo:
        """Return a property that can be served; ``tm`` is another name of ``mt``.

        Raises
        ------
        UnsupportedPropertyError
            Unknown id, or a network of another kind; ``details["supported"]`` lists the ids that are served.
        CheckpointMissingError
            Its weights are there but its label statistics are not.
        """
        info = self.properties.get(self._known_as(property_id))
        if info is not None and info.supported:
            return info
        if info is not None and info.family in HEAD_FAMILIES and info.id not in UNPUBLISHED:
            self.label_stats(property_id)
        if info is not None:
            reason = f": {info.reason}"
        elif ALIASES.get(property_id, property_id) in PROPERTIES:
            reason = ", only by the published checkpoints (`periogt setup`)" if self.model_card else ""
        elif property_id.lower() in self.supported:
            reason = f", but {property_id.lower()!r} is"
        elif "," in property_id:
            reason = ": give one id; several in a request to /v1/predict/batch, or with `periogt predict`"
        else:
            reason = ""
        raise UnsupportedPropertyError(
            f"property {property_id!r} is not served by the artifacts in {self.root.name}{reason}; "
            f"supported: {', '.join(self.supported) or 'none'}.",
            {"property": property_id, "supported": self.supported},
        )

    def property_ids(self, names: Iterable[str], *, kind: InputKind = InputKind.HOMOPOLYMER) -> tuple[str, ...]:
        """Return the ids that a user chose, each once; a comma separates ids.

        Parameters
        ----------
        names : iterable of str
            Ids, or only ``all``: every property that is served and takes such an input.
        kind : InputKind
            What the properties are to be predicted of.

        Raises
        ------
        ValidationError, UnsupportedPropertyError, CheckpointMissingError
            If there is no id, one that is not served, or one that takes another kind of input.
        """
        chosen = list(dict.fromkeys(name.strip() for text in names for name in text.split(",") if name.strip()))
        if "all" in chosen:
            chosen = [name for name in self.supported if self.properties[name].input_kind is kind]
            if self.supported and not chosen:
                raise UnsupportedPropertyError(
                    f"No property of the artifacts in {self.root.name} takes such an input; supported: "
                    f"{', '.join(self.supported)}.",
                    {"property": "all", "supported": self.supported},
                )
        if not chosen:
            raise ValidationError("No property was given; expected ids such as eps,tg, or all.")
        infos = [self.property(name) for name in chosen]
        for info in infos:
            check_kind(info, kind)
        return tuple(dict.fromkeys(info.id for info in infos))

    def _known_as(self, property_id: str) -> str:
        """Return the id that a property has here; an alias is one only where no property has it as its id."""
        return property_id if property_id in self.properties else ALIASES.get(property_id, property_id)

    def scaler(self) -> Scaler:
        """Return the descriptor scaler; see :func:`read_scaler`."""
        return read_scaler(self.root)

    def label_stats(self, property_id: str) -> LabelStats:
        """Return mean and std of a property's training labels.

        Raises
        ------
        CheckpointMissingError
            label_stats.json does not have the property; a standardised value must not pass for a physical one.
        """
        property_id = self._known_as(property_id)
        if property_id not in self.statistics:
            path = self.root / LABEL_STATS_NAME
            raise CheckpointMissingError(
                f"{missing_statistics(property_id)}. Add "
                f'"{property_id}": {{"mean": ..., "std": ...}} of its training labels to {path}.',
                {"missing": [str(path)], "property": property_id},
            )
        return self.statistics[property_id]

    def encoder_state_dict(self) -> "dict[str, torch.Tensor]":
        """Load the pretrained encoder's tensors, on the CPU, names without ``module.``."""
        return self._load(self.encoder)

    def property_state_dict(self, property_id: str, *, member: int = 0) -> "dict[str, torch.Tensor]":
        """Load a property's finetuned tensors, on the CPU, names without ``module.``.

        Parameters
        ----------
        property_id : str
            Of a property that is served.
        member : int
            Which of its :attr:`~periogt_ray.artifacts.properties.PropertyInfo.weight_paths`.

        Raises
        ------
        UnsupportedPropertyError, CheckpointMissingError, ChecksumMismatchError, ModelLoadError
            The property is not served; its file is absent, of another size than setup recorded, or corrupt.
        """
        return self._load(self.property(property_id).weight_paths[member])

    def calibration(self, property_id: str) -> Calibration | None:
        """Return what intervals and domain of a property follow from; None where it was not calibrated.

        Raises
        ------
        ModelLoadError
            The file is there and cannot be used.
        """
        path = self.calibration_file(property_id)
        if path is None:
            return None
        found = Calibration.load(path)
        if (known := self._known_as(property_id)) != found.facts.property_id:
            raise ModelLoadError(
                f"{path}: this is the calibration of {found.facts.property_id}, not of {known}. Put the right one in "
                "its place, or remove it to get answers without intervals.",
                {"file": str(path)},
            )
        return found

    def calibration_file(self, property_id: str) -> Path | None:
        """Return the file of a property's calibration; None where there is none."""
        known = self._known_as(property_id)
        root = self.packages[known].root if known in self.packages else self.root
        path = root / calibration_path(known)
        return path if path.is_file() else None

    def _load(self, relative: str) -> "dict[str, torch.Tensor]":
        """Load a weight file after holding its size, and on request its hash, against the manifest."""
        path = self.path_of(relative)
        if not path.is_file():
            raise missing_files(self.root, [relative])
        expected = self.recorded.get(relative)
        if expected is not None:
            found = RecordedFile(path.stat().st_size, sha256_of(path) if self.verifies_hashes else expected.sha256)
            if found != expected:
                text = f"{found.size} bytes" if found.size != expected.size else f"SHA-256 {found.sha256}"
                raise ChecksumMismatchError(
                    f"{path}: {text}, but {MANIFEST_NAME} recorded {expected.size} bytes with SHA-256 "
                    f"{expected.sha256}. If you replaced the file, run `periogt setup --skip-download`; otherwise put "
                    "an intact copy in its place.",
                    {"file": relative, "expected": expected._asdict(), "found": found._asdict()},
                )
        return read_state_dict(path)
