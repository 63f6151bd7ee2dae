"""The command `finetune`: a model for one's own classes from a folder of videos, in one go."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = "train a model on your own classes, from a folder of videos for each"
USAGE = "DATA --init CHECKPOINT|none [--out DIR] [options] [KEY VALUE ...]"
DESCRIPTION = """\
Fine-tune a model on your own classes. DATA is a folder with one folder of
videos for each class, or one with lists (train.csv, val.csv, test.csv,
classes.txt). Model, clips, batch and epochs are chosen for data and device,
each with its reason in a line; KEY VALUE pairs change any of it. The same
command goes on where it was stopped. In the end DIR holds model.pyth, one
file with weights, class names and preprocessing, and the results of the test
on videos that were not trained on."""
EPILOG = """\
examples:
  slowfast finetune my_videos --init none --out runs/mine
  slowfast finetune my_videos --init runs/demo/best.pyth --out runs/mine --epochs 20
  slowfast finetune lists --media videos --init uniformer_small_k400_8x8 --freeze 'blocks1.*'"""
MODEL = "model.pyth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("data", metavar="DATA", help="folder of class folders, or of lists")
    add(
        "--init",
        required=True,
        metavar="CHECKPOINT",
        help="weights to start from: a file, or a published name in path_to_models/; none: a small model from scratch",
    )
    add("--out", default="runs/finetune", metavar="DIR", help="folder of the run (%(default)s)")
    add(
        "--cfg",
        default="",
        metavar="FILE",
        help="the recipe of weights that hold none, or one to train from scratch",
    )
    add("--media", default="", metavar="DIR", help="folder that the paths in lists start from")
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the videos (for some 600 steps, 720 from scratch)",
    )
    add(
        "--batch",
        type=int,
        metavar="N",
        help="videos of a step (16, or a sixth of them; split where memory is small)",
    )
    add("--gpus", type=int, metavar="N", help="GPUs to use, 0 for the CPU (all there are)")
    add(
        "--freeze",
        action="append",
        default=[],
        metavar="PATTERN",
        help="parameters to leave as they are, such as 'blocks1.*'; may be repeated",
    )
    add("--group-by", default="", metavar="REGEX", help="what ( ) finds in a path is never in two splits")
    add(
        "--val",
        type=float,
        default=0.1,
        metavar="PART",
        help="of the videos, to judge by in training (%(default)s)",
    )
    add(
        "--test",
        type=float,
        default=0.2,
        metavar="PART",
        help="of the videos, for the test at the end (%(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of split, weights and order (%(default)s)")
    add(
        "--weights-dir",
        default="path_to_models",
        metavar="DIR",
        help="folder of published weights (%(default)s)",
    )
    add("--dry-run", action="store_true", help="choose and write DIR/recipe.yaml, train nothing")


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Choose, train, test, and write the model; the exit status."""
    from slowfast import cli
    from slowfast.finetuning import story
    from slowfast.inference import deployable

    story.check_settings(opts)
    wishes = story.Wishes(
        data=args.data,
        out=args.out,
        init="" if args.init == "none" else args.init,
        recipe=args.cfg,
        media=args.media,
        weights_dir=args.weights_dir,
        gpus=args.gpus,
        epochs=args.epochs,
        batch=args.batch,
        freeze=tuple(args.freeze),
        group_by=args.group_by,
        val=args.val,
        test=args.test,
        seed=args.seed,
        opts=tuple(opts),
    )
    recipe = story.prepare(wishes, print)
    print(f"the same by hand: {story.command(recipe)}")
    sys.stdout.flush()
    if args.dry_run:
        return 0
    status = cli.main(["run", "--cfg", str(recipe)])
    if status == 0:
        model = Path(args.out) / MODEL
        deployable.write(story.trained_state(recipe), model)
        print(f"model: {model}; try it: slowfast predict {shlex.quote(str(model))} VIDEO")
    return status
