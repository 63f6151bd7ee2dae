"""The command `predict`: what is in these videos?"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = "tell the classes of videos, of a long video over time, or of a camera"
USAGE = "CHECKPOINT VIDEO|FOLDER|LIST ... [options] [KEY VALUE ...]"
DESCRIPTION = """\
Tell the classes of videos by a trained model. CHECKPOINT is all that is needed
of a run (best.pyth); published weights need their recipe besides (--cfg).

Videos are files, folders (searched for videos and for folders of numbered
frames), or lists (.csv, .txt: a path a line, or lists as training reads them).
Every video gets the scores that the test of the run would give it.

A long video: --timeline scores a window that slides over it, in memory that
does not grow, and tells when what happens. A camera or stream: --live.

Exit status: 0, 1 if a video could not be read (it is named, with the reason),
2 for a mistake in the command."""
EPILOG = """\
KEY VALUE pairs change keys of the config in the checkpoint.
examples:
  slowfast predict runs/mine/best.pyth a.mp4 more_videos
  slowfast predict runs/mine/best.pyth more_videos --out predictions.csv
  slowfast predict runs/mine/best.pyth match.mp4 --timeline --overlay out.mp4
  slowfast predict runs/mine/best.pyth /dev/video0 --live
  slowfast predict uniformer_small_k400_16x4.pth a.mp4 \\
      --cfg configs/k400/uniformer_s16x4.yaml"""
TAKES_WORDS = True  # of which the KEY VALUE pairs among them are told apart here

_FORMATS = ("table", "jsonl", "csv")
_OF_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".json": "jsonl"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="best.pyth of a run, or published weights with --cfg")
    add(
        "sources",
        metavar="VIDEO|FOLDER|LIST",
        nargs="+",
        help="what to predict; with --live one camera or address",
    )
    add("--top", type=int, default=5, metavar="K", help="so many of the best classes (%(default)s)")
    add("--format", choices=_FORMATS, help="of what is written (by the suffix of --out, else table)")
    add("--out", type=Path, metavar="FILE", help="write to a file, which is there once it is whole (stdout)")
    add("--clips", type=int, metavar="N", help="clips of each video (as in the test of the run)")
    add("--crops", type=int, choices=(1, 3), help="crops of each clip (as in the test of the run)")
    add("--cfg", metavar="FILE", help="the recipe of weights that hold none")
    add("--classes", metavar="FILE", help="names of the classes, one a line (those in CHECKPOINT; with --cfg those of "
        "the data set of the recipe, if they are in data_lists)")  # fmt: skip
    add(
        "--media",
        metavar="PREFIX",
        default="",
        help="folder that paths of a LIST start from, or pattern of tars",
    )
    add(
        "--jobs",
        type=int,
        default=2,
        metavar="N",
        help="videos decoded while the model is busy (%(default)s)",
    )
    add("--device", default="", metavar="NAME", help="cpu or cuda (a GPU where there is one)")
    long = parser.add_argument_group("long videos").add_argument
    long("--timeline", action="store_true", help="score windows over time, and join them to segments")
    long("--window", metavar="LENGTH", help="of a window, in seconds or frames: 2.5, 64f (what a clip spans; 4 s for "
         "models that look at whole videos); implies --timeline")  # fmt: skip
    long("--stride", metavar="LENGTH", help="from one window to the next (half a window); implies --timeline")
    long("--smooth", type=int, metavar="N", help="windows averaged before they are joined, an odd number (3)")
    long("--overlay", type=Path, metavar="FILE", help="write the video with class and probability drawn in (.mp4; "
         "sound is not kept)")  # fmt: skip
    live = parser.add_argument_group("cameras and streams").add_argument
    live("--live", action="store_true", help="watch one camera, address or pipe until Ctrl-C; frames that the model "
         "cannot keep up with are dropped and counted. A file is read at its own pace")  # fmt: skip
    live(
        "--input-format",
        default="",
        metavar="NAME",
        help="FFmpeg's name of the kind of camera (v4l2 on Linux)",
    )
    live("--input-option", action="append", default=[], metavar="NAME=VALUE", help="for the camera: "
         "video_size=640x480; may be repeated")  # fmt: skip


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Predict; the exit status."""
    sources, settings = _told_apart([*args.sources, *opts])
    _check(args, sources)
    from slowfast.inference import outputs, predicting
    from slowfast.inference.inputs import find_videos

    watching, over_time = args.live, _over_time(args)
    videos = [] if watching else find_videos(sources, args.media)
    _check_overlay(args, videos)
    cut = predicting.Cut(args.window, args.stride, 3 if args.smooth is None else args.smooth)
    classifier = _classifier(args, settings)
    lines = outputs.FORMATS[_format(args)](classifier.class_names, args.top)
    on_screen = not args.out and _format(args) == "table"
    tell = predicting.tell_nobody if on_screen else predicting.tell_on_stderr
    with predicting.output(args.out) as write:
        if watching:
            options = dict(_option(word) for word in args.input_option)
            said = predicting.predict_live(
                classifier, sources[0], lines, write, cut, input_format=args.input_format, options=options
            )
            failed = 0
        elif over_time:
            failed = predicting.predict_timelines(
                classifier, videos, lines, write, tell, cut, overlay_path=args.overlay
            )
        else:
            failed = predicting.predict_videos(
                classifier, videos, lines, write, tell, jobs=args.jobs, overlay_path=args.overlay
            )
    if not watching:
        said = f"{len(videos) - failed} of {len(videos)} videos predicted" + (
            f", {failed} could not be read" if failed else ""
        )
    if watching or failed or args.out:
        print(f"{args.out}: {said}" if args.out else said, file=sys.stderr)
    return int(failed > 0)


def _told_apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(what to predict, KEY VALUE ...): a word is a key if the config has its section and there is no such file."""
    from slowfast.config import get_cfg
    from slowfast.config.sources import read_pairs

    known, sources, settings = set(get_cfg()), [], []
    rest = iter(words)
    for word in rest:
        if word.split(".")[0] in known and not os.path.exists(word):
            settings += [word, *[value for value in [next(rest, None)] if value is not None]]
        else:
            sources.append(word)
    read_pairs(settings)
    return sources, settings


def _check(args: argparse.Namespace, sources: Sequence[str]) -> None:
    """Refuse what cannot be meant, before anything is loaded."""
    for name in ("top", "jobs", "clips"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; write 1 or more")
    if not sources:
        raise ValueError("nothing to predict: give videos, folders or lists after the checkpoint")
    if args.live and len(sources) > 1:
        raise ValueError(
            f"--live watches one camera or address, but {len(sources)} were given: {', '.join(sources)}"
        )
    if args.live and (args.overlay or args.timeline):
        raise ValueError("--live has no end, so it goes without --timeline and --overlay")
    if args.live and args.smooth is not None:
        raise ValueError(
            "--smooth needs the windows that follow, which --live does not have yet; leave it out"
        )
    if not args.live and (args.input_format or args.input_option):
        raise ValueError("--input-format and --input-option are for cameras: add --live, or leave them out")
    if not args.live and not _over_time(args) and args.smooth is not None:
        raise ValueError("--smooth averages windows: add --timeline, or leave it out")


def _over_time(args: argparse.Namespace) -> bool:
    return args.timeline or args.window is not None or args.stride is not None


def _check_overlay(args: argparse.Namespace, videos: Sequence[Any]) -> None:
    if not args.overlay:
        return
    from slowfast.inference.overlay import check_suffix

    check_suffix(args.overlay)
    if len(videos) != 1:
        raise ValueError(
            f"--overlay writes one video, but {len(videos)} are to be predicted: give one of them"
        )
    media = videos[0].media
    if (
        isinstance(media, str)
        and args.overlay.exists()
        and os.path.exists(media)
        and args.overlay.samefile(media)
    ):
        raise ValueError(f"--overlay {args.overlay} is the video itself: name another file")


def _format(args: argparse.Namespace) -> str:
    return args.format or (args.out and _OF_SUFFIX.get(args.out.suffix.lower())) or "table"


def _option(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise ValueError(f"--input-option is {word!r}; write NAME=VALUE, such as video_size=640x480")
    return name, value


def _classifier(args: argparse.Namespace, settings: Sequence[str]) -> Any:
    """The model of the checkpoint, with the views and class names that were asked for."""
    from dataclasses import replace

    from slowfast.datasets.annotations import read_class_names
    from slowfast.datasets.preparation.media import VIDEO_SUFFIXES
    from slowfast.inference.build import load

    if Path(args.checkpoint).suffix.lower() in VIDEO_SUFFIXES:
        raise ValueError(f"{args.checkpoint} is a video; the checkpoint stands first, then what to predict")
    views = {"TEST.NUM_ENSEMBLE_VIEWS": args.clips, "TEST.NUM_SPATIAL_CROPS": args.crops}
    ours = [str(word) for pair in views.items() if pair[1] is not None for word in pair]
    classifier = load(args.checkpoint, recipe=args.cfg, device=args.device, opts=[*settings, *ours])
    if args.classes:
        names = read_class_names(args.classes)
        if len(names) != len(classifier.class_names):
            raise ValueError(
                f"{args.classes}: {len(names)} names, but the model has {len(classifier.class_names)} classes"
            )
        return replace(classifier, class_names=tuple(names))
    return classifier
