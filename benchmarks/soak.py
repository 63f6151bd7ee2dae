"""Does a loader worker stay as it is? Thousands of decodes in one, sound and damaged videos mixed, and what it holds.

python benchmarks/soak.py --out runs/soak [--decodes 20000] [--seed 0]

Videos are those of benchmarks/fuzz.py: at most 128 pixels a side and 2 seconds long, every fourth one damaged. They are
read over and over by the loader of training, by one worker that stays from epoch to epoch. After each epoch, when
nothing is under way, resident memory and open files are looked up, of the worker and of the process that it works for.

Prints a table, and the slope of memory over the second half of the decodes, by least squares. The exit status is 1 if
that is 1 MB per 1,000 decodes or more, if the fewest open files of the last quarter are more than those of the
first, or if the worker was replaced. For Linux, where /proc tells.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fuzzing.videos import DEBUG_RECIPE, damage_videos, sound_videos

ALLOWED_MB = 1.0  # per 1,000 decodes
_DAMAGED_EVERY = 4
_ROWS = 12  # of the table


@dataclass(frozen=True)
class Use:
    """What a process holds: resident memory in MB (10^6 bytes) and open files."""

    pid: int
    mb: float
    files: int


@dataclass(frozen=True)
class Look:
    """After so many decodes, of which so many failed: what the worker holds, and this process."""

    decodes: int
    failed: int
    worker: Use
    main: Use


def make_list(folder: Path, seed: int) -> int:
    """Write videos, and train.csv that names them, for every three sound ones a damaged one; returns their number."""
    rng = np.random.default_rng(seed)
    for name in ("sound", "damaged"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sound = sound_videos(folder / "sound", rng)
    hurt = damage_videos(sound, [], folder / "damaged", len(sound) // (_DAMAGED_EVERY - 1), rng)
    paths = [path for _, path in sound] + [victim.path for victim in hurt]
    (folder / "train.csv").write_text("".join(f"{path.resolve()},0\n" for path in paths))
    return len(paths)


def soak(folder: Path, decodes: int) -> Iterator[Look]:
    """A look after each epoch over the list in `folder`, until so many videos were decoded or given up."""
    from slowfast.config import load_cfg
    from slowfast.datasets.build import build_loader

    words = ["DATA.PATH_TO_DATA_DIR", str(folder), "OUTPUT_DIR", str(folder), "TRAIN.BATCH_SIZE", "4"]
    loader = build_loader(load_cfg(DEBUG_RECIPE, words), "train")
    done = failed = 0
    for epoch in itertools.count():
        for batch in loader.epoch(epoch):
            for report in batch.reports:
                done += len(report.failures) + report.readable
                failed += len(report.failures)
        (worker,) = multiprocessing.active_children()
        yield Look(done, failed, look_up(worker.pid), look_up(os.getpid()))
        if done >= decodes:
            return


def look_up(pid: int) -> Use:
    """Raises OSError where /proc does not tell."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Use(pid, pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd")))


def slope(looks: Sequence[Look], who: str) -> float:
    """MB per 1,000 decodes of "worker" or "main" over the second half of the decodes, by least squares."""
    half = looks[-1].decodes / 2
    late = [look for look in looks if look.decodes >= half]
    return 1000 * float(
        np.polyfit([look.decodes for look in late], [getattr(look, who).mb for look in late], 1)[0]
    )


def more_files(looks: Sequence[Look], who: str) -> int:
    """By how much the fewest open files of the last quarter of the looks exceed those of the first."""
    quarter = -(-len(looks) // 4)
    first, last = (
        min(getattr(look, who).files for look in part) for part in (looks[:quarter], looks[-quarter:])
    )
    return last - first


def faults(looks: Sequence[Look]) -> list[str]:
    """What is not as it should be."""
    found = []
    for who in ("worker", "main"):
        if slope(looks, who) >= ALLOWED_MB:
            found.append(f"{who}: {slope(looks, who):.2f} MB more per 1,000 decodes")
        if more_files(looks, who) > 0:
            found.append(f"{who}: {more_files(looks, who)} more open files")
    if len({look.worker.pid for look in looks}) > 1:
        found.append("the worker was replaced")
    return found


def table(looks: Sequence[Look]) -> str:
    """Some of the looks, evenly spread, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(looks) - 1, _ROWS).astype(int))
    lines = ["| decodes | failed | worker, MB | files | main process, MB | files |", "| --- " * 6 + "|"]
    for look in (looks[place] for place in chosen):
        uses = " | ".join(f"{use.mb:.1f} | {use.files}" for use in (look.worker, look.main))
        lines.append(f"| {look.decodes} | {look.failed} | {uses} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/soak"), help="folder for the videos (runs/soak)"
    )
    parser.add_argument("--decodes", type=int, default=20_000, help="videos read or given up (20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the videos (0)")
    args = parser.parse_args()
    count = make_list(args.out, args.seed)
    looks = list(soak(args.out, args.decodes))
    print(f"{count} videos, {len(looks)} epochs\n\n{table(looks)}\n")
    for who in ("worker", "main"):
        print(f"{who}: {slope(looks, who):+.3f} MB per 1,000 decodes, {more_files(looks, who):+d} open files")
    print(*faults(looks) or ["no faults"], sep="\n")
    return int(bool(faults(looks)))


if __name__ == "__main__":
    sys.exit(main())
