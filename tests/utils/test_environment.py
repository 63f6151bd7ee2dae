"""Threads, workers, devices, and the facts of a machine."""

import json
import platform
import subprocess
import sys

import pytest
import torch

from slowfast.utils import environment


@pytest.fixture
def cores(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(environment, "num_cores", lambda: 16)
    yield 16
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("workers", "processes", "threads"), [(0, 1, 16), (4, 1, 12), (2, 4, 2), (0, 8, 2), (16, 1, 1), (3, 5, 1)]
)
def test_threads_and_workers_fit_the_cores(cores, workers, processes, threads):
    assert environment.limit_threads(0, workers, processes) == threads
    assert torch.get_num_threads() == threads
    assert processes * (threads + workers) <= cores or threads == 1


def test_a_number_of_threads_can_be_forced(cores):
    assert environment.limit_threads(3, 15, 4) == 3


@pytest.mark.parametrize(
    ("asked", "processes", "given"), [(0, 1, 0), (8, 1, 8), (64, 1, 15), (8, 4, 3), (8, 16, 1), (0, 16, 0)]
)
def test_workers_leave_each_process_a_core(cores, asked, processes, given):
    assert environment.cap_workers(asked, processes) == given


def test_cpu_for_no_gpus():
    assert environment.resolve_device(0) == torch.device("cpu")


@pytest.mark.parametrize(
    ("available", "fix"), [(0, "write NUM_GPUS 0 to run on the CPU"), (2, "write NUM_GPUS 2")]
)
def test_more_gpus_than_there_are(monkeypatch, available, fix):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: available)
    with pytest.raises(
        ValueError, match=f"NUM_GPUS is 8, but {available} CUDA devices can be used here; {fix}"
    ):
        environment.resolve_device(8)


def test_processes_here_may_see_a_gpu_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert environment.resolve_device(8, processes_on_host=8) == torch.device("cuda", 0)
    with pytest.raises(ValueError, match="write NUM_GPUS 1"):
        environment.resolve_device(8, processes_on_host=1)


def test_facts_fit_into_json():
    facts = json.loads(json.dumps(environment.facts()))
    assert facts["versions"]["torch"] in (torch.__version__, torch.__version__.split("+")[0])
    assert facts["versions"]["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert facts["hardware"]["cores"] >= 1
    assert set(facts) == {"versions", "commit", "hardware"}
    assert set(facts["versions"]) == {"python", "slowfast", "torch", "torchvision", "av", "numpy"}
    assert facts["hardware"]["cpu"] and facts["hardware"]["os"] and facts["hardware"]["gpus"] is not None


def git(folder, *words):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_commit_is_that_of_the_checkout_and_says_when_it_was_changed(tmp_path, monkeypatch):
    file = tmp_path / "slowfast" / "utils" / "environment.py"
    file.parent.mkdir(parents=True)
    file.write_text("a = 1\n")
    monkeypatch.setattr(environment, "__file__", str(file))
    git(tmp_path, "init")
    assert environment.facts()["commit"] is None  # an installed copy inside somebody's repository
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    commit = environment.facts()["commit"]
    assert len(commit) == 40
    file.write_text("a = 2\n")
    assert environment.facts()["commit"] == f"{commit} (with local changes)"


def test_memory_is_told_as_text():
    assert environment.gpu_memory_peak().endswith("G")
    used, total = environment.memory_use().removesuffix("G").split("/")
    assert 0 < float(used) < float(total)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not run: the C library is not glibc")
def test_freed_memory_is_kept() -> None:
    """In a process of its own, for the setting lasts: large blocks come from the heap instead of mappings."""
    code = (
        "import ctypes, resource, sys\n"
        "from slowfast.utils import environment\n"
        "import torch\n"
        "if sys.argv[1] == 'keep': environment.keep_freed_memory()\n"
        "for _ in range(8): torch.ones(2**24)\n"  # alignment makes the first ones differ in size
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): torch.ones(2**24)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {
        word: int(subprocess.run([sys.executable, "-c", code, word], capture_output=True, check=True).stdout)
        for word in ("keep", "leave")
    }
    assert faults["keep"] < 0.1 * faults["leave"], faults


def test_free_memory_is_shared_by_the_processes_of_a_machine(tmp_path, monkeypatch):
    said = tmp_path / "meminfo"
    said.write_text("MemTotal:       4194304 kB\nMemFree:  1 kB\nMemAvailable:    3145728 kB\n")
    monkeypatch.setattr(environment, "Path", lambda name: said if name == "/proc/meminfo" else None)
    assert environment.free_memory(torch.device("cpu"), 1) == 3 * 2**30
    assert environment.free_memory(torch.device("cpu"), 4) == 3 * 2**28
    assert environment.memory_use() == "1.00/4.00G"
    said.unlink()
    assert environment.free_memory(torch.device("cpu"), 1) is None
    assert environment.memory_use() == "unknown"


def test_what_torch_holds_in_reserve_on_a_gpu_is_free_too(monkeypatch):
    for name, value in (("mem_get_info", (100, 1000)), ("memory_reserved", 50), ("memory_allocated", 30)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert environment.free_memory(torch.device("cuda", 0), 8) == 100 + 50 - 30
