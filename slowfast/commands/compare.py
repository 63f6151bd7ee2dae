"""The command `compare`: several tested runs side by side, with a paired test."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = "compare tested runs on the same videos"
USAGE = "RUN RUN ... [--out FILE]"
DESCRIPTION = """\
Put tests side by side and compare each with the first, on the videos that both
have scored: difference of the accuracies with its interval, McNemar's test of
the videos that one of them alone has right, classes, learning curves. Prints a
short table and writes a page, one file that opens from disk."""
EPILOG = """\
Videos are matched by the names that lists give them, classes by theirs.
example: slowfast compare runs/before runs/after --out compare.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("run_dirs", metavar="RUN", nargs="+", help="OUTPUT_DIR of a run that was tested")
    parser.add_argument("--out", metavar="FILE", default="compare.html", help="the page (%(default)s)")


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Print the table and where the page is; the exit status."""
    from slowfast.reporting.compare import compare_runs

    if opts:
        raise ValueError(f"{' '.join(opts)}: name all runs one after the other, and --out FILE last")
    if Path(args.out).is_dir():
        raise ValueError(f"--out {args.out} is a folder: give the file to write")
    for line in compare_runs(args.run_dirs, args.out):
        print(line)
    print(f"see {args.out}")
    return 0
