"""What can be known before a job is queued: settings, artifacts, properties and input, on a login node."""

import logging
from collections.abc import Mapping
from pathlib import Path

from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.settings import Settings, unknown_variables
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.reading import count_rows

__all__ = ["run_preflight"]

logger = logging.getLogger(__name__)


def run_preflight(
    env: Mapping[str, str],
    *,
    properties: str = "all",
    input_path: Path | None = None,
    table: TableOptions = TableOptions(),  # noqa: B008 -- immutable
) -> str:
    """Check what a job will need, and return a line that says what it will find.

    Parameters
    ----------
    env : Mapping
        Usually ``os.environ``.
    properties : str
        Ids separated by commas, or ``all``.
    input_path : pathlib.Path, optional
        The input of a batch, which is read whole.
    table : TableOptions
        How it is read.

    Raises
    ------
    PerioGTError
        The first thing that is wrong.
    """
    for warning in unknown_variables(env):
        logger.warning("%s", warning)
    artifacts = ArtifactDirectory.of_settings(Settings.from_env(env))
    names = artifacts.supported if properties == "all" else [name.strip() for name in properties.split(",")]
    for name in names:
        artifacts.property(name)
    found = f"{artifacts.name} at {artifacts.root} serves {', '.join(names)}"
    if input_path is None:
        return found
    return f"{found}; {count_rows(input_path, table)} rows in {input_path}"
