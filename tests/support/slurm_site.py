"""A Slurm site of namespaces on this machine: laptop, login node, two compute nodes; see slurm_site.sh."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ROOT", "SlurmSite", "running_site", "wait_for"]

ROOT = Path(__file__).parents[2]
START_S = 600.0  # a loaded machine is many times slower than an idle one
END_S = 120.0
_POLL_S = 0.1


def wait_for(condition: Callable[[], object], seconds: float, what: Callable[[], str]) -> None:
    """Wait until something holds; the message is made when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what()}"
        time.sleep(_POLL_S)


class SlurmSite:
    """Runs commands on the site's hosts, as alice unless said otherwise."""

    def __init__(self, state: Path, environment: dict[str, str]) -> None:
        self.state = state
        self.home = state / "home" / "alice"
        self.results = self.home / "periogt" / "results"
        self._environment = environment
        # Alice runs the package that is tested, from this clone, with the environment that tests it.
        self.settings = {"PERIOGT_RUNTIME": "venv", "PERIOGT_VENV": sys.prefix, "PERIOGT_DEVICE": "cpu"}

    def call(self, *words: str, timeout: float = 300, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(ROOT / "tests" / "support" / "slurm_site.sh"), *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
            env=self._environment,
            cwd=self.home,
            check=False,
        )

    def user(self, *words: str, timeout: float = 300, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as alice on the login node."""
        given = [f"{name}={value}" for name, value in {**self.settings, **variables}.items()]
        return self.call("user", "env", *given, *words, timeout=timeout)

    def node(self, node: str, *words: str) -> str:
        """Run a command as root on a node."""
        result = self.call("node", node, *words)
        return result.stdout

    def other(self, node: str, *words: str, timeout: float = 300, stdin: str = "") -> str:
        """Run a command as bob on a node; return what it prints."""
        return self.call("other", node, *words, timeout=timeout, stdin=stdin).stdout

    def submit(self, script: str, *arguments: str, options: tuple[str, ...] = (), **variables: str) -> "Job":
        """Submit one of the scripts, with the resources that a node of this site has."""
        # A job's workers follow from its CPUs, and each of them loads its libraries anew: no more than it takes.
        sized = ("--cpus-per-task=2", "--mem=6G", "--time=30", "--partition=gpu", *options)
        result = self.user("sbatch", "--parsable", *sized, f"{ROOT}/slurm/{script}", *arguments, **variables)
        assert result.returncode == 0, result.stderr
        return Job(self, int(result.stdout), script)

    def processes(self, node: str) -> list[str]:
        """Return what runs on a node as alice."""
        lines = self.node(node, "ps", "-eww", "-o", "user:20=,stat=,args=").splitlines()
        return [line for line in lines if line.split()[0] == "alice" and not line.split()[1].startswith("Z")]

    def files(self, node: str) -> list[str]:
        """Return what is in a node's own directories as alice's."""
        found = self.node(node, "find", "/tmp", "/dev/shm", "-maxdepth", "1", "-user", "alice", "-printf", "%p\n")
        # torch's directory for its compiler is made by importing it, in any program.
        return [line for line in found.splitlines() if "torchinductor" not in line]

    def assert_nothing_left(self, job: "Job") -> None:
        """No process, no file on a node, and nothing but the results in the directory of results."""
        for node in ("n1", "n2"):
            assert self.processes(node) == []
            assert self.files(node) == []
        assert not job.directory.exists(), list(job.directory.iterdir())


class Job:
    """A job of alice's."""

    def __init__(self, site: SlurmSite, number: int, script: str) -> None:
        self.site = site
        self.number = number
        self.directory = site.results / f"periogt-job-{number}"
        self._log = site.home / f"periogt-{script.removesuffix('.sbatch').removeprefix('ray_')}-{number}.log"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def state(self) -> str:
        shown = self.site.user("scontrol", "show", "job", str(self.number)).stdout
        return shown.partition("JobState=")[2].split()[0]

    @property
    def has_ended(self) -> bool:
        # Slurm writes a line there when a job leaves its nodes. To ask it each time takes a tenth of a core.
        lines = (self.site.state / "log" / "jobcomp.txt").read_text().splitlines()
        ends = [line for line in lines if line.startswith(f"JobId={self.number} ")]
        if not ends or "JobState=PENDING" in ends[-1]:  # it is put back
            return False
        active = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "STOPPED"}
        queued = self.site.user("squeue", "--noheader", f"--jobs={self.number}", "--format=%T").stdout
        return self.state not in active and not queued.strip()

    @property
    def addresses(self) -> dict[str, str | int]:
        found: dict[str, str | int] = json.loads((self.directory / "cluster.json").read_text())
        return found

    @property
    def key(self) -> str:
        return (self.directory / "api-key").read_text()

    def wait_until_logged(self, text: str, seconds: float = START_S) -> None:
        """Wait for a text in the log; fail at once if the job ends without it."""
        ended = False
        deadline = time.monotonic() + seconds
        while text not in self.log:
            assert not ended, f"job {self.number} has ended ({self.state}):\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"no {text!r} within {seconds} s:\n{self.log[-4000:]}"
            ended = self.has_ended
            time.sleep(_POLL_S)

    def wait_until_ended(self, seconds: float = END_S) -> str:
        """Wait for the end; return the state."""
        wait_for(lambda: self.has_ended, seconds, lambda: f"job {self.number} ends:\n{self.log[-4000:]}")
        return self.state

    def wait_until_left(self) -> None:
        """Wait until it is put back into the queue and has left its nodes; then let it begin again at once."""
        wait_for(lambda: self.state in ("PENDING", "REQUEUED"), END_S, lambda: f"requeued: {self.log[-3000:]}")
        nodes = ("n1", "n2")
        wait_for(lambda: not any(map(self.site.processes, nodes)), 60, lambda: "nothing runs on any longer")
        # By itself it begins when the credentials of its last run have expired.
        self.site.call("login", "scontrol", "update", f"JobId={self.number}", "StartTime=now")

    def cancel(self, *options: str) -> None:
        assert self.site.user("scancel", *options, str(self.number)).returncode == 0


@contextmanager
def running_site(state: Path, **variables: str) -> Iterator[SlurmSite]:
    """Bring a site up, and down at the end."""
    given = {ROOT, Path(sys.prefix), Path(sys.base_prefix)}
    shown = {path for path in given if not given & set(path.parents)}
    # Every node has a /tmp of its own, and /root is closed to users: what alice needs of them is shown to her.
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PERIOGT_", "RAY_", "SLURM"))},
        "CLUSTER_STATE": str(state),
        "CLUSTER_SHARE": ":".join(sorted(str(path) for path in shown if path.is_relative_to("/tmp"))),
        "CLUSTER_EXPOSE": ":".join(sorted(str(path) for path in shown if path.is_relative_to("/root"))),
        **variables,
    }
    script = str(ROOT / "tests" / "support" / "slurm_site.sh")
    subprocess.run([script, "down"], env=environment, timeout=60, check=True, capture_output=True)
    started = subprocess.run([script, "up"], env=environment, timeout=300, check=False, capture_output=True, text=True)
    try:
        assert started.returncode == 0, started.stderr
        yield SlurmSite(state, environment)
    finally:
        subprocess.run([script, "down"], env=environment, timeout=120, check=True, capture_output=True)
        shutil.rmtree(state, ignore_errors=True)
