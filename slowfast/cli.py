"""The command line: ``slowfast run --cfg RECIPE KEY VALUE ...`` trains and tests, like tools/run_net.py."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from slowfast import __version__
from slowfast.config import load_cfg

USER_ERROR = 2  # exit status of a run that ends with a message for its user
DEBUG = "SLOWFAST_DEBUG"
EXAMPLE = "example: slowfast run --cfg configs/k400/uniformer_s8x8.yaml DATA.PATH_PREFIX /videos NUM_GPUS 8"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 2 where the user can mend what stopped it.

    Such an error is told on stderr in one message; with SLOWFAST_DEBUG=1 in the environment it keeps its
    traceback.
    """
    parser = _parser()
    args, opts = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    opts = [word for word in opts if word != "--opts"]
    unknown = [word for word in opts if word.startswith("--")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}; settings are given as KEY VALUE, without dashes")
    try:
        args.command(args, opts)
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        print(f"slowfast: error: {error}\n({DEBUG}=1 shows where it was found)", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("slowfast: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slowfast", description="Video classification with UniFormer.")
    parser.add_argument("--version", action="version", version=f"slowfast {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="train and test as a recipe says",
        description="Train (TRAIN.ENABLE) and then test (TEST.ENABLE) as a recipe says.",
        usage="%(prog)s --cfg FILE [--shard_id N --num_shards N --init_method URL] [--opts] [KEY VALUE ...]",
        epilog=f"KEY VALUE pairs change keys of the recipe (see slowfast/config/defaults.py). {EXAMPLE}",
        allow_abbrev=False,
    )
    run.add_argument("--cfg", metavar="FILE", required=True, help="the recipe, a YAML file")
    run.add_argument("--shard_id", metavar="N", help="number of this machine, from 0 (sets SHARD_ID)")
    run.add_argument("--num_shards", metavar="N", help="number of machines (sets NUM_SHARDS)")
    run.add_argument(
        "--init_method",
        metavar="URL",
        default="tcp://localhost:9999",
        help="where machines meet: tcp://HOST:PORT of the first, or file:///PATH that all see (%(default)s)",
    )
    run.set_defaults(command=_run)
    return parser


def _run(args: argparse.Namespace, opts: list[str]) -> None:
    for key, value in (("NUM_SHARDS", args.num_shards), ("SHARD_ID", args.shard_id)):
        if value is not None:
            opts = [*opts, key, value]
    notes: list[str] = []
    cfg = load_cfg(args.cfg, opts, notes)
    started = _sizes_under_torchrun(cfg)
    if started:
        notes = [f"torchrun started this process: {' '.join(started)}"]
        cfg = load_cfg(args.cfg, [*opts, *started], notes)
    _check_gpus(cfg.NUM_GPUS)

    from slowfast.utils.launch import launch

    launch(
        train_and_test,
        (cfg, notes),
        processes_per_shard=cfg.NUM_GPUS,
        num_shards=cfg.NUM_SHARDS,
        shard_id=cfg.SHARD_ID,
        init_method=args.init_method,
        backend=cfg.DIST_BACKEND,
    )


def train_and_test(cfg, notes: Sequence[str] = ()) -> None:
    """What one process of a run does; the launcher calls it in every process.

    ``notes`` are lines for the start of the log, from ``load_cfg``.
    """
    from slowfast.utils import distributed, logging

    logging.setup(cfg.OUTPUT_DIR, distributed.is_main())
    for note in notes:
        logging.get_logger("config").info(note)
    try:
        for story in _stories(cfg):
            story(cfg)
    except Exception as error:
        logging.get_logger("run").error("the run ends: %s", error, extra={"file_only": True})
        raise


def _stories(cfg) -> list[Callable]:
    stories: list[Callable] = []
    if cfg.TRAIN.ENABLE:
        from slowfast.engine.train import train

        stories.append(train)
    if cfg.TEST.ENABLE:
        from slowfast.engine.test import check, test

        stories.insert(0, check)
        stories.append(test)
    return stories


def _sizes_under_torchrun(cfg) -> list[str]:
    """NUM_GPUS and NUM_SHARDS as torchrun has started processes, where the config leaves both at one process."""
    if not all(name in os.environ for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")):
        return []
    world_size, local_size = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if max(1, cfg.NUM_GPUS) * cfg.NUM_SHARDS > 1 or world_size == 1:
        return []
    if cfg.NUM_GPUS == 0:
        return ["NUM_SHARDS", str(world_size)]
    return ["NUM_GPUS", str(local_size), "NUM_SHARDS", str(world_size // local_size)]


def _check_gpus(num_gpus: int) -> None:
    """Refuse before any process is started what could only fail in all of them."""
    if num_gpus == 0:
        return
    import torch

    found = torch.cuda.device_count()
    if num_gpus > found:
        enough = f"NUM_GPUS {found} to use what is there, or " if found else ""
        raise ValueError(
            f"NUM_GPUS is {num_gpus}, but this machine has {found} GPU(s) that torch can use: "
            f"add {enough}NUM_GPUS 0 to run on the CPU to the command line"
        )


if __name__ == "__main__":
    sys.exit(main())
