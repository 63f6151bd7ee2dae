"""The command `doctor`: is this machine fit for a run, and what to do where it is not?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

HELP = "look at this machine: what is fit for a run, and what to do where it is not"
USAGE = "[--cfg FILE] [KEY VALUE ...]"
DESCRIPTION = """\
Look at versions, GPUs, video decoders, 3D convolution (its values and memory),
shared memory, and what started this process; with a recipe also at its
folders. Each line is OK or says what to do. Exit status: 0 all is well, 1 there
is something to do."""
EPILOG = """\
example: slowfast doctor --cfg configs/k400/uniformer_s8x8.yaml DATA.PATH_PREFIX /videos"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--cfg", default="", metavar="FILE", help="a recipe whose folders and precision are looked at"
    )


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Look at everything; 1 if there is something to do."""
    from slowfast.diagnosis.story import diagnose

    if opts and not args.cfg:
        raise ValueError(
            f"{' '.join(opts)}: settings are those of a recipe; give it with --cfg, or leave them out"
        )
    to_do = 0
    for finding in diagnose(args.cfg, list(opts)):
        print(finding, flush=True)
        to_do += bool(finding.to_do)
    print(f"{to_do} thing(s) to do" if to_do else "all is well")
    return int(to_do > 0)
