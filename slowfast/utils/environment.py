"""What the machine offers and what runs on it: versions, commit, cores, threads, device."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_GIB = 1024**3
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_STATUS = Path("/proc/self/status")  # of this process, on Linux
_PACKAGES = ("slowfast", "torch", "torchvision", "av", "numpy")


def facts() -> dict[str, Any]:
    """`versions`, `commit` and `hardware`, as plain values that fit into JSON and into a checkpoint."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "commit": _commit(),
        "hardware": {
            "os": platform.platform(),
            "cpu": _cpu_model(),
            "cores": num_cores(),
            "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        },
    }


def num_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(num_threads: int, busy_workers: int, processes_on_host: int) -> int:
    """Set and return the number of torch threads so that all processes and workers fit the cores.

    Each of `processes_on_host` equal processes has `busy_workers` loader workers at work beside it:
    processes x (threads + workers) <= cores, but at least one thread. `num_threads` > 0 is taken as it is.
    """
    threads = num_threads if num_threads > 0 else num_cores() // processes_on_host - busy_workers
    threads = max(1, threads)
    torch.set_num_threads(threads)
    return threads


def keep_freed_memory() -> None:
    """Let the C library keep memory that tensors on the CPU give back, for the next ones, where it can be told so.

    By default glibc asks the system for every large tensor anew and returns it when it is freed, so that each is
    touched for the first time, page by page: a fifth of a training step of UniFormer-S. The process stays as large
    as it was at its largest.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for setting in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(setting, 2**31 - 1)


def cap_workers(asked: int, processes_on_host: int) -> int:
    """Loader workers per process: as asked, but leaving each process a core of its own; 0 stays 0."""
    return min(asked, max(1, num_cores() // processes_on_host - 1))


def resolve_device(num_gpus: int) -> torch.device:
    """The device of this process: the CPU for 0, else its CUDA device (chosen by `launch`).

    Raises ValueError when more GPUs are asked for than there are.
    """
    if num_gpus == 0:
        return torch.device("cpu")
    available = torch.cuda.device_count()
    if num_gpus > available:
        fix = f"write NUM_GPUS {available}" if available else "write NUM_GPUS 0 to run on the CPU"
        raise ValueError(f"NUM_GPUS is {num_gpus}, but {available} CUDA devices can be used here; {fix}")
    return torch.device("cuda", torch.cuda.current_device())


def gpu_memory_peak() -> str:
    """Largest amount of GPU memory this process ever had in use, such as `3.21G`; `0.00G` without a GPU."""
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return f"{peak / _GIB:.2f}G"


def memory_use() -> str:
    """Memory of the machine, used and total, such as `3.21/16.00G`; `unknown` outside Linux."""
    memory = _memory_of_machine()
    if memory is None:
        return "unknown"
    total, free = (value / _GIB for value in memory)
    return f"{total - free:.2f}/{total:.2f}G"


def free_memory(device: torch.device, processes_on_host: int) -> int | None:
    """Bytes that tensors of this process may still take on its device; None where that is not known.

    On a GPU what is free and what torch holds in reserve; else an equal share of what the machine has available.
    """
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    memory = _memory_of_machine()
    return None if memory is None else memory[1] // processes_on_host


def peak_of(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call takes at its peak above what this process held before; None on a CPU outside Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if not _STATUS.exists():
        call()
        return None
    _STATUS.with_name("clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Bytes, from what Linux says of this process."""
    return next(1024 * int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(name))


def _memory_of_machine() -> tuple[int, int] | None:
    """Bytes in all and bytes available; None outside Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kibibytes = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    return 1024 * kibibytes["MemTotal"], 1024 * kibibytes["MemAvailable"]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout this package is imported from; None for an installed copy."""
    package = Path(__file__).resolve().parents[1]
    # An installed copy may lie inside somebody else's repository: ours only if the file is tracked there.
    if _git(package, "ls-files", "--error-unmatch", "utils/environment.py") is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", ".")
    return f"{commit} (with local changes)" if commit and changed else commit


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
