"""What is read from a job's environment; needs no Slurm."""

import pytest

from periogt_ray.errors import SettingsError
from periogt_ray.slurm.job import SlurmJob, expand_nodelist

# As Slurm 22.05 sets them for a task of `srun -N2 -c4 --mem=2G --gres=gpu:h200:1`.
TASK = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_CPUS_PER_TASK": "4",
    "SLURM_CPUS_ON_NODE": "4",
    "SLURM_JOB_CPUS_PER_NODE": "4(x2)",
    "SLURM_GPUS_ON_NODE": "1",
    "CUDA_VISIBLE_DEVICES": "0",
    "SLURM_MEM_PER_NODE": "2048",
}
GIB = 1 << 30


def job(**changes: str | None) -> SlurmJob:
    env = {**TASK, **changes}
    return SlurmJob.from_env({name: value for name, value in env.items() if value is not None})


def test_a_task_is_read_whole() -> None:
    expected = SlurmJob(job_id=7, nodes=("n1", "n2"), node_index=1, n_cpus=4, n_gpus=1, memory_bytes=2 * GIB)
    assert job() == expected
    assert (job().node, job().is_head) == ("n2", False)
    assert job(SLURM_NODEID="0").is_head


# As Slurm 22.05 sets them for a task of a step on both components of `sbatch -c2 --mem=1G --gres=gpu:h200:1 -w n2 :
# -c3 --mem=2G -N2`, on the second component.
HETEROGENEOUS = {
    "SLURM_JOB_ID": "1",
    "SLURM_HET_SIZE": "2",
    "SLURM_JOB_NODELIST": "n[1-3]",
    "SLURM_JOB_NODELIST_HET_GROUP_0": "n2",
    "SLURM_JOB_NODELIST_HET_GROUP_1": "n[1,3]",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_NODEID": "2",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_CPUS_PER_TASK_HET_GROUP_0": "2",
    "SLURM_CPUS_PER_TASK_HET_GROUP_1": "3",
    "SLURM_CPUS_ON_NODE": "3",
    "SLURM_JOB_CPUS_PER_NODE": "3,2,3",
    "SLURM_MEM_PER_NODE": "1024",
    "SLURM_MEM_PER_NODE_HET_GROUP_0": "1024",
    "SLURM_MEM_PER_NODE_HET_GROUP_1": "2048",
}


def test_a_heterogeneous_job_is_one_job_of_all_its_nodes() -> None:
    nodes = ("n2", "n1", "n3")
    found = SlurmJob.from_env(HETEROGENEOUS)
    assert found == SlurmJob(job_id=1, nodes=nodes, node_index=2, n_cpus=3, memory_bytes=2 * GIB)
    assert SlurmJob.from_env({**HETEROGENEOUS, "SLURM_NODEID": "1"}).n_cpus == 3
    on_gpu = {"SLURM_NODEID": "0", "SLURM_CPUS_ON_NODE": "2", "SLURM_GPUS_ON_NODE": "1", "SLURM_CPUS_PER_TASK": "3"}
    found = SlurmJob.from_env({**HETEROGENEOUS, **on_gpu})
    assert found == SlurmJob(job_id=1, nodes=nodes, node_index=0, n_cpus=2, n_gpus=1, memory_bytes=GIB)
    assert found.is_head


def test_memory_of_a_component_that_states_it_for_a_cpu() -> None:
    changed = {**HETEROGENEOUS, "SLURM_MEM_PER_CPU_HET_GROUP_1": "500"}
    del changed["SLURM_MEM_PER_NODE_HET_GROUP_1"]
    assert SlurmJob.from_env(changed).memory_bytes == 1500 << 20


@pytest.mark.parametrize(
    ("nodelist", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-2]", ["n1", "n2"]),
        ("c0123", ["c0123"]),
        ("c[0098-0101]", ["c0098", "c0099", "c0100", "c0101"]),
        ("baseline[161-162,180]", ["baseline161", "baseline162", "baseline180"]),
        ("d3[01,10],gpu-a,c[5-6]", ["d301", "d310", "gpu-a", "c5", "c6"]),
        ("r[1-2]n[08-09]", ["r1n08", "r1n09", "r2n08", "r2n09"]),
        ("n[1-2]-ib", ["n1-ib", "n2-ib"]),
    ],
)
def test_lists_of_nodes(nodelist: str, names: list[str]) -> None:
    assert expand_nodelist(nodelist) == names


@pytest.mark.parametrize("nodelist", ["", "n[", "n[]", "n[1-]", "n[2-1]", "n[a]", "n1,", "n[1]]", "n[1-999999999]"])
def test_lists_that_are_none(nodelist: str) -> None:
    with pytest.raises(SettingsError, match="list of nodes"):
        expand_nodelist(nodelist)


@pytest.mark.parametrize(
    ("changes", "n_cpus"),
    [
        ({}, 4),
        ({"SLURM_CPUS_PER_TASK": None}, 4),
        ({"SLURM_CPUS_PER_TASK": None, "SLURM_CPUS_ON_NODE": None}, 4),
        ({"SLURM_CPUS_PER_TASK": None, "SLURM_CPUS_ON_NODE": None, "SLURM_JOB_CPUS_PER_NODE": "2,6"}, 6),
        ({"SLURM_CPUS_PER_TASK": "16"}, 4),  # of the job; this step has fewer
        ({"SLURM_CPUS_PER_TASK": "2"}, 2),
    ],
)
def test_cpus(changes: dict[str, str | None], n_cpus: int) -> None:
    assert job(**changes).n_cpus == n_cpus


@pytest.mark.parametrize(
    ("visible", "on_node", "n_gpus"),
    [
        ("0", "1", 1),
        ("0,1", "2", 2),
        ("GPU-5f,GPU-6a", "2", 2),
        ("", "1", 0),
        ("NoDevFiles", "1", 0),
        (None, "2", 2),
        (None, None, 0),
        ("0,1,2", None, 0),  # inherited, not allocated
    ],
)
def test_gpus(visible: str | None, on_node: str | None, n_gpus: int) -> None:
    assert job(CUDA_VISIBLE_DEVICES=visible, SLURM_GPUS_ON_NODE=on_node).n_gpus == n_gpus


@pytest.mark.parametrize(
    ("changes", "memory_bytes"),
    [
        ({}, 2 * GIB),
        ({"SLURM_MEM_PER_NODE": None}, None),
        ({"SLURM_MEM_PER_NODE": "0"}, None),  # --mem=0, the whole node
        ({"SLURM_MEM_PER_NODE": None, "SLURM_MEM_PER_CPU": "1024"}, 4 * GIB),
        ({"SLURM_MEM_PER_NODE": None, "SLURM_MEM_PER_GPU": "3072"}, 3 * GIB),
        ({"SLURM_MEM_PER_NODE": None, "SLURM_MEM_PER_GPU": "3072", "SLURM_GPUS_ON_NODE": "2"}, 6 * GIB),
        # The memory goes with the GPUs that were granted, also where fewer are to be used.
        (
            {
                "SLURM_MEM_PER_NODE": None,
                "SLURM_MEM_PER_GPU": "3072",
                "SLURM_GPUS_ON_NODE": "2",
                "CUDA_VISIBLE_DEVICES": "",
            },
            6 * GIB,
        ),
        ({"SLURM_MEM_PER_NODE": None, "SLURM_MEM_PER_GPU": "3072", "SLURM_GPUS_ON_NODE": None}, None),
        # Of the node's CPUs, of which a task may have fewer.
        ({"SLURM_MEM_PER_NODE": None, "SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "8"}, 8 * GIB),
    ],
)
def test_memory(changes: dict[str, str | None], memory_bytes: int | None) -> None:
    assert job(**changes).memory_bytes == memory_bytes


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SLURM_JOB_ID": None}, "not a Slurm job"),
        ({"SLURM_JOB_ID": "x"}, "SLURM_JOB_ID is 'x'"),
        ({"SLURM_JOB_NODELIST": None}, "SLURM_JOB_NODELIST is not set"),
        ({"SLURM_JOB_NUM_NODES": "3"}, "2 nodes"),
        ({"SLURM_NODEID": "2"}, "SLURM_NODEID is 2"),
        ({"SLURM_NODEID": "-1"}, "SLURM_NODEID is '-1'"),
        ({"SLURM_MEM_PER_NODE": "4G"}, "SLURM_MEM_PER_NODE is '4G'"),
        ({"SLURM_CPUS_PER_TASK": None, "SLURM_CPUS_ON_NODE": None, "SLURM_JOB_CPUS_PER_NODE": "4"}, "no entry"),
    ],
)
def test_what_cannot_be_understood_is_said(changes: dict[str, str | None], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        job(**changes)


def test_a_requeued_job_knows() -> None:
    assert job(SLURM_RESTART_COUNT="2").n_restarts == 2
