"""Places that launchers give to processes, as the environment tells them."""

import pytest

from slowfast.utils import launchers

TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node1", "MASTER_PORT": "29500",
}  # fmt: skip
SRUN = {  # the sixth of eight tasks on two machines
    "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
}  # fmt: skip
ONE_A_MACHINE = {
    **SRUN, "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"
}  # fmt: skip


def port(environment):
    return [int(address.rpartition(":")[2]) for address in launchers.srun(environment).addresses]


def test_place_under_torchrun():
    given = launchers.torchrun(TORCHRUN)
    assert (given.rank, given.local_rank, given.world_size, given.local_size) == (5, 1, 8, 4)
    assert given.addresses == ("tcp://node1:29500",) and not given.served and not given.per_machine
    again = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert launchers.torchrun({**TORCHRUN, **again}).served
    assert launchers.torchrun({**TORCHRUN, **again}).attempt == "2"


def test_place_under_srun():
    given = launchers.srun(SRUN)
    assert (given.rank, given.local_rank, given.world_size, given.local_size) == (5, 1, 8, 4)
    assert not given.per_machine and not given.served
    # 20000 + (12 * 7919 + 3 * 1009) mod 12000, then 101 further each
    assert given.addresses == tuple(f"tcp://gpu07:{number}" for number in (22055, 22156, 22257, 22358))


def test_ports_differ_between_jobs_steps_and_restarts():
    ports = {
        port(
            {
                **SRUN,
                "SLURM_JOB_ID": str(job),
                "SLURM_STEP_ID": str(step),
                "SLURM_RESTART_COUNT": str(restart),
            }
        )[0]
        for job in range(55658600, 55658700)
        for step in (0, 1)
        for restart in (0, 1)
    }
    assert len(ports) == 400 and min(ports) >= 20000 and max(ports) < 32000


@pytest.mark.parametrize("name", [*launchers._SRUN])
def test_a_batch_script_or_a_shell_in_an_allocation_is_no_task(name):
    assert launchers.srun({key: value for key, value in SRUN.items() if key != name}) is None


def test_a_single_task_starts_its_processes_itself():
    """As a job of `slowfast submit` on one machine does, or a shell of `srun --pty`, whatever the job has."""
    single = {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "1"}
    assert launchers.srun(single) is None


def test_nothing_is_found_where_nothing_is_said():
    assert launchers.torchrun(SRUN) is None and launchers.srun(TORCHRUN) is None


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[03-07,9],login1", "gpu03"),
        ("gpu[9,03-07]", "gpu9"),
        ("rack[1-2]gpu[10,12]-ib,login", "rack1gpu10-ib"),
        ("a.example.org,b[1-2]", "a.example.org"),
    ],
)
def test_first_host(hosts, first):
    assert launchers.first_host(hosts) == first


def test_tasks_per_node():
    assert list(launchers.tasks_per_node("2(x3),1")) == [2, 2, 2, 1]
    assert list(launchers.tasks_per_node("8")) == [8]


@pytest.mark.parametrize(
    ("environment", "num_gpus", "num_shards", "expected"),
    [
        (TORCHRUN, 0, 1, "NUM_GPUS 0 NUM_SHARDS 8"),
        (TORCHRUN, 1, 1, "NUM_GPUS 4 NUM_SHARDS 2"),
        (TORCHRUN, 4, 1, "NUM_GPUS 4 NUM_SHARDS 2"),  # a recipe's GPUs of one machine
        (TORCHRUN, 4, 2, "NUM_GPUS 4 NUM_SHARDS 2"),
        (TORCHRUN, 8, 1, ""),  # a contradiction, which `launch` refuses
        (TORCHRUN, 4, 3, ""),
        ({**TORCHRUN, "WORLD_SIZE": "1"}, 1, 1, ""),
        (SRUN, 0, 1, "NUM_GPUS 0 NUM_SHARDS 8"),
        (SRUN, 4, 1, "NUM_GPUS 4 NUM_SHARDS 2"),
        (SRUN, 8, 1, ""),
        (ONE_A_MACHINE, 8, 1, "NUM_GPUS 8 NUM_SHARDS 2 SHARD_ID 1"),
        (ONE_A_MACHINE, 0, 1, "NUM_GPUS 0 NUM_SHARDS 2 SHARD_ID 1"),
        (ONE_A_MACHINE, 8, 4, ""),
    ],
)
def test_settings_follow_the_processes(environment, num_gpus, num_shards, expected):
    given = launchers.torchrun(environment) or launchers.srun(environment)
    assert " ".join(launchers.settings(given, num_gpus, num_shards)) == expected


def test_nothing_follows_where_nobody_started_several():
    assert launchers.settings(None, 8, 1) == []


def test_uneven_tasks_are_for_cpus_alone():
    uneven = launchers.srun({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "5,3"})
    assert launchers.settings(uneven, 0, 1) == ["NUM_GPUS", "0", "NUM_SHARDS", "8"]
    with pytest.raises(ValueError, match="srun started 8 processes, not as many .* --ntasks-per-node"):
        launchers.settings(uneven, 4, 1)


def test_tasks_one_a_machine_start_others_and_uneven_ones_do_not():
    assert launchers.srun(ONE_A_MACHINE).per_machine
    assert not launchers.srun(
        {**SRUN, "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1"}
    ).per_machine
