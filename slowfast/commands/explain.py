"""The command `explain`: where a model looks in one video, as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = "show where in a video a model sees its class"
USAGE = "CHECKPOINT VIDEO [--class NAME] [--block NAME] [--clip N] [--out DIR] [options] [KEY VALUE ...]"
DESCRIPTION = """\
Explain one clip of a video: which places speak for the predicted class, or
another one (Grad-CAM over space and time), and from which tokens a token draws
in a local and in a global block. Writes map.png and map.mp4 (the map over the
frames), relations.png, maps.npz (the numbers) and, for models that update only
a share of their tokens one by one, kept.png."""
EPILOG = """\
A map shows what the score rests on, not whether that is right: an error is
explained as well as a hit. Blocks are named as in the weights, blocks1.0 to
the last of blocks4; a wrong name lists them all. Deeper blocks are nearer to
the decision and coarser: each stage halves the map.
KEY VALUE pairs change keys of the recipe, such as TEST.NUM_ENSEMBLE_VIEWS 4.
example: slowfast explain runs/demo/best.pyth clip.mp4 --out explained"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="the model, such as best.pyth of a run")
    add("video", type=Path, metavar="VIDEO", help="a video file, or a folder of frames")
    add(
        "--class",
        dest="class_name",
        metavar="NAME",
        default="",
        help="explain this class (the predicted one)",
    )
    add(
        "--block",
        metavar="NAME",
        default="",
        help="of the map (the deepest block with 8 tokens or more to a side of the picture)",
    )
    add("--clip", type=int, metavar="N", help="which of the clips that a test makes, from 1 (the middle one)")
    add("--crop", type=int, metavar="N", help="which crop of it, from 1 (the middle one)")
    add(
        "--token",
        type=_place,
        metavar="T,Y,X",
        help="whose relations are shown: frame number, row and column of the video (the peak of the map)",
    )
    add(
        "--relation",
        action="append",
        metavar="NAME",
        default=[],
        help="block whose relations are shown; may be given again (the last ones of stages 2 and 3)",
    )
    add(
        "--head",
        type=int,
        metavar="N",
        help="relations of one head, from 0; in local blocks a channel (their mean)",
    )
    add(
        "--out", type=Path, metavar="DIR", help="folder of the files (the video's name with _explained, here)"
    )
    add("--cfg", metavar="FILE", help="the recipe, for weights that hold none")
    add("--device", metavar="NAME", default="", help="cpu, cuda or cuda:N (a GPU where there is one)")


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Explain the video; the exit status."""
    from slowfast.inference.build import load
    from slowfast.inference.explaining.explanation import explained
    from slowfast.inference.explaining.files import save

    classifier = load(args.checkpoint, recipe=args.cfg, device=args.device, opts=opts)
    explanation = explained(
        classifier,
        args.video,
        class_name=args.class_name,
        block=args.block,
        clip=args.clip,
        crop=args.crop,
        token=args.token,
        relation_blocks=args.relation,
        head=args.head,
    )
    files = save(explanation, args.out or Path(f"{args.video.stem}_explained"))
    print("\n".join(_told(explanation, classifier.class_names)))
    print(f"{files[0].parent}: {', '.join(file.name for file in files)}")
    return 0


def _place(text: str) -> tuple[float, float, float]:
    try:
        frame, row, column = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no place; write frame number, row and column, such as 40,120,96"
        ) from None
    return frame, row, column


def _told(explanation, class_names: Sequence[str]) -> list[str]:
    """What a person wants to know before opening the files."""
    view, found = explanation.view, explanation.class_map
    best = ", ".join(f"{name} {probability:.1%}" for name, probability in explanation.prediction.top(3))
    lines = [f"the video: {best}"]
    lines.append(f"{view.name}, shown: {explanation.class_name} {explanation.probability:.1%}")
    if explanation.top_of_view != found.class_number:
        lines.append(f"this view alone is taken for {class_names[explanation.top_of_view]}")
    if float(found.values.max()) <= 0:
        lines.append(f"no token of {found.block} speaks for {explanation.class_name}: the map is empty")
    else:
        frame, row, column = found.grid.centre(found.peak)
        number = int(view.frame_numbers[int(frame)])
        top, left, height, width = view.box
        side_height, side_width = view.pixels.shape[1:3]
        lines.append(
            f"map of {found.block}, {'x'.join(map(str, found.grid.shape))} tokens, peak near frame {number}, row "
            f"{top + row / side_height * height:.0f}, column {left + column / side_width * width:.0f}"
        )
    return lines
