"""The command `prepare`: the lists of a data set, from annotation files or a tree of class folders."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from slowfast.datasets.preparation import owners
from slowfast.datasets.preparation.classes import ClassNumbers
from slowfast.datasets.preparation.extraction import ExtractFrames
from slowfast.datasets.preparation.folders import Shares
from slowfast.datasets.preparation.prepare import Plan, prepare_annotated, prepare_tree
from slowfast.datasets.preparation.sharding import make_shards
from slowfast.datasets.preparation.transcoding import Transcode

DATA_LISTS = Path(__file__).resolve().parents[2] / "data_lists"
HELP = "make the lists of a data set, or of a folder of your own videos"
USAGE = "{kinetics,something,ucf101,hmdb51,folders,shards} [options]; each has a --help"
WHEN_INTERRUPTED = "; the same command goes on from here"
DESCRIPTION = """\
Make the lists that training and testing read, from the annotation files that the owners of a data set distribute
or from a folder that holds one folder of videos for each class. Videos that are not there or cannot be read are
named in missing.csv, listed videos that end too early in damaged.csv; counts.csv has the number of videos of each
class. Lists that are there are replaced.
The command shards packs the videos of lists into tar files, of which cluster file systems like a few large ones."""
EPILOG = """\
examples:
  slowfast prepare folders videos --out lists --group-by 'person(\\d+)' --val 0.1 --test 0.2
  slowfast prepare folders videos --out lists --transcode small
  slowfast prepare kinetics --set k400 --train train.csv --val val.csv --media k400 --out lists/k400
  slowfast prepare something --version v2 --train something-something-v2-train.json \\
      --val something-something-v2-validation.json --media videos --out lists/ssv2 --extract-frames frames
  slowfast prepare ucf101 --annotations ucfTrainTestlist --media UCF-101 --out lists/ucf101
  slowfast prepare hmdb51 --annotations testTrainMulti_7030_splits --media hmdb51 --out lists/hmdb51
  slowfast prepare shards lists/k400/*.csv --media k400 --out k400_shards"""


def kinetics(args: argparse.Namespace) -> str:
    classes = published_classes(args, args.set)
    entries = []
    for split in ("train", "val", "test"):
        if getattr(args, split):
            entries += owners.read_kinetics(getattr(args, split), split, classes)
    return prepare_annotated(plan(args, args.set, args.media), {"": entries}, classes).report


def something(args: argparse.Namespace) -> str:
    data_set = f"ss{args.version}"
    classes = published_classes(args, data_set)
    read = owners.read_something_v1 if args.version == "v1" else owners.read_something_v2
    if args.labels:
        classes.require_order(owners.read_something_labels(args.labels), str(args.labels))
    entries = []
    for split in ("train", "val", "test"):
        if getattr(args, split):
            entries += read(getattr(args, split), split, classes)
    return prepare_annotated(plan(args, data_set, args.media), {"": entries}, classes).report


def ucf101(args: argparse.Namespace) -> str:
    classes = published_classes(args, "ucf101")
    splits = owners.read_ucf101(args.annotations, classes)
    return prepare_annotated(plan(args, "ucf101", args.media), splits, classes).report


def hmdb51(args: argparse.Namespace) -> str:
    classes = published_classes(args, "hmdb51")
    splits = owners.read_hmdb51(args.annotations, classes)
    return prepare_annotated(plan(args, "hmdb51", args.media), splits, classes).report


def folders(args: argparse.Namespace) -> str:
    shares = Shares(args.val, args.test)
    return prepare_tree(
        plan(args, "folders", args.directory),
        shares,
        classes=read_classes(args.classes) if args.classes else None,
        group_by=args.group_by,
        seed=args.seed,
    ).report


def shards(args: argparse.Namespace) -> str:
    return make_shards(
        args.lists, args.media, args.out, shard_bytes=int(args.size * 1e9), workers=args.workers
    )


def published_classes(args: argparse.Namespace, data_set: str) -> ClassNumbers:
    return read_classes(args.classes or DATA_LISTS / data_set / "classes.txt")


def read_classes(path: Path) -> ClassNumbers:
    from slowfast.datasets.annotations import read_class_names  # brings PyTorch, which --help can do without

    return ClassNumbers(read_class_names(path), str(path))


def plan(args: argparse.Namespace, data_set: str, media: Path) -> Plan:
    if not args.transcode and args.gop is not None:
        raise ValueError("--gop is for --transcode DIR; give that too, or leave --gop out")
    task = None
    if args.extract_frames:
        template = "{:05d}.jpg" if data_set == "ssv1" else "img_{:05d}.jpg"  # as published recipes read them
        task = ExtractFrames(template, args.short_side or 0)
    elif args.transcode:
        short_side = 320 if args.short_side is None else args.short_side
        task = Transcode(short_side, 12 if args.gop is None else args.gop)
    elif args.short_side is not None:
        raise ValueError("--short-side is for --extract-frames DIR and --transcode DIR; give one of them too")
    made = args.extract_frames or args.transcode
    return Plan(data_set, media, args.out, args.use, task, made, args.workers, args.check)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The kinds of data sets, each with its options."""
    commands = parser.add_subparsers(metavar="WHAT", required=True, prog=parser.prog)

    def command(function, text: str, *, media: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(function.__name__, help=text, description=text, allow_abbrev=False)
        made.set_defaults(function=function)
        if media:
            made.add_argument(
                "--media", type=Path, required=True, help="folder of the videos or frame folders"
            )
            made.add_argument(
                "--classes",
                type=Path,
                metavar="FILE",
                help="class names in order (default: as in data_lists)",
            )
        _common(made)
        return made

    one = command(kinetics, "Kinetics: csv with label, youtube_id, time_start, time_end, split")
    one.add_argument("--set", choices=("k400", "k600"), required=True, help="whose class order to use")
    _annotations(one)
    one = command(something, "Something-Something: V1 csv 'id;template', V2 json")
    one.add_argument("--version", choices=("v1", "v2"), required=True)
    _annotations(one)
    one.add_argument("--labels", type=Path, help="the owner's labels file; checked against the class order")
    one = command(ucf101, "UCF101: classInd.txt, trainlist01.txt, testlist01.txt, ...")
    one.add_argument("--annotations", type=Path, required=True, help="folder of these files")
    one = command(hmdb51, "HMDB51: brush_hair_test_split1.txt, ...")
    one.add_argument("--annotations", type=Path, required=True, help="folder of these files")
    one = command(folders, "a folder with one folder of videos, or of frame folders, per class", media=False)
    one.add_argument("directory", type=Path, help="the folder with the class folders")
    one.add_argument(
        "--classes", type=Path, metavar="FILE", help="class names in order (default: folders by name)"
    )
    one.add_argument("--val", type=float, default=0.1, help="part for validation (%(default)s)")
    one.add_argument("--test", type=float, default=0.2, help="part for testing (%(default)s)")
    one.add_argument("--seed", type=int, default=0, help="another seed is another split (%(default)s)")
    one.add_argument(
        "--group-by",
        metavar="REGEX",
        default="",
        help="what ( ) finds in a path names its group, such as a person or a place: no group is in two splits",
    )
    _shards(commands)


def _shards(commands) -> None:
    text = "pack the videos of lists into tar files, read with DATA.PATH_PREFIX 'OUT/*.tar'"
    command = commands.add_parser("shards", help=text, description=text, allow_abbrev=False)
    command.set_defaults(function=shards)
    command.add_argument("lists", type=Path, nargs="+", metavar="LIST", help="lists of video files")
    command.add_argument(
        "--media", type=Path, required=True, help="folder that the paths in the lists start from"
    )
    command.add_argument("--out", type=Path, required=True, help="folder for the tar files, of its own")
    command.add_argument("--size", type=float, default=1.0, metavar="GB", help="of a shard (%(default)s)")
    _workers(command)


def _annotations(command: argparse.ArgumentParser) -> None:
    command.add_argument("--train", type=Path, help="the owner's training file")
    command.add_argument("--val", type=Path, required=True, help="the owner's validation file")
    command.add_argument("--test", type=Path, help="the owner's test file, with or without labels")


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, help="folder for the lists")
    command.add_argument(
        "--use",
        choices=("auto", "videos", "frames"),
        default="auto",
        help="what to list where --media has both",
    )
    making = command.add_mutually_exclusive_group()
    making.add_argument(
        "--extract-frames", type=Path, metavar="DIR", help="write all frames as JPEG, list those"
    )
    making.add_argument("--transcode", type=Path, metavar="DIR", help="write small H.264 videos, list those")
    command.add_argument(
        "--short-side", type=int, metavar="N", help="pixels; 0 keeps the size (transcode: 320, frames: 0)"
    )
    command.add_argument("--gop", type=int, metavar="N", help="transcode: a key frame every N frames (12)")
    _workers(command)
    command.add_argument(
        "--no-check",
        dest="check",
        action="store_false",
        help="list videos and frame folders without looking into them: quick for very many, but broken ones get "
        "into the lists",
    )


def _workers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (%(default)s)"
    )


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Prepare, and say what came of it."""
    if opts:
        raise ValueError(
            f"{' '.join(opts)}: not understood; slowfast prepare {args.function.__name__} --help has the options"
        )
    print(args.function(args))
    return 0
