"""The command `benchmark`: what is measured, on which recipe, and where the numbers go."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from slowfast.config import load_cfg

RECIPES = Path(__file__).resolve().parents[2] / "configs"
RECIPE = RECIPES / "k400" / "uniformer_s16x4.yaml"
SIZES = tuple(RECIPES / "k400" / f"uniformer_{name}.yaml" for name in ("s16x4", "xxs16_128", "b16x4"))  # of "all"
WHAT = {
    "model": "a forward pass of the model",
    "step": "a training step: forward, backward, AdamW",
    "operators": "each costly layer of the recipes by itself",
    "test": "the loader, test views",
    "train": "the loader, training clips",
}
ALL = "all"
DTYPES = ("float32", "bfloat16", "float16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    listed = "; ".join(f"{name}: {meaning}" for name, meaning in WHAT.items())
    listed = f"{listed}; {ALL}: everything, as benchmarks/README.md has it"
    parser.add_argument("what", choices=(*WHAT, ALL), metavar="WHAT", help=listed)
    parser.add_argument(
        "--cfg",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=f"recipes ({RECIPE.name}; operators: all of configs/; {ALL}: a UniFormer-S, -XXS and -B beside)",
    )
    parser.add_argument("--clips", type=int, default=1, help="clips a forward pass or step (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, of all ways in turn (%(default)s)")
    parser.add_argument("--threads", type=int, help="of arithmetic (model: all cores; loader: 1, as a worker has)")
    parser.add_argument(
        "--dtype", nargs="+", choices=DTYPES, default=DTYPES[:1], help="for operators, each in these (float32)"
    )
    parser.add_argument("--device", default="", help="cuda or cpu; unless given, cuda where there is one")
    parser.add_argument(
        "--memory-clips", type=int, default=2, metavar="N", help="peak memory is of so many clips (%(default)s)"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory, a fresh process for each way")
    parser.add_argument("--videos", nargs="+", type=Path, metavar="FILE", help="for the loader; else made-up ones")
    parser.add_argument(
        "--views", nargs="+", default=["4x1", "5x3"], metavar="CLIPSxCROPS", help="for test (4x1 5x3)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers there too, as JSON")


def run(args: argparse.Namespace, opts: Sequence[str]) -> int:
    """Measure, print a table, and write what was asked for; 1 if an operator was found slower than plain."""
    import torch

    from slowfast.utils import environment
    from slowfast.utils.atomic import replace_file

    results, status = {}, 0
    for what in WHAT if args.what == ALL else (args.what,):
        loader = what in ("test", "train")
        torch.set_num_threads(args.threads or (1 if loader else environment.num_cores()))
        measure = {"operators": _operators, "test": _loader, "train": _loader}.get(what, _model)
        found, text, slower = measure(what, args, list(opts))
        results[what] = {"threads": torch.get_num_threads(), "results": found}
        status = max(status, slower)
        print(f"{what}: {WHAT[what]}\n\n{text}\n", flush=True)
        if args.out:  # part by part, so that a later one that fails takes nothing away
            facts = {"what": args.what, "rounds": args.rounds, **environment.facts()}
            with replace_file(args.out) as file:
                file.write((json.dumps({**facts, "measured": results}, indent=1) + "\n").encode())
    return status


def _device(args: argparse.Namespace):
    import torch

    return torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _recipes(what: str, args: argparse.Namespace, opts: list[str]):
    """(path, cfg) of the recipes asked for; made-up weights and no data are enough for all of them."""
    given = args.cfg or (SIZES if args.what == ALL else [RECIPE])
    if what == "operators" and not args.cfg:
        given = sorted(path for path in RECIPES.glob("*/*.yaml") if path.parent.name not in ("debug", "demo"))
    if not given:
        raise ValueError(f"there are no recipes in {RECIPES}, as in an installed package: name some with --cfg")
    for path in given:
        yield path, load_cfg(str(path), opts)


def _clip_shape(cfg, training: bool) -> tuple[int, ...]:
    side = cfg.DATA.TRAIN_CROP_SIZE if training else cfg.DATA.TEST_CROP_SIZE
    return cfg.DATA.INPUT_CHANNEL_NUM[0], cfg.DATA.NUM_FRAMES, side, side


def _model(what: str, args: argparse.Namespace, opts: list[str]):
    from slowfast.benchmarking import model
    from slowfast.models import build_model

    results, training, device = {}, what == "step", _device(args)
    for path, cfg in _recipes(what, args, opts):
        shape = (args.clips, *_clip_shape(cfg, training))
        build = partial(build_model, cfg)
        name = f"{path.parent.name}/{path.stem} {args.clips} x {shape[2]} x {shape[3]}"
        results[name] = result = model.run(build, shape, device, training, args.rounds, cfg.MODEL.COMPILE)
        if args.no_memory:
            continue
        result["memory_clips"] = args.memory_clips
        held = (args.memory_clips, *shape[1:])
        for way, numbers in result["ways"].items():
            numbers["peak_mib"] = model.memory(
                build, held, device, way, training, result["operators"], cfg.MODEL.COMPILE
            )
    return results, f"{model.table(results)}\n\n{model.profiles(results)}", 0


def _operators(what: str, args: argparse.Namespace, opts: list[str]):
    import torch

    from slowfast.benchmarking import model
    from slowfast.models import build_model, tuning

    device, cases = _device(args), {}
    for _, cfg in _recipes(what, args, opts):
        built = build_model(cfg)
        for dtype, training in product(args.dtype, (True, False)):
            shape = (args.clips, *_clip_shape(cfg, training))
            found = tuning.cases(built, shape, getattr(torch, dtype), device, training)
            cases |= dict.fromkeys(found.values())
    results = model.operators(list(cases), device, args.rounds)
    slower = sum(one["slower"] for one in results.values())
    text = f"{model.operator_table(results)}\n\n{len(results)} operators, {slower} slower than the plain way"
    return results, text, int(slower > 0)


def _loader(what: str, args: argparse.Namespace, opts: list[str]):
    from slowfast.benchmarking import loader

    results = {}
    with tempfile.TemporaryDirectory() as name:
        videos = args.videos or loader.write_videos(Path(name))
        for recipe in args.cfg or [RECIPE]:
            results |= loader.run(what, videos, Path(name), recipe, args.views, args.rounds, opts)
    return results, loader.table(results), 0
