"""What can be known before a job is queued: settings, artifacts, properties and input, on a login node."""

from collections.abc import Mapping
from pathlib import Path

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.csv_input import scan_csv
from periogt_ray.settings import Settings

__all__ = ["run_preflight"]

_ROWS_PER_PART = 64  # of no concern here; the scan counts rows


def run_preflight(env: Mapping[str, str], *, properties: str = "all", input_path: Path | None = None) -> str:
    """Check what a job will need, and return a line that says what it will find.

    Parameters
    ----------
    env : Mapping
        Usually ``os.environ``.
    properties : str
        Ids separated by commas, or ``all``.
    input_path : pathlib.Path, optional
        The CSV of a batch, which is read whole.

    Raises
    ------
    PerioGTError
        The first thing that is wrong.
    """
    artifacts = ArtifactDirectory.open(Settings.from_env(env).checkpoint_dir)
    names = artifacts.supported if properties == "all" else [name.strip() for name in properties.split(",")]
    for name in names:
        artifacts.property(name)
    found = f"{artifacts.name} at {artifacts.root} serves {', '.join(names)}"
    if input_path is None:
        return found
    return f"{found}; {scan_csv(input_path, rows_per_part=_ROWS_PER_PART).n_rows} rows in {input_path}"
