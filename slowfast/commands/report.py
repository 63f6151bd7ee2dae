"""The command `report`: make report.html of a tested run anew."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = "write report.html of a tested run anew"
USAGE = "RUN [--out FILE]"
DESCRIPTION = """\
Make a page of what a test has found: accuracy with its interval, learning
curves, confusion matrix, classes, calibration, accuracy by number of views,
the worst mistakes with frames, and videos that could not be read. Every run
writes it after its test; this command makes it anew from the files of the run.
The page is one file, which opens from disk and asks no network for anything."""
EPILOG = """\
Frames are taken from the videos of the test list, where that can still be read.
example: slowfast report runs/demo"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("run_dir", metavar="RUN", help="OUTPUT_DIR of a run that was tested")
    parser.add_argument("--out", metavar="FILE", default="", help="the page (report.html in RUN)")


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Write the page and print where it is; the exit status."""
    from slowfast.reporting.report import report

    if opts:
        raise ValueError(
            f"{' '.join(opts)}: a report has no settings; give one RUN, and compare several with slowfast compare"
        )
    if args.out and Path(args.out).is_dir():
        raise ValueError(f"--out {args.out} is a folder: give the file to write")
    print(report(args.run_dir, args.out))
    return 0
