"""A short training in two processes in which one fault happens at a known moment; faults.py starts it again and again.

python benchmarks/faulty_run.py FOLDER KEY VALUE ...

FOLDER tells of this life of the run: fault.json is the fault to come (null: none), steps holds how many training steps
were done, and events.jsonl what happened. KEY VALUE pairs change the debug recipe. The exit status is that of
``slowfast run``.

The package knows nothing of this. Functions of it are wrapped here, to know which phase a process is in; inside a phase
the interpreter's own trace follows the lines of the package that are executed, and the fault comes before a drawn one.
"""

from __future__ import annotations

import builtins
import json
import mmap
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path

from torch.utils.data import get_worker_info

import slowfast
from slowfast import cli
from slowfast.config import load_cfg
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.engine import train as story
from slowfast.engine.saving import Saver
from slowfast.engine.step import TrainStep
from slowfast.utils import checkpoint, distributed, stopping
from slowfast.utils.launch import launch

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "debug" / "uniformer_debug.yaml"
WORKER_OF = "SLOWFAST_FAULTY_RUN"  # in the environment of workers: folder, rank and output folder of theirs
PACKAGE = os.path.dirname(slowfast.__file__) + os.sep
NUM_RANKS = 2
PHASES = ("start-up", "step", "saving", "validation", "data worker")
KILL, FULL_DISK, SLOW_DISK = "kill", "full disk", "slow disk"
PARENT, RANKS, WORKER = "parent", tuple(f"rank {rank}" for rank in range(NUM_RANKS)), "worker"
MOST_SECONDS_IN_PHASE = 30.0  # for a signal to show its effect while the phase that it came in is held up
SLOW_WRITE_SECONDS, SLOW_SYNC_SECONDS = 0.001, 1.0


@dataclass(frozen=True)
class Fault:
    """What is to happen, and when.

    The process in the phase is that of rank ``rank``, or its worker; the fault comes when it is in ``phase`` for the
    ``number``-th time in its life, counted from 0, before it executes the line ``place``, as file:line of the package,
    for the ``time``-th time there, counted from 1; at the end of the phase if it does not. ``kind`` is KILL: the
    signal ``signum`` to ``victim``; SLOW_DISK: writing takes long from then on, and the signal comes during the next
    fsync; or FULL_DISK: from then on nothing can be written any more; then ``signum`` is 0 and ``victim`` "".
    """

    phase: str
    number: int
    place: str
    time: int
    kind: str
    signum: int
    victim: str
    rank: int


class Journal:
    """The files that tell of one life of a run; all its processes write to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._steps = None

    def tell(self, **event) -> None:
        """Append to events.jsonl; lines of several processes do not mix, and a process may be killed right after."""
        line = json.dumps(event).encode() + b"\n"
        descriptor = os.open(self.folder / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, line)
        os.close(descriptor)

    def first(self) -> bool:
        """Whether nobody has asked this before in this life of the run."""
        try:
            os.close(os.open(self.folder / "struck", os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            return False
        return True

    def count(self, steps: int) -> None:
        """So many training steps are done."""
        if self._steps is None:
            (self.folder / "steps").write_bytes(bytes(8))
            with open(self.folder / "steps", "r+b") as file:
                self._steps = mmap.mmap(file.fileno(), 8)
        self._steps[:] = steps.to_bytes(8, "little")

    def write_pid(self, name: str) -> None:
        """Say what the id of this process is."""
        temporary = self.folder / f"{name}.new"
        temporary.write_text(str(os.getpid()))
        temporary.rename(self.folder / f"{name}.pid")

    def pid(self, name: str) -> int:
        """The id of a process, which may be about to say it."""
        path = self.folder / f"{name}.pid"
        if not _soon(path.exists):
            raise TimeoutError(f"{path} has not come")
        return int(path.read_text())


class LineTrace:
    """From `begin` to `end`, counts how often this thread executes which lines of the package; may act before one.

    ``act`` is told where, before the line ``place`` for the ``time``-th time, or else at the end; never with time 0.
    """

    def __init__(self, place: str, time: int, act: Callable[[str], None]) -> None:
        self.times: Counter[str] = Counter()
        self._place, self._time, self._act = place, time, act

    def begin(self) -> None:
        sys.settrace(self._on_call)

    def end(self) -> None:
        sys.settrace(None)
        if self.times[self._place] < self._time:
            self._act("its end")

    def _on_call(self, frame, event: str, arg):
        return self._on_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _on_line(self, frame, event: str, arg):
        if event == "line":
            place = f"{frame.f_code.co_filename[len(PACKAGE) :]}:{frame.f_lineno}"
            self.times[place] += 1
            if place == self._place and self.times[place] == self._time:
                self._act(place)
        return self._on_line


class Stage:
    """The phases of one rank, or of its worker. Rank 0 tells the lines of its start-up; undisturbed, of all phases."""

    def __init__(self, folder: Path, rank: int, output_dir: Path) -> None:
        planned = json.loads((folder / "fault.json").read_text())
        self._fault = planned and Fault(**planned)
        self._journal, self._rank, self._output_dir = Journal(folder), rank, output_dir
        self._passes: Counter[str] = Counter()
        self._start_up: LineTrace | None = None

    @property
    def is_undisturbed(self) -> bool:
        return self._fault is None

    def begin_start_up(self) -> None:
        self._start_up = self._enter("start-up")

    def end_start_up(self) -> None:
        """The first time that it is called, the start is over."""
        trace, self._start_up = self._start_up, None
        self._leave("start-up", trace)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        trace = self._enter(name)
        try:
            yield
        finally:
            self._leave(name, trace)

    def _enter(self, name: str) -> LineTrace | None:
        number = self._passes[name]
        self._passes[name] += 1
        fault = self._fault
        if fault and (name, number, self._rank) == (fault.phase, fault.number, fault.rank):
            trace = LineTrace(fault.place, fault.time, self._strike)
        elif self._rank == 0 and (self.is_undisturbed or name == "start-up"):
            trace = LineTrace("", 0, self._strike)
        else:
            return None
        trace.begin()
        return trace

    def _leave(self, name: str, trace: LineTrace | None) -> None:
        if trace is not None:
            trace.end()
            if self._rank == 0:
                self._journal.tell(event="lines", phase=name, times=trace.times)

    def _strike(self, where: str) -> None:
        fault = self._fault
        if not self._journal.first():  # a worker that replaces one that was killed comes by here again
            return
        if fault.kind == FULL_DISK:
            self._tell(where)
            fill_disk(self._output_dir)
        elif fault.kind == SLOW_DISK:
            slow_disk(lambda: (self._tell(f"fsync, slow since {where}"), self._send()))
        else:
            self._tell(where)
            self._send()

    def _tell(self, where: str) -> None:
        self._journal.tell(event="fault", where=where, **asdict(self._fault))

    def _send(self) -> None:
        """Send the signal, and stay until its effect has come, where this process can see that."""
        fault = self._fault
        pid = self._pid_of_victim()
        os.kill(pid, fault.signum)
        if fault.signum == signal.SIGKILL:
            _soon(lambda: _is_gone(pid))
        elif fault.victim == PARENT and get_worker_info() is None:
            _soon(stopping.asked)  # it hands the signal on

    def _pid_of_victim(self) -> int:
        if self._fault.victim != WORKER:
            return self._journal.pid(self._fault.victim)
        if get_worker_info() is not None:
            return os.getpid()
        return multiprocessing.active_children()[0].pid  # of a rank, these are its workers


def fill_disk(folder: Path) -> None:
    """From now on the files of this process in a folder lie on a disk without any space left: on /dev/full."""
    full = os.open("/dev/full", os.O_WRONLY)
    within = f"{os.path.realpath(folder)}{os.sep}"
    for entry in os.scandir("/proc/self/fd"):
        descriptor = int(entry.name)
        try:
            writable = os.readlink(entry.path).startswith(within) and _is_writable(descriptor)
        except OSError:  # the one of the scan itself is gone
            continue
        if writable:
            os.dup2(full, descriptor)
    real_open = builtins.open

    def open_on_full_disk(file, mode="r", *args, **kwargs):
        opened = real_open(file, mode, *args, **kwargs)
        if set(mode) & set("wax+") and os.path.realpath(str(file)).startswith(within):
            os.dup2(full, opened.fileno())
        return opened

    builtins.open = open_on_full_disk


def slow_disk(in_sync: Callable[[], object]) -> None:
    """From now on writing a checkpoint takes long, and ``in_sync`` is called while the next fsync waits, once."""
    real_sync, real_write, calls = os.fsync, checkpoint._Hashed.write, []

    def slow_sync(descriptor) -> None:
        if not calls:
            calls.append(descriptor)
            in_sync()
        time.sleep(SLOW_SYNC_SECONDS)
        real_sync(descriptor)

    def slow_write(self, data) -> int:
        time.sleep(SLOW_WRITE_SECONDS)
        return real_write(self, data)

    os.fsync, checkpoint._Hashed.write = slow_sync, slow_write


def _is_writable(descriptor: int) -> bool:
    info = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    flags = int(next(line.split()[1] for line in info.splitlines() if line.startswith("flags:")), 8)
    return flags & os.O_ACCMODE != os.O_RDONLY


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked yet how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _soon(is_so: Callable[[], object]) -> bool:
    """Wait for something that is to come soon; False if it has not."""
    end = time.monotonic() + MOST_SECONDS_IN_PHASE
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def wrap_rank(stage: Stage, journal: Journal) -> None:
    """Have this process, a rank, say which phase it is in, and rank 0 how many steps are done."""
    in_phase(stage, "saving", Saver, "_save")
    in_phase(stage, "validation", story, "_validate")
    in_phase(stage, "step", TrainStep, "__call__")
    before(story, "_train_epoch", lambda *args: stage.end_start_up())
    before(story, "_validate", lambda *args: stage.end_start_up())
    if distributed.is_main():
        after(TrainStep, "__call__", lambda result, step, batches, done: journal.count(done + 1))
        after(story, "_start", lambda progress, *args: resumed(journal, progress.global_step))


def resumed(journal: Journal, step: int) -> None:
    journal.count(step)
    journal.tell(event="resumed", step=step)


def in_phase(stage: Stage, phase: str, owner, name: str) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args, **kwargs):
        with stage.phase(phase):
            return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def before(owner, name: str, call: Callable) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args):
        call(*args)
        return original(*args)

    setattr(owner, name, wrapped)


def after(owner, name: str, call: Callable) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args):
        result = original(*args)
        call(result, *args)
        return result

    setattr(owner, name, wrapped)


def one_rank(folder: str, words: list[str]) -> None:
    """What one of the two processes does; without a fault to come, no checkpoint is deleted, to compare with."""
    journal, rank = Journal(Path(folder)), distributed.rank()
    cfg = load_cfg(RECIPE, words)
    os.environ[WORKER_OF] = json.dumps([folder, rank, cfg.OUTPUT_DIR])
    stage = Stage(journal.folder, rank, Path(cfg.OUTPUT_DIR))
    journal.write_pid(RANKS[rank])
    if stage.is_undisturbed:
        checkpoint.prune = lambda *args, **kwargs: []
    wrap_rank(stage, journal)
    stage.begin_start_up()
    cli.train_and_test(cfg)


def main(folder: str, words: list[str]) -> int:
    """The exit status of the run."""

    def run() -> int:
        Journal(Path(folder)).write_pid(PARENT)
        place = {"processes_per_shard": NUM_RANKS, "num_shards": 1, "shard_id": 0, "init_method": ""}
        launch(one_rank, (folder, words), **place, backend="gloo")
        return 0

    return cli.exit_status("faulty_run", run)


if __name__ == "__mp_main__" and WORKER_OF in os.environ:  # in a worker, which a rank has spawned
    _folder, _rank, _output_dir = json.loads(os.environ[WORKER_OF])
    in_phase(Stage(Path(_folder), _rank, Path(_output_dir)), "data worker", VideoDataset, "__getitem__")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
