"""What the user wants of a batch, and whether that can be done."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.errors import ValidationError
from periogt_ray.polymer.input_kinds import INPUT_COLUMNS, InputKind
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.pair_table import PairOptions
from periogt_ray.tables.parts import PartSize

__all__ = ["BatchOptions"]

_REPORT_SUFFIXES = (".html", ".htm")
_MOST_NAME_BYTES = 200  # file systems end at 255; parts and temporary files have longer names


# Of formats that programs would not find in the file.
_OTHER_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip", ".xlsx", ".xls", ".ods", ".json", ".html"})

_TABLES = {
    InputKind.HOMOPOLYMER: "a table of repeat units (column smiles)",
    InputKind.COPOLYMER: f"a table of copolymers (columns {', '.join(INPUT_COLUMNS[InputKind.COPOLYMER])})",
    InputKind.CONDITIONS: f"a table with conditions (columns {', '.join(INPUT_COLUMNS[InputKind.CONDITIONS])})",
}


@dataclass(frozen=True)
class BatchOptions:
    """The options of ``periogt batch``.

    Attributes
    ----------
    input : pathlib.Path
        CSV, also compressed by gzip, or Parquet.
    output : pathlib.Path or None
        CSV, or by its extension Parquet. None: ``<input stem>_predictions.csv`` beside the input.
    properties : tuple of str
        Property ids, or only ``all``.
    is_resumed : bool
        Go on with the finished parts of an interrupted run.
    n_predictors : int or None
        Number of predictors; None: one for each GPU, without GPUs one for two CPUs.
    rows_per_part : int or None
        Rows that are computed and kept together; None: what fits the input.
    address : str or None
        Of a running Ray; None starts one for this run.
    report : pathlib.Path or None
        HTML file to write beside the output.
    engine : str or None
        ``ray``, ``local``, or None: local for few polymers, unless a Ray is named.
    n_cpus : int
        CPUs that this process may use; without Ray, as many processes compute.
    table : TableOptions
        How the input is read.
    is_wide : bool
        One row a row of the input and a column a property, instead of one row a property.
    level : float
        Coverage of the intervals.
    pairs : PairOptions or None
        Two tables of monomers, all copolymers of which are the input; ``input`` only gives the output its name.
    """

    input: Path
    output: Path | None
    properties: tuple[str, ...]
    is_resumed: bool = False
    n_predictors: int | None = None
    rows_per_part: int | None = None
    address: str | None = None
    report: Path | None = None
    engine: Literal["ray", "local"] | None = None
    n_cpus: int = 1
    table: TableOptions = field(default_factory=TableOptions)
    is_wide: bool = False
    level: float = 0.9
    pairs: PairOptions | None = None

    @property
    def output_path(self) -> Path:
        """Where the output goes, absolute; of a link, what it leads to."""
        given = self.input.absolute()
        stem = given.stem.removesuffix(".csv") if given.suffix.lower() == ".gz" else given.stem
        return _target(self.output or given.parent / f"{stem}_predictions.csv")

    @property
    def part_size(self) -> PartSize | None:
        """The size of parts that the user wants; None if it is to fit the input."""
        return None if self.rows_per_part is None else PartSize(self.rows_per_part, self.rows_per_part)

    @property
    def summary_path(self) -> Path:
        """Where the summary goes: beside the output."""
        return self.output_path.with_name(f"{self.output_path.name}.summary.json")

    @property
    def report_path(self) -> Path | None:
        """Where the report goes, absolute; None if the user wants none."""
        return None if self.report is None else _target(self.report)

    def property_ids(self, artifacts: ArtifactDirectory) -> tuple[str, ...]:
        """Return the ids, each once; ``all`` is every property that the artifacts serve for such an input.

        Raises
        ------
        ValidationError, UnsupportedPropertyError
            If there is no id, one that is not served, or they take different kinds of input.
        """
        kind, names = self.kind(artifacts), [name.strip() for name in self.properties if name.strip()]
        other = next((n for n in names if n != "all" and artifacts.property(n).input_kind is not kind), None)
        if other is not None and "all" not in names:
            wanted = artifacts.property(other).input_kind
            of = (
                "--pairs is for copolymers"
                if self.pairs is not None
                else f"{names[0]}, named first, of {_TABLES[kind]}"
            )
            raise ValidationError(
                f"{other} is predicted of {_TABLES[wanted]}, and {of}. Run `periogt batch` once for each kind of table."
            )
        return artifacts.property_ids(self.properties, kind=self.kind(artifacts))

    def kind(self, artifacts: ArtifactDirectory) -> InputKind:
        """Return what the properties are predicted of; ``all`` stands for those of repeat units, where there are any.

        Raises
        ------
        UnsupportedPropertyError
            If a property is not served.
        """
        if self.pairs is not None:
            return InputKind.COPOLYMER
        names = [name.strip() for name in self.properties if name.strip()]
        if "all" in names:
            kinds = {artifacts.properties[name].input_kind for name in artifacts.supported}
            return next((kind for kind in InputKind if kind in kinds), InputKind.HOMOPOLYMER)
        return artifacts.property(names[0]).input_kind if names else InputKind.HOMOPOLYMER

    def check_paths(self) -> None:
        """Check that output and report can be written, and replace no table that is read.

        Raises
        ------
        ValidationError
            If one of them cannot.
        """
        self._check_output(self.output_path, option="--output")
        if self.report_path is None:
            return
        self._check_output(self.report_path, option="--report")
        if self.report_path.suffix.lower() not in _REPORT_SUFFIXES:
            raise ValidationError(
                f"--report is {self.report}, and the report is an HTML file; expected a name that ends with .html."
            )
        if self.report_path == self.output_path:
            raise ValidationError(f"--report and --output are both {self.report_path}; choose another --report.")

    def _check_output(self, output: Path, *, option: str) -> None:
        problem = None
        if len(os.fsencode(output.name)) > _MOST_NAME_BYTES:
            problem = f"its name has more than {_MOST_NAME_BYTES} bytes, and longer names are made from it"
        elif output.is_dir():
            problem = "it is a directory; give a file name"
        elif output.exists() and not output.is_file():
            problem = "it is not a regular file and would be replaced; give a file name"
        elif option == "--output" and output.suffix.lower() in _OTHER_SUFFIXES:
            problem = f"its name stands for another format ({output.suffix}); expected .csv or .parquet"
        elif not output.parent.is_dir():
            problem = f"{output.parent} does not exist; create it, or in a container check --bind"
        elif not os.access(output.parent, os.W_OK | os.X_OK):
            problem = f"{output.parent} is not writable; choose another {option}"
        elif output.exists() and self.input.exists() and output.samefile(self.input):
            problem = "it is the input"
        elif self.pairs is not None and output.exists():
            read = [path for path in (self.pairs.first, self.pairs.second) if path.exists()]
            problem = "it is one of --pairs" if any(map(output.samefile, read)) else None
        if problem is not None:
            raise ValidationError(f"The output {output} cannot be written: {problem}.")


def _target(path: Path) -> Path:
    """Return a path, absolute; of a link that to which it leads, so that the link stays one."""
    return path.resolve() if path.is_symlink() else path.absolute()
