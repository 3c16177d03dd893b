"""What Slurm granted to a job, read from the job's environment.

A container does not have Slurm's commands, so none is run. Ray reads none of Slurm's limits and would
take the whole node, so its resources are stated from what is read here.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from periogt_ray.errors import SettingsError
from periogt_ray.runtime.cpus import SLURM_CPU_VARIABLES

__all__ = ["SlurmJob", "expand_nodelist", "job_memory_bytes"]

_MIB = 1 << 20
_MOST_NODES = 100_000  # of a list; a typing error must not fill the memory


@dataclass(frozen=True)
class SlurmJob:
    """The allocation of a job, as one of its tasks sees it.

    Attributes
    ----------
    job_id : int
        Of the job; a job that was requeued keeps it.
    n_restarts : int
        How often it was requeued.
    nodes : tuple of str
        Names of its nodes, the head first.
    node_index : int
        Place of this task's node among them.
    n_cpus : int
        CPUs of this job on this node.
    n_gpus : int
        GPUs of this job on this node.
    memory_bytes : int or None
        Memory of this job on this node; None: Slurm does not say (``--mem`` was not given, or is the whole node).
    """

    job_id: int
    nodes: tuple[str, ...]
    node_index: int
    n_cpus: int
    n_gpus: int = 0
    memory_bytes: int | None = None
    n_restarts: int = 0

    @property
    def node(self) -> str:
        """Name of this task's node."""
        return self.nodes[self.node_index]

    @property
    def is_head(self) -> bool:
        """Whether this task's node is the first."""
        return self.node_index == 0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "SlurmJob":
        """Read the variables that Slurm sets for a task (srun) or a batch script.

        Raises
        ------
        SettingsError
            If this is no Slurm job, or the variables cannot be understood.
        """
        if not env.get("SLURM_JOB_ID"):
            raise SettingsError(
                "SLURM_JOB_ID is not set, so this is not a Slurm job. Submit it (sbatch slurm/ray_serve.sbatch); in a "
                "container, pass the job's SLURM_* variables, as slurm/env.sh does."
            )
        env = _of_component(env)
        nodes = tuple(expand_nodelist(_text(env, "SLURM_JOB_NODELIST", "SLURM_NODELIST")))
        n_nodes = _number(env, "SLURM_JOB_NUM_NODES", default=len(nodes))
        if n_nodes != len(nodes):
            raise SettingsError(
                f"Slurm names {len(nodes)} nodes ({', '.join(nodes)}) but states that there are {n_nodes}."
            )
        node_index = _number(env, "SLURM_NODEID", default=0)
        if node_index >= n_nodes:
            raise SettingsError(f"SLURM_NODEID is {node_index} in a job of {n_nodes} nodes; expected a smaller number.")
        return cls(
            job_id=_number(env, "SLURM_JOB_ID"),
            nodes=nodes,
            node_index=node_index,
            n_cpus=_cpus(env, node_index),
            n_gpus=_gpus(env),
            memory_bytes=job_memory_bytes(env),
            n_restarts=_number(env, "SLURM_RESTART_COUNT", default=0),
        )


def _of_component(env: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables of a task of a heterogeneous job as those of a job of all its nodes.

    Such a job has components, each with its own kind of nodes. Of a step on all of them Slurm names the nodes in the
    order of their names, though it numbers them in the order of the components, and states memory and CPUs of a task of
    one component for all of them (measured with Slurm 22.05).
    """
    n_components = _number(env, "SLURM_HET_SIZE", default=1)
    if n_components < 2:
        return env
    node_index = _number(env, "SLURM_NODEID", default=0)
    nodes: list[str] = []
    component = 0
    for number in range(n_components):
        if node_index >= len(nodes):
            component = number
        nodes += expand_nodelist(_text(env, f"SLURM_JOB_NODELIST_HET_GROUP_{number}"))
    names = ("SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU")
    stated = {name: env.get(f"{name}_HET_GROUP_{component}", "") for name in names}
    return {**env, **stated, "SLURM_JOB_NODELIST": ",".join(nodes), "SLURM_JOB_NUM_NODES": str(len(nodes))}


def expand_nodelist(nodelist: str) -> list[str]:
    """Return the names in Slurm's short form, such as ``c[0001-0003,7],gpu1``, in its order.

    Raises
    ------
    SettingsError
        If the brackets or ranges make no sense.
    """
    names: list[str] = []
    for word in _words(nodelist):
        # Text and bracketed parts take turns; each bracket multiplies.
        parts = re.split(r"\[([^\[\]]*)\]", word)
        if any("[" in text or "]" in text for text in parts[::2]):
            raise SettingsError(f"The list of nodes {nodelist!r} has brackets that do not match.")
        choices = [[part] if index % 2 == 0 else list(_numbers(part, nodelist)) for index, part in enumerate(parts)]
        names += ("".join(choice) for choice in itertools.islice(itertools.product(*choices), _MOST_NODES))
    if not names or "" in names or len(names) > _MOST_NODES:
        raise SettingsError(f"The list of nodes {nodelist!r} is not a list of Slurm, such as n[1-3],m7.")
    return names


def job_memory_bytes(env: Mapping[str, str]) -> int | None:
    """Return the memory of a job on this node; None: Slurm does not say, or it is the whole node.

    Slurm sets one of three variables, in MiB: for the node, for each CPU or for each GPU that it granted there
    (measured with Slurm 22.05: ``--mem=0`` sets none of them).

    Raises
    ------
    SettingsError
        If a variable is not a number.
    """
    node = _number(env, "SLURM_MEM_PER_NODE", default=0)
    per_cpu = _number(env, "SLURM_MEM_PER_CPU", default=0)
    per_gpu = _number(env, "SLURM_MEM_PER_GPU", default=0)
    if node:
        n_mib = node
    elif per_cpu:
        # A task may have fewer CPUs than the node's part of the job.
        n_mib = per_cpu * _number(env, "SLURM_CPUS_ON_NODE", default=0)
    else:
        # CUDA_VISIBLE_DEVICES may name fewer GPUs than were granted.
        n_mib = per_gpu * _number(env, "SLURM_GPUS_ON_NODE", default=0)
    return n_mib * _MIB or None


def _words(nodelist: str) -> list[str]:
    """Divide at commas that are not in brackets."""
    return re.split(r",(?![^\[]*\])", nodelist.strip())


def _numbers(ranges: str, nodelist: str) -> Iterator[str]:
    """Yield the numbers of ``1-3,07``, as wide as they are written."""
    for one in ranges.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", one)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if match is None or not 0 <= last - first < _MOST_NODES:
            raise SettingsError(f"The list of nodes {nodelist!r} has a range {one!r}; expected such as 1-3.")
        yield from (str(number).zfill(len(match[1])) for number in range(first, last + 1))


def _cpus(env: Mapping[str, str], node_index: int) -> int:
    """Return the CPUs on this node: of the task or the step, else of the job as ``4(x2),8``."""
    if given := [_number(env, name) for name in SLURM_CPU_VARIABLES if env.get(name)]:
        return max(1, min(given))
    per_node: list[int] = []
    for word in _text(env, "SLURM_JOB_CPUS_PER_NODE").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", word)
        if match is None:
            raise SettingsError(f"SLURM_JOB_CPUS_PER_NODE is {env['SLURM_JOB_CPUS_PER_NODE']!r}; expected 4(x2),8.")
        per_node += [int(match[1])] * int(match[2] or 1)
    if node_index >= len(per_node):
        raise SettingsError(f"SLURM_JOB_CPUS_PER_NODE has no entry for node {node_index} of this job.")
    return max(1, per_node[node_index])


def _gpus(env: Mapping[str, str]) -> int:
    """Return the GPUs on this node; those that can be seen decide where Slurm limits them."""
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and env.get("SLURM_GPUS_ON_NODE"):
        named = [one for one in visible.split(",") if one and one != "NoDevFiles"]
        return min(len(named), _number(env, "SLURM_GPUS_ON_NODE"))
    return _number(env, "SLURM_GPUS_ON_NODE", default=0)


def _text(env: Mapping[str, str], *names: str) -> str:
    for name in names:
        if env.get(name):
            return env[name]
    raise SettingsError(f"{names[0]} is not set, though SLURM_JOB_ID is; pass all SLURM_* variables of the job.")


def _number(env: Mapping[str, str], name: str, *, default: int | None = None) -> int:
    value = env.get(name)
    if not value and default is not None:
        return default
    if not value or not re.fullmatch(r"\d{1,18}", value):
        raise SettingsError(f"{name} is {value!r}; expected a whole number, as Slurm sets it.")
    return int(value)
