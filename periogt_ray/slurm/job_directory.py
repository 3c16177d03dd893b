"""The directory of a running job, on the file system that its nodes share; only its owner can read it.

::

    cluster.json     addresses, written once the head runs; other nodes wait for it
    ray-token        what every process of this Ray shows to every other
    api-key          what a request to the service needs
    connection.txt   how to reach the service, once it is ready
    ray-job.env      for slurm/ray_job.sh
    failed-<node>    why a node could not join; the head reads it while it waits for all nodes
    stop             from the batch script: answer open requests, keep finished rows, and end
"""

import json
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.files import PRIVATE_MODE, write_bytes_atomically

__all__ = ["JobDirectory"]


class JobDirectory:
    """Names and contents of the files of a job.

    Parameters
    ----------
    path : pathlib.Path
        Made by the batch script before any node starts.

    Raises
    ------
    SettingsError
        If the directory does not exist, or others can read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if not self.path.is_dir():
            raise SettingsError(
                f"The job's directory {self.path} is not there. It has to be on a file system that all nodes share; "
                "set PERIOGT_RESULTS_DIR to a directory there, and in a container check --bind."
            )
        status = self.path.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise SettingsError(f"The job's directory {self.path} has to belong to you alone (chmod 700); it does not.")

    @property
    def token_file(self) -> Path:
        """With Ray's token."""
        return self.path / "ray-token"

    @property
    def key_file(self) -> Path:
        """With the service's API key."""
        return self.path / "api-key"

    @property
    def connection_file(self) -> Path:
        """With what a user needs."""
        return self.path / "connection.txt"

    @property
    def is_stop_asked(self) -> bool:
        """Whether the batch script asked for an orderly end."""
        return (self.path / "stop").exists()

    @property
    def exists(self) -> bool:
        """Whether the job still runs; its end removes the directory."""
        return self.path.is_dir()

    def write_private(self, name: str, content: str) -> Path:
        """Write a file, whole or not at all, that only its owner can read."""
        path = self.path / name
        write_bytes_atomically(path, content.encode(), mode=PRIVATE_MODE)
        return path

    def publish(self, addresses: Mapping[str, str | int]) -> None:
        """Tell the other nodes and the user's scripts where the head is."""
        lines = (f"periogt_{name}={shlex.quote(str(value))}\n" for name, value in addresses.items())
        self.write_private("ray-job.env", "".join(lines))
        self.write_private("cluster.json", json.dumps(dict(addresses)))

    def published(self) -> dict[str, str | int] | None:
        """Return what the head published, if it has."""
        try:
            found: dict[str, str | int] = json.loads((self.path / "cluster.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def report_failure(self, node: str, message: str) -> None:
        """Tell the head why a node could not stay."""
        if self.exists:
            self.write_private(f"failed-{node}", message)

    def failures(self) -> list[str]:
        """Return what nodes reported."""
        return [path.read_text(encoding="utf-8") for path in sorted(self.path.glob("failed-*"))]

    def withdraw(self) -> None:
        """Remove the address and the key of the service."""
        for path in (self.connection_file, self.key_file, self.path / "ray-job.env"):
            with suppress(OSError):
                path.unlink()

    def remove(self) -> None:
        """Remove everything that the file system lets us remove."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            self.path.rmdir()
