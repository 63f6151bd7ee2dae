"""The command `check`: decode every video of a list and name those that fail."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from slowfast.config import load_cfg

HELP = "decode every video of a list and name those that fail"
USAGE = "LIST [--media PREFIX] [--cfg FILE] [options] [KEY VALUE ...]"
DESCRIPTION = """\
Decode the frames that training may take of every video of a list, each in a
process that may crash, hang or run out of memory. Writes good.csv (lines of
the list), bad.csv (path, label, reason) and coverage.csv (videos per class).
A check that was stopped goes on where it was; videos that changed are checked
anew. Exit status: 0 all videos are good, 1 some are not, 2 the check cannot
be done, 130 or, by a signal of a cluster, 75 stopped."""
EPILOG = """\
KEY VALUE pairs change keys of the recipe.
example: slowfast check lists/train.csv --media /videos --jobs 16"""
WHEN_INTERRUPTED = "; the same command goes on from here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("list", type=Path, metavar="LIST", help="a list of video files or folders of frames")
    add("--media", metavar="PREFIX", default="", help="folder of the videos, or a pattern of tar shards")
    add("--classes", metavar="FILE", default="", help="class names in order (classes.txt beside LIST)")
    add("--cfg", metavar="FILE", help="a recipe: how its data set reads lists, and what a clip is")
    add("--out", type=Path, metavar="DIR", help="folder of this check (LIST without suffix + _check)")
    add("--jobs", type=int, metavar="N", help="processes that decode (one for each core)")
    add("--seconds", type=float, default=30, metavar="S", help="time limit for a video (%(default)g)")
    add(
        "--memory-gb",
        type=float,
        default=2,
        metavar="GB",
        help="memory for a video, with the frames of a clip (%(default)g; held on Linux)",
    )
    add(
        "--frames",
        choices=("all", "clip"),
        default="all",
        help="all: every frame, since clips may start anywhere; clip: those of one clip in the middle, which is "
        "quicker and misses damage elsewhere (%(default)s)",
    )
    add(
        "--keep-damaged",
        action="store_true",
        help="into good.csv also what decodes but has fewer frames than its header promises: training uses it",
    )


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Check the list; the exit status."""
    from slowfast.engine.check_data import check_data
    from slowfast.utils import environment
    from slowfast.utils.isolation import Limits

    if opts and not args.cfg:
        raise ValueError(
            f"{' '.join(opts)}: settings are those of a recipe; give it with --cfg, or leave them out"
        )
    given = {"DATA.PATH_PREFIX": args.media, "DATA.CLASS_NAMES_PATH": args.classes}
    ours = [word for key, value in given.items() if value for word in (key, value)]
    return check_data(
        args.list,
        load_cfg(args.cfg, [*opts, *ours]) if args.cfg else None,
        media=args.media,
        classes=args.classes,
        out=args.out,
        jobs=environment.num_cores() if args.jobs is None else args.jobs,
        limits=Limits(args.seconds, args.memory_gb),
        frames=args.frames,
        keep_damaged=args.keep_damaged,
    )
