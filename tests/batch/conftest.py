import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.ray_cluster import HERE, Cluster, clean_environment


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    holder = subprocess.Popen(
        [sys.executable, str(HERE / "hold_cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    line = holder.stdout.readline()
    assert line, "Ray did not start"
    found = Cluster(holder.pid, json.loads(line))
    yield found
    holder.stdin.close()
    assert holder.wait(timeout=60) == 0
    holder.stdout.close()
    assert not found.temp_dir.exists()
