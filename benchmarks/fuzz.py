"""Damaged files against everything here that reads files: nothing may crash or hang, and each refusal is one line.

python benchmarks/fuzz.py [--out runs/fuzz] [--videos 5000] [--texts 3000] [--checkpoints 1000] [--media DIR ...]

Videos are made by damaging real encodings, small ones written here and, of every five, one from --media: in the header,
the index and the payload by turns. Each is decoded as tools/check_data.py does, in a process of its own; one of ten
also goes through the loader of a test with a worker, as does each that ended a process. Texts are video lists, class
names and recipes; checkpoints are archives of torch and its older files, with bytes changed, with a changed pickle
under a right checksum, and with values of wrong types.

Prints tables, and what is a fault: an error of an unexpected kind, a reason of several lines or of none, an item that
the loader lost. Files with which a process ended, and those of faults, stay in OUT/kept. Exit status 1: faults.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from fuzzing import videos
from fuzzing.outcomes import KINDS, Tally, Victim

from slowfast.utils.isolation import Limits, Outcome

_LOADER_EVERY = 10


def run_videos(out: Path, count: int, seed: int, media: Sequence[Path], limits: Limits) -> int:
    """The campaign of videos; returns the number of faults."""
    rng = np.random.default_rng(seed)
    sound = videos.sound_videos(_folder(out / "sound"), rng)
    victims = videos.damage_videos(sound, videos.media_videos(media), _folder(out / "videos"), count, rng)
    tally = _tell("Videos, decoded in isolation", videos.judge_videos(victims, limits), out)
    share = list(dict.fromkeys([*victims[::_LOADER_EVERY], *tally.ended]))
    counts, faults = videos.through_loader(share, _folder(out / "loader"), limits)
    told = ", ".join(f"{kind} {counts[kind]}" for kind in KINDS[:5])
    print(
        f"\n{len(share)} of them through the loader, one worker: {told}; faults {len(faults)}",
        *faults,
        sep="\n",
    )
    return tally.num_faults + len(faults)


def run_texts(out: Path, count: int, seed: int, limits: Limits) -> int:
    """The campaign of lists, class names and recipes; returns the number of faults."""
    from fuzzing import texts

    victims = texts.damage_texts(_folder(out / "texts"), count, np.random.default_rng(seed))
    return _tell("Texts, read in isolation", texts.judge_texts(victims, limits), out).num_faults


def run_checkpoints(out: Path, count: int, seed: int, limits: Limits) -> int:
    """The campaign of checkpoints; returns the number of faults."""
    from fuzzing import checkpoints

    victims = checkpoints.damage_checkpoints(_folder(out / "checkpoints"), count, np.random.default_rng(seed))
    judged = checkpoints.judge_checkpoints(victims, limits)
    return _tell("Checkpoints, read in isolation", judged, out).num_faults


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _tell(title: str, judged: Iterator[tuple[Victim, Outcome]], out: Path) -> Tally:
    """Count all outcomes, and print what they were."""
    tally = Tally(out / "kept")
    for victim, outcome in judged:
        tally.add(victim, outcome)
    print(f"\n{title}\n\n{tally.table()}\n\n{tally.told()}", flush=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/fuzz"), help="folder for all files (runs/fuzz)"
    )
    parser.add_argument("--videos", type=int, default=5000, help="damaged videos (5000)")
    parser.add_argument("--texts", type=int, default=3000, help="damaged lists, class names, recipes (3000)")
    parser.add_argument("--checkpoints", type=int, default=1000, help="damaged checkpoints (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (0)")
    parser.add_argument(
        "--media", type=Path, nargs="*", default=[], help="folders of sound videos to damage too"
    )
    parser.add_argument("--seconds", type=float, default=30, help="for one file (30)")
    parser.add_argument("--memory-gb", type=float, default=1, help="for one file (1)")
    args = parser.parse_args()
    limits = Limits(args.seconds, args.memory_gb)
    print(f"PyAV {av.__version__}, seed {args.seed}", flush=True)
    faults = run_videos(args.out, args.videos, args.seed, args.media, limits) if args.videos else 0
    faults += run_texts(args.out, args.texts, args.seed, limits) if args.texts else 0
    faults += run_checkpoints(args.out, args.checkpoints, args.seed, limits) if args.checkpoints else 0
    print(f"\n{faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
