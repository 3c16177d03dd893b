from collections.abc import Iterator
from pathlib import Path

import pytest

from support.slurm_site import SlurmSite, running_site


@pytest.fixture(scope="session")
def site() -> Iterator[SlurmSite]:
    with running_site(Path("/srv/periogt-slurm-tests")) as found:
        yield found
