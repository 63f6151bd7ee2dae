"""The command `extract`: features of videos, from any layer of a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = "write features of videos from any layer of a trained model"
USAGE = "CHECKPOINT LIST --out DIR [options] [KEY VALUE ...]"
DESCRIPTION = """\
Write what a layer of a trained model gives for every video of a list, or in a
folder: for each clip its features, frame numbers and seconds. Clips are those
of the model's test, or with --stride windows over the whole video. Each video
is decoded once. A command that was stopped goes on where it was when it is
given again.

DIR gets shard-00000.npz and so on (arrays, no pickle) or .parquet,
features.json (what they are of) and failures.csv (path, reason). In Python:
  from slowfast.inference import features
  for video in features.read(DIR):
      video.name, video.features, video.start_seconds, video.end_seconds
Exit status: 0 all videos done, 1 some could not be read, 2 it cannot be done,
130 stopped."""
EPILOG = """\
KEY VALUE pairs change keys of the checkpoint's config, such as
TEST.NUM_SPATIAL_CROPS 1 TEST.NUM_ENSEMBLE_VIEWS 1 for one view a video.
example: slowfast extract best.pyth lists/train.csv --media /videos --out features/train"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint of a run, such as best.pyth")
    add(
        "list", type=Path, metavar="LIST", help="a list of videos or folders of frames, or a folder of videos"
    )
    add("--out", type=Path, metavar="DIR", required=True, help="folder of the features")
    add(
        "--media",
        metavar="PREFIX",
        default="",
        help="folder of the listed videos, or a pattern of tar shards",
    )
    add(
        "--layer",
        metavar="NAME",
        default="head_input",
        help="a module of the model, such as blocks3.7; head_input is what the head is given (%(default)s)",
    )
    add("--dense", action="store_true", help="keep the tokens, time x height x width, instead of their mean")
    add("--stride", type=float, metavar="SECONDS", help="a window every so many seconds over the whole video")
    add("--dtype", choices=("float32", "float16"), default="float32", help="of the features (%(default)s)")
    add("--format", choices=("npz", "parquet"), default="npz", help="of the files (%(default)s)")
    add(
        "--shard-size",
        type=int,
        metavar="N",
        help="videos a file, which are held in memory together (1000; 20 with --dense)",
    )
    add("--cfg", metavar="FILE", help="the recipe of weights that hold no config, such as published ones")
    add("--device", default="", metavar="NAME", help="cpu or cuda (a GPU where there is one)")
    add("--jobs", type=int, metavar="N", help="videos decoded at once (half of the cores, at most 8)")


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Extract; the exit status."""
    from slowfast.inference.build import load
    from slowfast.inference.extracting import Wanted, extract, find_videos
    from slowfast.utils import environment
    from slowfast.utils.optional import require

    if args.format == "parquet":
        require("pyarrow", "parquet files")
    if args.stride is not None and not args.stride > 0:
        raise ValueError(
            f"--stride {args.stride:g}: write seconds above 0, or leave it out for the test's clips"
        )
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs {args.jobs}: write 1 or more")
    wanted = Wanted(
        layer=args.layer,
        dense=args.dense,
        dtype=args.dtype,
        stride_seconds=args.stride or 0.0,
        file_format=args.format,
        shard_size=(20 if args.dense else 1000) if args.shard_size is None else args.shard_size,
    )
    videos = find_videos(args.list, args.media, str(args.out))
    classifier = load(args.checkpoint, recipe=args.cfg, device=args.device, opts=opts)
    jobs = args.jobs or min(8, max(1, environment.num_cores() // 2))
    return int(extract(classifier, videos, args.out, wanted, jobs=jobs) > 0)
