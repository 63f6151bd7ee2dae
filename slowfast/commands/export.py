"""The command `export`: a trained model as a file for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = "write a trained model as ONNX, torch.export or safetensors"
USAGE = "CHECKPOINT --to FORMAT [--out FILE] [options] [KEY VALUE ...]"
DESCRIPTION = """\
Write the model of a checkpoint as a file that other programs run or read:
onnx (onnxruntime and others), torch-export (torch alone, Python or C++), or
safetensors (weights, which slowfast reads too). The file carries class names,
preprocessing and recipe; torch-export has them in FILE.json. Batch norms are
folded, and the number of clips is free.

Before the file takes its place it is run beside the model: where any output
differs by more than 1e-4, nothing is written. Exit status: 0 written, 2 not."""
EPILOG = """\
KEY VALUE pairs change keys of the checkpoint's config, such as DATA.NUM_FRAMES
or DATA.TEST_CROP_SIZE for clips of another size.
example: slowfast export runs/mine/best.pyth --to onnx --with-preprocessing --softmax --check a.mp4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint of a run, such as best.pyth")
    add("--to", choices=("onnx", "torch-export", "safetensors"), required=True, help="the format")
    add("--out", type=Path, metavar="FILE", help="CHECKPOINT with .onnx, .pt2 or .safetensors as its suffix")
    add("--cfg", metavar="FILE", help="the recipe of weights that hold no config, such as published ones")
    add(
        "--with-preprocessing",
        action="store_true",
        help="take uint8 clips (N, T, S, S, 3), RGB: normalising is part of the file",
    )
    add("--softmax", action="store_true", help="give probabilities instead of logits")
    add("--batch", type=int, default=0, metavar="N", help="take exactly N clips at once (any number)")
    add(
        "--int8",
        nargs="?",
        const="dynamic",
        default="",
        choices=("dynamic", "static"),
        help="write FILE_int8.onnx too, linear layers in int8, and say what that changed; static scales activations "
        "by those of the checked clips (%(const)s)",
    )
    add(
        "--check",
        action="append",
        default=[],
        metavar="VIDEO",
        help="compare on this video; may be repeated (without it on generated clips)",
    )
    add(
        "--check-list", default="", metavar="LIST", help="tell the top-1 accuracy on the videos of a list too"
    )
    add("--media", default="", metavar="PREFIX", help="folder of the videos of --check-list")


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Export; the exit status."""
    from slowfast.inference.exporting.story import SUFFIXES, Wanted, export

    if args.media and not args.check_list:
        raise ValueError(
            "--media says where the videos of --check-list lie: give the list too, or leave it out"
        )
    wanted = Wanted(
        to=args.to,
        out=args.out or args.checkpoint.with_suffix(SUFFIXES[args.to]),
        with_preprocessing=args.with_preprocessing,
        softmax=args.softmax,
        batch=args.batch,
        int8=args.int8,
    )
    export(
        args.checkpoint,
        wanted,
        recipe=args.cfg,
        opts=opts,
        check=args.check,
        check_list=args.check_list,
        media=args.media,
    )
    return 0
