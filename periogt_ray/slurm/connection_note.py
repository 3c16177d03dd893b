"""What a user needs to reach a service that runs inside a Slurm job."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

__all__ = ["ConnectionNote"]

_LOCAL_PORT = 8000


@dataclass(frozen=True)
class ConnectionNote:
    """Where a service runs, and how to send it a request.

    Attributes
    ----------
    job_id : int
        The job.
    node : str
        Name of the head node.
    port : int
        Of the service.
    key_file : pathlib.Path
        With the API key.
    directory : pathlib.Path
        The job's.
    repository : str
        Where slurm/ray_job.sh is.
    login : str
        ``user@host``, the tunnel's other end.
    is_loopback : bool
        Whether the service answers only programs on its own node, so that the tunnel has to end there.
    """

    job_id: int
    node: str
    port: int
    key_file: Path
    directory: Path
    repository: str
    login: str
    is_loopback: bool = False

    @classmethod
    def login_of(cls, env: Mapping[str, str]) -> str:
        """Return ``user@host`` for the tunnel, from PERIOGT_LOGIN or the host that submitted."""
        user = env.get("SLURM_JOB_USER") or env.get("USER") or "USER"
        host = env.get("PERIOGT_LOGIN") or env.get("SLURM_SUBMIT_HOST") or "LOGIN_NODE"
        return host if "@" in host else f"{user}@{host}"

    @property
    def tunnel(self) -> str:
        """Command for the user's own machine."""
        if self.is_loopback:
            return f"ssh -N -L {_LOCAL_PORT}:127.0.0.1:{self.port} -J {self.login} {self.node}"
        return f"ssh -N -L {_LOCAL_PORT}:{self.node}:{self.port} {self.login}"

    def text(self) -> str:
        """Return the note; every line is a label and a value."""
        host = "127.0.0.1" if self.is_loopback else self.node
        key = quote(str(self.key_file))
        script = quote(f"{self.repository}/slurm/ray_job.sh")
        lines = {
            "job": f"{self.job_id} on {self.node}",
            "tunnel": f"{self.tunnel}     # on your own machine, leave it open",
            "url": f"http://127.0.0.1:{_LOCAL_PORT}     # there; on the cluster http://{host}:{self.port}",
            "key": f"{self.key_file}     # its content goes into the header X-Api-Key",
            # The key goes by the environment: arguments show in the list of processes.
            "test": f'PERIOGT_API_KEY="$(cat {key})" {quote(self.repository)}/scripts/smoke_test.sh http://{host}:{self.port}',
            "batch": f"bash {script} {quote(str(self.directory))} submit -- "
            "periogt batch --input /absolute/in.csv --property egc --output /absolute/out.csv",
            "end": f"scancel {self.job_id}",
        }
        return "".join(f"{label:<8}{value}\n" for label, value in lines.items())
