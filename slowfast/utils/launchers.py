"""Which launcher has started this process as one of several, read from the environment: torchrun, or srun of Slurm.

The command line looks here before it imports anything large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Of the step, which srun makes: a batch script, or a shell in an allocation, has those of the job without being a task.
_SRUN = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_STEP_NODELIST",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)
# Below what systems give to outgoing connections, so that no such connection holds the port of a run.
FIRST_PORT, NUM_PORTS = 20000, 12000
# Primes, so that neighbours in the queue, steps of a job, and what is tried next where a port is taken keep apart.
_PER_JOB, _PER_STEP, _PER_TRY = 7919, 1009, 101
NUM_TRIES = 4


@dataclass(frozen=True)
class Given:
    """The place of this process among ``world_size`` that ``launcher`` has started, ``local_size`` of them here.

    ``addresses`` are where all may meet, the first of them that rank 0 can serve; ``served``: it is served already.
    ``attempt`` sets apart groups that are formed one after the other. ``local_size`` is 0 where it is not known, and
    ``even`` says whether all machines have as many processes.
    """

    launcher: str
    rank: int
    local_rank: int
    world_size: int
    local_size: int
    addresses: tuple[str, ...]
    served: bool = False
    attempt: str = "0"
    even: bool = True

    @property
    def per_machine(self) -> bool:
        """Whether each process is alone on its machine, and may start others for its GPUs."""
        return self.launcher == "srun" and self.local_size == 1 and self.even


def torchrun(environment: Mapping[str, str]) -> Given | None:
    """The place that torchrun, or somebody who sets the same variables, has given to this process; or None."""
    if not all(name in environment for name in _TORCHRUN):
        return None
    return Given(
        launcher="torchrun",
        rank=int(environment["RANK"]),
        local_rank=int(environment["LOCAL_RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
        local_size=int(environment.get("LOCAL_WORLD_SIZE", "0")),
        addresses=(f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}",),
        # The agent of torchrun usually serves the address itself, and goes on doing so after a restart.
        served=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def srun(environment: Mapping[str, str]) -> Given | None:
    """The place that srun has given to this process among several tasks of a step; None for a single task.

    All meet at the first host of the step. The port follows from the numbers of the job, its restarts and the step, so
    that all agree on it and jobs and steps that share a machine do not; other ports are tried where it is taken.
    """
    if not all(environment.get(name) for name in _SRUN) or environment["SLURM_STEP_NUM_TASKS"] == "1":
        return None
    job, step = environment["SLURM_JOB_ID"], environment["SLURM_STEP_ID"]
    restart = environment.get("SLURM_RESTART_COUNT", "0")
    first = int(job) * _PER_JOB + int(step) * _PER_STEP + int(restart)
    host = first_host(environment["SLURM_STEP_NODELIST"])
    sizes = list(tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"]))
    return Given(
        launcher="srun",
        rank=int(environment["SLURM_PROCID"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        world_size=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_size=max(sizes),
        addresses=tuple(
            f"tcp://{host}:{FIRST_PORT + (first + number * _PER_TRY) % NUM_PORTS}"
            for number in range(NUM_TRIES)
        ),
        attempt=f"{job}.{step}.{restart}",
        even=len(set(sizes)) == 1,
    )


def first_host(hosts: str) -> str:
    """The first host of a list as Slurm writes it: "gpu[03-07,9],login1" begins with "gpu03"."""
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", hosts).split(",")[0]


def tasks_per_node(counts: str) -> Iterator[int]:
    """Numbers of tasks of all machines as Slurm writes them: "2(x3),1" is 2, 2, 2, 1."""
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        yield from [int(number)] * int(times or 1)


def settings(given: Given | None, num_gpus: int, num_shards: int) -> list[str]:
    """KEY VALUE pairs that fit NUM_GPUS and NUM_SHARDS to the processes a launcher has started.

    Empty where these contradict each other, which `slowfast.utils.launch` refuses. Raises ValueError for GPUs on
    machines with different numbers of processes.
    """
    if given is None or given.world_size == 1 or not given.local_size:
        return []
    if given.per_machine or num_gpus == 0:
        gpus, shards = num_gpus, given.world_size
    elif not given.even:
        raise ValueError(
            f"{given.launcher} started {given.world_size} processes, not as many on each machine: with GPUs give it "
            "--ntasks-per-node, as many as a machine has GPUs, or NUM_GPUS 0 to run on CPUs"
        )
    else:
        gpus, shards = given.local_size, given.world_size // given.local_size
    if num_gpus not in (0, 1, gpus) or num_shards not in (1, shards):
        return []
    place = ["SHARD_ID", str(given.rank)] if given.per_machine else []
    return ["NUM_GPUS", str(gpus), "NUM_SHARDS", str(shards), *place]
