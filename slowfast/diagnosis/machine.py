"""Versions, processors, decoders, memory, disks and what started the process: a finding or some for each."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from slowfast.datasets.frames import UnreadableVideo, open_video
from slowfast.datasets.preparation.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from slowfast.datasets.video_writer import write_video
from slowfast.diagnosis.finding import Finding
from slowfast.engine import precision
from slowfast.utils import environment

CODECS = {"libx264": ".mp4", "mpeg4": ".avi", "libvpx-vp9": ".webm"}
FRAMES = 12
SMALL_SHARED_MEMORY = 2**30
SECONDS_OF_READING = 2.0
MOST_FILES = 200
SLOW_DISK = 50e6  # bytes a second
MEDIA_SUFFIXES = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, ".tar")


def versions() -> Finding:
    """Packages and their versions."""
    found = environment.facts()["versions"]
    return Finding("versions", ", ".join(f"{name} {version}" for name, version in found.items() if version))


def devices() -> list[Finding]:
    """GPUs, or why there are none; the CPU."""
    findings = []
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        free, total = torch.cuda.mem_get_info(device)
        said = f"{torch.cuda.get_device_name(device)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        busy = "another process holds most of its memory" if free < total / 2 else ""
        findings.append(Finding(f"GPU {number}", said, busy))
    if not findings:
        built = torch.version.cuda
        said = "none that torch can use" if built else "none: this torch is built for the CPU"
        to_do = "a driver is there, but torch cannot use it: compare its CUDA version with torch's, " + str(
            built
        )
        findings.append(
            Finding(
                "GPU", f"{said}; runs take NUM_GPUS 0", to_do if built and shutil.which("nvidia-smi") else ""
            )
        )
    cores, threads = environment.num_cores(), os.environ.get("OMP_NUM_THREADS")
    said = f"{cores} core(s), {'AMX, bfloat16 pays' if precision.has_amx() else 'no AMX'}"
    to_do = ""
    if threads and threads.isdigit() and int(threads) > cores:
        to_do = f"OMP_NUM_THREADS is {threads}, more than the cores: unset it"
    return [*findings, Finding("CPU", said, to_do)]


def decoders() -> list[Finding]:
    """Each codec, by writing a video and reading it back frame by frame."""
    findings = []
    grey = np.linspace(40, 215, FRAMES).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (FRAMES, 64, 64, 3))
    with tempfile.TemporaryDirectory() as folder:
        for codec, suffix in CODECS.items():
            path = Path(folder) / f"probe{suffix}"
            try:
                write_video(path, frames, 25, codec=codec)
                with open_video(path) as reader:
                    found = reader.read(range(reader.num_frames)).mean(axis=(1, 2, 3))
            except (ValueError, OSError) as error:
                reason = error if isinstance(error, UnreadableVideo) else str(error).splitlines()[0]
                findings.append(
                    Finding("video", f"{codec}: {reason}", "install PyAV from its wheel: pip install av")
                )
                continue
            exact = len(found) == FRAMES and np.abs(found - grey).max() < 6
            said = f"{codec} in {suffix[1:]}, {len(found)} of {FRAMES} frames"
            findings.append(
                Finding(
                    "video", said, "" if exact else "frames come out wrong: install another release of av"
                )
            )
    return findings


def shared_memory(folder: str = "/dev/shm") -> Finding | None:
    """What loader workers hand batches over in; None where there is no such limit."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    free = status.f_bavail * status.f_frsize
    said = f"{free / 2**30:.2f} GiB free in {folder}"
    to_do = "start the container with --shm-size=8g or --ipc=host, or use DATA_LOADER.NUM_WORKERS 0"
    return Finding("shared memory", said, to_do if free < SMALL_SHARED_MEMORY else "")


def output_folder(path: str | os.PathLike) -> Finding:
    """Whether a run can write its files there."""
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding(
            "OUTPUT_DIR", str(path), f"{folder} cannot be written to: name another folder with OUTPUT_DIR"
        )
    free = shutil.disk_usage(folder).free
    few = (
        "a checkpoint of UniFormer-B takes 0.6 GB, and five of them may lie there: make room"
        if free < 5e9
        else ""
    )
    return Finding("OUTPUT_DIR", f"{path}, {free / 1e9:.0f} GB free", few)


def media_folder(path: str | os.PathLike, clock=time.perf_counter) -> Finding:
    """How fast files below a folder are read, each for the first time here, for some seconds."""
    files = _some_files(Path(path))
    if not files:
        return Finding(
            "DATA.PATH_PREFIX", str(path), "no videos, pictures or tar files below it: is that the folder?"
        )
    start, count, size = clock(), 0, 0
    for file in files:
        try:
            with open(file, "rb") as content:
                while part := content.read(1 << 20):
                    size += len(part)
                    if clock() - start > SECONDS_OF_READING:
                        break
        except OSError as error:
            return Finding("DATA.PATH_PREFIX", f"{file}: {error.strerror}", "see that its files can be read")
        count += 1
        if clock() - start > SECONDS_OF_READING:
            break
    seconds = max(clock() - start, 1e-9)
    rate = size / seconds
    said = f"{path}: {rate / 1e6:.0f} MB/s, {count / seconds:.0f} files/s (faster if they were read before)"
    slow = "slow: pack the videos (tools/prepare_data.py shards), make them smaller (--transcode), or copy them here"
    return Finding("DATA.PATH_PREFIX", said, slow if rate < SLOW_DISK and count / seconds < 200 else "")


def _some_files(folder: Path) -> list[Path]:
    """Files of videos below a folder, spread over what is found at first."""
    found = []
    for root, names, files in os.walk(folder):
        names.sort()
        found += [Path(root) / name for name in sorted(files) if name.lower().endswith(MEDIA_SUFFIXES)]
        if len(found) > 20 * MOST_FILES:
            break
    return random.Random(0).sample(found, min(MOST_FILES, len(found)))


def launcher(environ: Mapping[str, str], processes_asked: int) -> Finding:
    """What started this process, and whether that fits what a run is told to start."""
    if "TORCHELASTIC_RUN_ID" in environ or all(
        name in environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")
    ):
        size = environ.get("WORLD_SIZE", "?")
        wrong = processes_asked > 1 and size != str(processes_asked)
        to_do = (
            f"the settings ask for {processes_asked} processes: leave NUM_GPUS x NUM_SHARDS at {size}"
            if wrong
            else ""
        )
        return Finding("started by", f"torchrun, process {environ.get('RANK')} of {size}", to_do)
    if "SLURM_JOB_ID" in environ:
        job, tasks = environ["SLURM_JOB_ID"], environ.get("SLURM_NTASKS", "1")
        said = f"Slurm job {job}, {tasks} task(s) on {environ.get('SLURM_JOB_NODELIST', '?')}"
        gpus = environ.get("SLURM_GPUS_ON_NODE", environ.get("SLURM_JOB_GPUS", ""))
        blind = bool(gpus) and not torch.cuda.device_count()
        return Finding(
            "started by",
            said,
            "the job has GPUs that torch does not see: is it torch for CUDA?" if blind else "",
        )
    found = [name for name in ("sbatch", "srun") if shutil.which(name)]
    more = "; Slurm is there: tools/submit.py" if found else ""
    return Finding("started by", f"nothing but the shell{more}")


def optional(packages: Mapping[str, str]) -> list[Finding]:
    """Packages that not every run needs, {name: what it does}: whether they are there."""
    return [
        Finding(
            "optional", f"{name} is there" if find_spec(name) else f"{name}, which {what}, is not installed"
        )
        for name, what in packages.items()
    ]
