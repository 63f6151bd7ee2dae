"""Whether a run that is killed again and again ends like one that nothing happened to: a campaign of random faults.

python benchmarks/faults.py --faults 30 --seed 0 --out faults.json

Trains the debug recipe on made-up videos in two processes on the CPU, each with a loader worker: three epochs of five
steps, a checkpoint every four steps, a validation after each epoch. A fault ends it, the same command goes on with it,
the next fault comes, until it has ended by itself; then the next training begins, until there were enough faults. A
fault is SIGKILL, SIGTERM or SIGUSR1 of the parent, a rank or a loader worker; a disk that is full from some moment on;
or a disk so slow that the signal comes during its fsync. Each comes before a line of the package, drawn from all that
one of five phases executes: start-up, a step, saving, validation, or the reading of a video in a worker
(faulty_run.py tells how). The draws follow from the seed; where a signal to another process finds that one does not.

After each fault every checkpoint that is there is compared with the one of the undisturbed run after as many steps, and
at the end those that are left and metrics.jsonl, but for times: no bit may differ. Also checked for each fault: the
exit status; the steps lost, none by SIGTERM and SIGUSR1, otherwise at most TRAIN.CHECKPOINT_STEPS; that a full disk is
said to be one, with the step that the run goes on after; that no process stays behind. And at the end, that no
temporary file does. A kill of processes, that is: what a power cut does to a disk, this cannot show. Needs Linux.

Prints tables in Markdown. Exit status: 0, or 1 if anything differs or was not as promised, or a phase was not hit often
enough in three times as many lives of the run as faults were wanted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from faulty_run import FULL_DISK, KILL, PARENT, PHASES, RANKS, SLOW_DISK, WORKER, Fault

from slowfast.datasets.synthetic import DatasetSettings, write_dataset
from slowfast.utils import checkpoint, environment, run_lock, stopping
from slowfast.utils.logging import read_json_lines

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT_STEPS = 4
SETTINGS = {
    "TRAIN.BATCH_SIZE": 4, "TEST.BATCH_SIZE": 2, "LOG_PERIOD": 2, "SOLVER.MAX_EPOCH": 3, "TEST.ENABLE": False,
    "TRAIN.KEEP_CHECKPOINTS": 2, "NUM_THREADS": 1, "LOG_MODEL_INFO": False,
}  # fmt: skip
TRAIN_VIDEOS = 20
TIMES = {"dt", "dt_data", "dt_net", "data_wait", "eta", "time_diff", "gpu_mem", "RAM"}
# Of a checkpoint: times, and what tells the undisturbed run from the others (its folder, a checkpoint after each step)
NOT_COMPARED = {"so_far.seconds", "so_far.wait_seconds", "cfg", "versions"}
MOST_SECONDS_OF_LIFE, MOST_SECONDS_AFTER = 300.0, 60.0
FAILED, STOPPED, REFUSED = 1, stopping.AGAIN_STATUS, 2

# What comes once in each round of draws, in random order, and so about as often as the others.
ROUND = (
    *((phase, KILL) for phase in PHASES for _ in range(2)),
    ("saving", FULL_DISK),
    ("saving", SLOW_DISK),
)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
VICTIMS = {phase: (PARENT, *RANKS, WORKER) for phase in PHASES} | {"start-up": (PARENT, *RANKS)}
# In which pass through a phase the fault comes, of a process's life, at most: so that runs get on a little between two
MOST_PASSES = {"start-up": 1, "step": 4, "saving": 3, "validation": 2, "data worker": 8}


@dataclass
class Life:
    """What came of a run from its start to its end.

    ``status`` is the exit status, None if it did not end in time; ``resumed`` the step that it went on after and
    ``done`` the last step that was done, both None if it did not come so far; ``left_behind`` the number of processes
    that had to be killed after it; ``events`` what its processes told, and ``said`` what they printed.
    """

    status: int | None
    resumed: int | None
    done: int | None
    left_behind: int
    events: list[dict]
    said: str


@dataclass
class Hit:
    """A fault that came, and what it did. ``step`` is what the next life goes on after, ``lost`` the steps before."""

    training: int
    phase: str
    where: str
    kind: str
    signum: int
    victim: str
    status: int | None
    step: int
    lost: int
    compared: int
    problems: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def fault(self) -> str:
        if self.kind == FULL_DISK:
            return FULL_DISK
        told = f"{signal.Signals(self.signum).name} of {self.victim}"
        return f"{told}, {SLOW_DISK}" if self.kind == SLOW_DISK else told


@dataclass
class End:
    """A training that ended by itself, and how it compares with the undisturbed one."""

    training: int
    faults: int
    lives: int
    compared: int
    differences: list[str]


# ----------------------------------------------------------------------------------------------------------
# Comparing
# ----------------------------------------------------------------------------------------------------------
def leaves(value, name: str = "") -> Iterator[tuple[str, object]]:
    """Tensors and plain values of nested dicts, lists and tuples, by dotted names, but for NOT_COMPARED."""
    if name in NOT_COMPARED:
        return
    if isinstance(value, dict):
        items: Iterable = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, item in items:
        yield from leaves(item, f"{name}.{key}" if name else str(key))


def compare(one, other) -> tuple[int, list[str]]:
    """How many values two payloads, or other nested values, have, and the names of those that differ in any bit."""
    mine, theirs = dict(leaves(one)), dict(leaves(other))
    missing = object()
    names = list(mine | theirs)
    return len(names), [
        name for name in names if not same(mine.get(name, missing), theirs.get(name, missing))
    ]


def same(one, other) -> bool:
    """Whether two values are of one kind and equal in every bit: NaN equals itself, 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.equal(_bits(one), _bits(other))
    if isinstance(one, float):
        return one.hex() == other.hex()
    return one == other


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def compare_checkpoints(folder: Path, reference: Path) -> tuple[int, list[str]]:
    """All checkpoints of a run with those of the undisturbed one after as many steps; see `compare`."""
    compared, found = 0, []
    for path in sorted(folder.rglob("*.pyth")):
        payload = checkpoint.load(path)
        count, names = compare(payload, checkpoint.load(counterpart(payload, reference)))
        compared += count
        found += [f"{path.name}: {name}" for name in names]
    return compared, found


def counterpart(payload: dict, reference: Path) -> Path:
    """The file of the undisturbed run, which keeps the state after each step and epoch, at the same place."""
    if payload["batch_in_epoch"]:
        return checkpoint.step_path(reference, payload["global_step"])
    return checkpoint.epoch_path(reference, payload["epoch"] + 1)


def records(folder: Path) -> list[dict]:
    """The lines of metrics.jsonl, but for times."""
    lines = read_json_lines(folder / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def compare_ends(folder: Path, reference: Path) -> tuple[int, list[str]]:
    """Two runs that ended: their checkpoints, their metrics line by line, and that no temporary file is left."""
    compared, found = compare_checkpoints(folder, reference)
    last, expected = (
        max((path.name for path in run.rglob("checkpoint_epoch_*")), default="none")
        for run in (folder, reference)
    )
    if last != expected:
        found.append(f"last checkpoint: {last}, not {expected}")
    count, names = compare(records(folder), records(reference))
    found += [f"metrics.jsonl: {name}" for name in names]
    litter = sorted(path.name for path in folder.rglob(".*") if path.name != run_lock.FILE)  # which stays
    return compared + count, found + [f"left behind: {name}" for name in litter]


# ----------------------------------------------------------------------------------------------------------
# Drawing faults
# ----------------------------------------------------------------------------------------------------------
class Draws:
    """Faults without end, of every kind about as often as of any other, before lines that it has learnt of."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._times: dict[str, Counter[str]] = defaultdict(Counter)
        self._decks: dict[str, list] = defaultdict(list)

    def learn(self, phase: str, times: dict[str, int]) -> None:
        """A pass through a phase has executed these lines so often."""
        self._times[phase] |= Counter(times)

    def next(self, missing: Sequence[str] = ()) -> Fault:
        """The next fault; if any phases are missing hits, one in these."""
        phase, kind = self._take("round", ROUND)
        while missing and phase not in missing:
            phase, kind = self._take("round", ROUND)
        pairs = [(int(signum), victim) for signum in SIGNALS for victim in VICTIMS[phase]]
        signum, victim = (0, "") if kind == FULL_DISK else self._take(phase, pairs)
        rank = 0 if phase == "saving" else self._rng.randrange(len(RANKS))
        number, place = self._rng.randrange(MOST_PASSES[phase]), self._rng.choice(sorted(self._times[phase]))
        time = self._rng.randint(1, self._times[phase][place])
        return Fault(phase, number, place, time, kind, signum, victim, rank)

    def _take(self, name: str, cards: Sequence):
        deck = self._decks[name]
        if not deck:
            deck += cards
            self._rng.shuffle(deck)
        return deck.pop()


# ----------------------------------------------------------------------------------------------------------
# Judging
# ----------------------------------------------------------------------------------------------------------
def most_lost(kind: str, signum: int, victim: str) -> int:
    """How many steps a fault may cost, by what the settings promise."""
    if kind == FULL_DISK:
        return CHECKPOINT_STEPS
    return CHECKPOINT_STEPS if signum == signal.SIGKILL and victim != WORKER else 0


def allowed_statuses(kind: str, signum: int, victim: str) -> set[int]:
    """How a run may end after a fault; 0 where nothing was left to do, or nothing stands in the way of it."""
    if kind == FULL_DISK:
        return {0, REFUSED}
    if victim == WORKER:
        return {0}
    if signum != signal.SIGKILL:
        return {0, STOPPED}
    return {-signal.SIGKILL} if victim == PARENT else {FAILED}


def problems(fault: Fault, life: Life, step: int, lost: int) -> list[str]:
    """What was not as promised after a fault that ended a life, in words."""
    found = []
    allowed = allowed_statuses(fault.kind, fault.signum, fault.victim)
    if life.status not in allowed:
        found.append(f"exit status {life.status}, not {' or '.join(map(str, sorted(allowed)))}")
    bound = most_lost(fault.kind, fault.signum, fault.victim)
    if not 0 <= lost <= bound:
        found.append(f"{lost} steps lost, not 0 to {bound}")
    if life.left_behind:
        found.append(f"{life.left_behind} processes left behind")
    if fault.kind == FULL_DISK and life.status == REFUSED:
        found += [
            f"does not say {words!r}" for words in ("No space left on device",) if words not in life.said
        ]
        if "cannot write" in life.said and f"goes on after step {step}," not in life.said:
            found.append(f"does not say that it goes on after step {step}")
    return found


# ----------------------------------------------------------------------------------------------------------
# Running
# ----------------------------------------------------------------------------------------------------------
def live(folder: Path, words: Sequence[str], fault: Fault | None) -> Life:
    """One life of a run; ``folder``, new, takes what it tells."""
    folder.mkdir(parents=True)
    (folder / "fault.json").write_text(json.dumps(fault and asdict(fault)))
    command = [sys.executable, str(ROOT / "benchmarks" / "faulty_run.py"), str(folder), *words]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    surroundings = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    with open(folder / "said.txt", "wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True, env=surroundings
        )
    status = None
    try:
        status = process.wait(MOST_SECONDS_OF_LIFE)
        left_behind = end_group(process.pid, MOST_SECONDS_AFTER)
    except subprocess.TimeoutExpired:
        left_behind = len(members(process.pid))
    finally:
        end_group(process.pid, 0.0)
        process.wait()
    events = read_json_lines(folder / "events.jsonl") if (folder / "events.jsonl").exists() else []
    resumed = next((event["step"] for event in events if event["event"] == "resumed"), None)
    done = None if resumed is None else int.from_bytes((folder / "steps").read_bytes(), "little")
    return Life(status, resumed, done, left_behind, events, (folder / "said.txt").read_text(errors="replace"))


def _expect_an_end(life: Life) -> None:
    """Raises RuntimeError for a run that ended otherwise than by itself though nothing happened to it."""
    if life.status != 0:
        raise RuntimeError(f"without a fault the run ends with status {life.status}:\n{life.said[-3000:]}")


def members(group: int) -> list[int]:
    """Ids of the processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def end_group(group: int, seconds: float) -> int:
    """Wait until all processes of a group have ended, so long at most; kills those that are left, and counts them."""
    end = time.monotonic() + seconds
    while (left := members(group)) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return len(left)


class Campaign:
    """Trainings of one command in ``folder``, with a fault in each of their lives, until there were enough."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._reference = folder / "undisturbed"
        self._lives = 0
        self._trainings = 0
        self.hits: list[Hit] = []
        self.ends: list[End] = []
        self._write_data()
        self._draws = Draws(seed)
        _expect_an_end(self._live(self._reference, None, keep_all=True))

    def run(self, faults: int, per_phase: int) -> None:
        """So many faults, and more until each phase has been hit ``per_phase`` times, in a bounded number of lives."""
        most = self._lives + 3 * max(faults, per_phase * len(PHASES)) + len(PHASES)
        while self._is_wanting(faults, per_phase) and self._lives < most:
            self._train(faults, per_phase, most)

    def _is_wanting(self, faults: int, per_phase: int) -> bool:
        return len(self.hits) < faults or bool(too_few(self.hits, per_phase))

    def _train(self, faults: int, per_phase: int, most: int) -> None:
        """One training, with faults as long as they are wanted, to its end."""
        self._trainings += 1
        output_dir = self._folder / f"training{self._trainings}"
        lives = before = 0
        status: int | None = None
        while status != 0:
            enough = len(self.hits) >= faults
            wanted = self._is_wanting(faults, per_phase) and self._lives < most
            fault = self._draws.next(too_few(self.hits, per_phase) if enough else ()) if wanted else None
            life = self._live(output_dir, fault)
            status, lives = life.status, lives + 1
            before = self._take_in(fault, life, output_dir, before)
        compared, differences = compare_ends(output_dir, self._reference)
        hits = sum(hit.training == self._trainings for hit in self.hits)
        self.ends.append(End(self._trainings, hits, lives, compared, differences))

    def _take_in(self, fault: Fault | None, life: Life, output_dir: Path, before: int) -> int:
        """Judge a life, which was to go on after step ``before``; returns the step that the next one goes on after."""
        newest = checkpoint.newest(output_dir / checkpoint.FOLDER)
        step = checkpoint.load(newest)["global_step"] if newest else 0
        struck = next((event for event in life.events if event["event"] == "fault"), None)
        if struck is None:
            _expect_an_end(life)
            return step
        lost = 0 if life.done is None else life.done - step
        found = problems(fault, life, step, lost)
        if life.resumed not in (None, before):
            found.append(f"went on after step {life.resumed}, not {before}")
        compared, differences = compare_checkpoints(output_dir, self._reference)
        place = {name: struck[name] for name in ("phase", "where", "kind", "signum", "victim")}
        outcome = {"status": life.status, "step": step, "lost": lost, "compared": compared}
        hit = Hit(self._trainings, **place, **outcome, problems=found, differences=differences)
        self.hits.append(hit)
        print(row(len(self.hits), hit), file=sys.stderr, flush=True)
        return step

    def _live(self, output_dir: Path, fault: Fault | None, keep_all: bool = False) -> Life:
        self._lives += 1
        settings = SETTINGS | {
            "OUTPUT_DIR": output_dir,
            "DATA.PATH_TO_DATA_DIR": self._folder / "data",
            "DATA.PATH_PREFIX": self._folder / "data",
            "TRAIN.CHECKPOINT_STEPS": 1 if keep_all else CHECKPOINT_STEPS,
        }
        life = live(self._life_folder(), [str(word) for pair in settings.items() for word in pair], fault)
        for event in life.events:
            if event["event"] == "lines":
                self._draws.learn(event["phase"], event["times"])
        return life

    def _life_folder(self) -> Path:
        return self._folder / "lives" / f"{self._lives:03d}"

    def _write_data(self) -> None:
        data = self._folder / "data"
        sizes = {
            "train_clips": 3,
            "val_clips": 1,
            "test_clips": 1,
            "min_size": 40,
            "max_size": 48,
            "frames": 16,
        }
        write_dataset(data, DatasetSettings(**sizes), processes=1)
        lines = (data / "train.csv").read_text().splitlines(keepends=True)
        (data / "train.csv").write_text("".join(lines[:TRAIN_VIDEOS]))


# ----------------------------------------------------------------------------------------------------------
# Telling
# ----------------------------------------------------------------------------------------------------------
def too_few(hits: Sequence[Hit], per_phase: int) -> list[str]:
    """Phases that were not hit so often."""
    counts = Counter(hit.phase for hit in hits)
    return [phase for phase in PHASES if counts[phase] < per_phase]


def faults_table(hits: Sequence[Hit]) -> str:
    lines = [
        "| # | training | phase | before line | fault | exit status | goes on after step | lost steps | allowed "
        "| values compared | differences |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(row(number, hit) for number, hit in enumerate(hits, start=1))])


def row(number: int, hit: Hit) -> str:
    bound = most_lost(hit.kind, hit.signum, hit.victim)
    return (
        f"| {number} | {hit.training} | {hit.phase} | {hit.where} | {hit.fault} | {hit.status} | {hit.step} "
        f"| {hit.lost} | {bound} | {hit.compared} | {len(hit.differences)} |"
    )


def phases_table(hits: Sequence[Hit]) -> str:
    kinds = {
        number.name: lambda hit, number=number: hit.signum == number for number in dict.fromkeys(SIGNALS)
    }
    kinds |= {f"{SLOW_DISK} among them": lambda hit: hit.kind == SLOW_DISK}
    kinds |= {FULL_DISK: lambda hit: hit.kind == FULL_DISK}
    lines = [
        f"| phase | hits | {' | '.join(kinds)} | lost steps, most | in all |",
        "| --- | --- |" + " --- |" * (len(kinds) + 2),
    ]
    for phase in PHASES:
        here = [hit for hit in hits if hit.phase == phase]
        counts = " | ".join(str(sum(map(is_kind, here))) for is_kind in kinds.values())
        lost = [hit.lost for hit in here]
        lines.append(f"| {phase} | {len(here)} | {counts} | {max(lost, default=0)} | {sum(lost)} |")
    return "\n".join(lines)


def ends_table(ends: Sequence[End]) -> str:
    lines = ["| training | faults | lives | values compared at its end | differences |", "| --- " * 5 + "|"]
    lines += [
        f"| {end.training} | {end.faults} | {end.lives} | {end.compared} | {len(end.differences)} |"
        for end in ends
    ]
    return "\n".join(lines)


def verdict(hits: Sequence[Hit], ends: Sequence[End], faults: int, per_phase: int) -> list[str]:
    """All that is wrong, in lines; nothing for a campaign that passed."""
    found = [
        f"fault {number}: {what}"
        for number, hit in enumerate(hits, start=1)
        for what in (*hit.problems, *hit.differences)
    ]
    found += [f"end of training {end.training}: {what}" for end in ends for what in end.differences]
    if len(hits) < faults:
        found.append(f"{len(hits)} faults came, not {faults}")
    return found + [f"{phase}: hit less than {per_phase} times" for phase in too_few(hits, per_phase)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=30, metavar="N", help="so many at least (%(default)s)")
    parser.add_argument(
        "--per-phase", type=int, default=3, metavar="N", help="hits of each phase at least (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="what the faults are drawn from (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write all that was found as JSON")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where the runs live, new or empty (a temporary one)"
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        campaign = Campaign(args.folder or Path(temporary), args.seed)
        campaign.run(args.faults, args.per_phase)
    found = verdict(campaign.hits, campaign.ends, args.faults, args.per_phase)
    if args.out:
        content = {
            "seed": args.seed,
            "checkpoint_steps": CHECKPOINT_STEPS,
            "faults": [asdict(hit) for hit in campaign.hits],
            "trainings": [asdict(end) for end in campaign.ends],
            "wrong": found,
            **environment.facts(),
        }
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    for table in (faults_table(campaign.hits), phases_table(campaign.hits), ends_table(campaign.ends)):
        print(table, end="\n\n")
    differences = sum(len(entry.differences) for entry in (*campaign.hits, *campaign.ends))
    print(f"{len(campaign.hits)} faults, {differences} differences, seed {args.seed}: ", end="")
    print("\n".join(["FAIL", *found]) if found else "PASS")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
