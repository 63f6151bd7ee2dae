"""The command line: ``slowfast run --cfg RECIPE KEY VALUE ...`` trains and tests, like tools/run_net.py.

``slowfast reproduce RECIPE --checkpoint FILE KEY VALUE ...`` compares with a published figure, like tools/reproduce.py.
``slowfast benchmark WHAT`` measures ours beside the plain formulation, like tools/benchmark.py.
``slowfast check LIST`` decodes every video of a list and names those that fail, like tools/check_data.py.
``slowfast submit --cfg RECIPE --nodes N ...`` sends a run to a cluster, like tools/submit.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from slowfast import __version__
from slowfast.benchmarking import command as benchmarking
from slowfast.config import load_cfg
from slowfast.config.sources import read_pairs
from slowfast.submission import command as submission
from slowfast.utils.stopping import Stopped

COMMANDS = ("check", "compare", "report")  # modules of slowfast.commands; the others stand here
USER_ERROR = 2  # exit status of a run that ends with a message for its user
DEBUG = "SLOWFAST_DEBUG"
EXAMPLE = "example: slowfast run --cfg configs/k400/uniformer_s8x8.yaml DATA.PATH_PREFIX /videos NUM_GPUS 8"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: that of `exit_status`, or 1 for a figure not reproduced or bad videos."""
    parser = _parser()
    args, opts = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    opts = [word for word in opts if word != "--opts"]
    unknown = [word for word in opts if word.startswith("--")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}; settings are given as KEY VALUE, without dashes")

    def command() -> int:
        read_pairs(opts)  # an odd number is told before words of ours join those of the user
        return args.command(args, opts)

    return exit_status("slowfast", command)


def exit_status(name: str, command: Callable[[], int], when_interrupted: str = "") -> int:
    """Run a command for a person: its own status, or 2 where they can mend what stopped it.

    130 if it was interrupted, 75 if a signal of a cluster stopped a run that can go on (see slowfast.utils.stopping).

    Such an error is told on stderr in one message; with SLOWFAST_DEBUG=1 in the environment it keeps its traceback.
    """
    try:
        return command()
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        print(f"{name}: error: {error}\n({DEBUG}=1 shows where it was found)", file=sys.stderr)
        return USER_ERROR
    except Stopped as stopped:
        print(f"{name}: {stopped}", file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt:
        print(f"{name}: interrupted{when_interrupted}", file=sys.stderr)
        return 130


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
    run.set_defaults(command=_run)
    reproduce = commands.add_parser(
        "reproduce",
        help="run a published row's test and compare",
        description="Test weights exactly as a recipe says and compare with the published figure of its row. Exit "
        "status: 0 PASS, 1 FAIL. A run that was stopped goes on after the videos already scored.",
        usage="%(prog)s RECIPE --checkpoint FILE [--result-file FILE] [KEY VALUE ...]",
        epilog="KEY VALUE pairs say where videos are (DATA.PATH_PREFIX) and what to use (NUM_GPUS); keys that change "
        "the test are allowed, and named in the report.",
        allow_abbrev=False,
    )
    reproduce.add_argument("cfg", metavar="RECIPE", help="a recipe with an entry in published.json")
    reproduce.add_argument("--checkpoint", metavar="FILE", required=True, help="weights, or a published name")
    reproduce.add_argument(
        "--result-file",
        metavar="FILE",
        help="unless given, results/<set>/<name>.json beside the folder of the recipes, with _split1 to _split3 where "
        "there are several test lists. That file is left as it is by a run with keys of the test changed, and a FAIL "
        "replaces no PASS in it; a FILE named here is always written",
    )
    reproduce.set_defaults(command=_reproduce)
    benchmark = commands.add_parser(
        "benchmark",
        help="measure speed and memory beside the plain formulation",
        description="Measure ours and the plain formulation of the published code in turns, in one run.",
        usage="%(prog)s WHAT [--cfg FILE ...] [options] [KEY VALUE ...]",
        epilog="example: slowfast benchmark step --cfg configs/k400/uniformer_s16x4.yaml --out step.json",
        allow_abbrev=False,
    )
    benchmarking.add_arguments(benchmark)
    benchmark.set_defaults(command=benchmarking.run)
    submit = commands.add_parser(
        "submit",
        help="send a run to a Slurm cluster",
        description="Queue a run, which saves and queues itself again at its time limit or when its place is given to "
        "another job. The command and the number of the job are kept in submitted.jsonl of its OUTPUT_DIR.",
        usage="%(prog)s (--cfg FILE | --array FILE ... | --status DIR) [options] [KEY VALUE ...]",
        epilog=submission.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    submission.add_arguments(submit)
    submit.set_defaults(command=lambda args, opts: submission.run(args, opts, "slowfast.cli:main"))
    for name in COMMANDS:
        _add(commands, name, import_module(f"slowfast.commands.{name}"))
    for command in (run, reproduce):
        command.add_argument("--shard_id", metavar="N", help="number of this machine, from 0 (sets SHARD_ID)")
        command.add_argument("--num_shards", metavar="N", help="number of machines (sets NUM_SHARDS)")
        command.add_argument(
            "--init_method",
            metavar="URL",
            default="tcp://localhost:9999",
            help="where machines meet: tcp://HOST:PORT of the first, or file:///PATH that all see (%(default)s)",
        )
    return parser


def _add(commands, name: str, module: ModuleType) -> None:
    """A command that a module of slowfast.commands describes: HELP, DESCRIPTION, USAGE, EPILOG, add_arguments, run."""
    parser = commands.add_parser(
        name,
        help=module.HELP,
        description=module.DESCRIPTION,
        usage=f"%(prog)s {module.USAGE}",
        epilog=module.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.set_defaults(command=module.run)


def _run(args: argparse.Namespace, opts: list[str]) -> int:
    cfg, notes = _load(args, opts)
    _launch(args, cfg, train_and_test, (cfg, notes))
    return 0


def _reproduce(args: argparse.Namespace, opts: list[str]) -> int:
    from slowfast.engine.reproduce import (
        default_output_dir,
        default_result_file,
        overridden,
        published_names,
        read_published,
        read_verdict,
    )

    recipe_cfg = load_cfg(args.cfg)
    given = opts[0::2]
    if "TEST.CHECKPOINT_FILE_PATH" in given:
        raise ValueError("give the weights once, with --checkpoint, and leave out TEST.CHECKPOINT_FILE_PATH")
    settings = {
        "TRAIN.ENABLE": "False",
        "TEST.ENABLE": "True",
        "TEST.RESUME": "True",
        "TEST.CHECKPOINT_FILE_PATH": args.checkpoint,
        "MODEL.CLASS_NAMES_PATH": recipe_cfg.MODEL.CLASS_NAMES_PATH or published_names(args.cfg),
    }
    ours = [word for key, value in settings.items() if key not in given for word in (key, value)]
    cfg, notes = _load(args, [*ours, *opts])
    row, published = read_published(args.cfg, cfg.DATA.SPLIT)
    if "OUTPUT_DIR" not in given:
        output_dir = default_output_dir(recipe_cfg.OUTPUT_DIR, published)
        cfg, notes = _load(args, ["OUTPUT_DIR", output_dir, *ours, *opts])
    result_file = args.result_file or default_result_file(args.cfg, row, published)
    overrides = overridden(cfg, recipe_cfg, given)
    named = args.result_file is not None
    word = _launch(args, cfg, reproduce_row, (cfg, notes, row, published, overrides, result_file, named))
    if word is None and cfg.SHARD_ID == 0:  # the main process was another one
        word = read_verdict(cfg.OUTPUT_DIR)
    return int(word == "FAIL")


def _load(args: argparse.Namespace, opts: list[str]) -> tuple[Any, list[str]]:
    """The config of a run, and lines for the start of its log."""
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
    return cfg, notes


def _launch(args: argparse.Namespace, cfg, function: Callable, function_args: tuple) -> Any:
    from slowfast.utils.launch import launch

    return launch(
        function,
        function_args,
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
    from slowfast.utils import logging

    _begin_log(cfg.OUTPUT_DIR, notes)
    try:
        for story in _stories(cfg):
            story(cfg)
    except Stopped as stopped:
        logging.get_logger("run").info("%s", stopped, extra={"file_only": True})
        raise
    except Exception as error:
        logging.get_logger("run").error("the run ends: %s", error, extra={"file_only": True})
        raise


def reproduce_row(cfg, notes: Sequence[str], *row) -> str:
    """What one process of a reproduction does: see slowfast.engine.reproduce.reproduce."""
    from slowfast.engine.reproduce import reproduce
    from slowfast.reporting.report import report_after_test

    _begin_log(cfg.OUTPUT_DIR, notes)
    word = reproduce(cfg, *row)
    report_after_test(cfg)
    return word


def _begin_log(output_dir: str, notes: Sequence[str]) -> None:
    from slowfast.utils import distributed, logging

    logging.setup(output_dir, distributed.is_main())
    for note in notes:
        logging.get_logger("config").info(note)


def _stories(cfg) -> list[Callable]:
    stories: list[Callable] = []
    if cfg.TRAIN.ENABLE:
        from slowfast.engine.train import train

        stories.append(train)
    if cfg.TEST.ENABLE:
        from slowfast.engine.test import check, test

        stories.insert(0, check)
        from slowfast.reporting.report import report_after_test

        stories += [test, report_after_test]
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
