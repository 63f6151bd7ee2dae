"""The command line: ``slowfast run --cfg RECIPE KEY VALUE ...`` trains and tests, like tools/run_net.py.

``slowfast reproduce RECIPE --checkpoint FILE KEY VALUE ...`` compares with a published figure, like tools/reproduce.py.
``slowfast benchmark WHAT`` measures ours beside the plain formulation, like tools/benchmark.py.
``slowfast submit --cfg RECIPE --nodes N ...`` sends a run to a cluster, like tools/submit.py.
All others are modules of slowfast.commands, named below, each like its script in tools.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from slowfast import __version__
from slowfast.benchmarking import command as benchmarking
from slowfast.config import load_cfg
from slowfast.config.sources import read_pairs
from slowfast.submission import command as submission
from slowfast.utils import launchers, stopping, unread_output
from slowfast.utils.stopping import Stopped

COMMANDS = (  # modules of slowfast.commands
    "prepare",
    "check",
    "finetune",
    "predict",
    "explain",
    "report",
    "compare",
    "extract",
    "export",
    "doctor",
)
USER_ERROR = 2  # exit status of a run that ends with a message for its user
DEBUG = "SLOWFAST_DEBUG"
EXAMPLE = "example: slowfast run --cfg configs/k400/uniformer_s8x8.yaml DATA.PATH_PREFIX /videos NUM_GPUS 8"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: that of `exit_status`, or 1 for a figure not reproduced or bad videos."""
    parser = _parser()
    with unread_output.ending_quietly():  # --help
        args, opts = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    opts = [word for word in opts if word != "--opts"]
    unknown = [word for word in opts if word.startswith("--")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}; settings are given as KEY VALUE, without dashes")

    def command() -> int:
        if not getattr(args, "takes_words", False):
            read_pairs(opts)  # an odd number is told before words of ours join those of the user
        return args.command(args, opts)

    return exit_status("slowfast", command, args.when_interrupted, args.signals)


def exit_status(
    name: str,
    command: Callable[[], int],
    when_interrupted: str = "",
    signals: Callable[[], AbstractContextManager] = stopping.interrupting,
) -> int:
    """Run a command for a person: its own status, or 2 where they can mend what stopped it.

    130 if it was interrupted, 75 if a signal of a cluster stopped what can go on (see slowfast.utils.stopping);
    ``when_interrupted`` says so of a command that is no run, and ``signals`` what signals mean to it.

    Such an error is told on stderr in one message; with SLOWFAST_DEBUG=1 in the environment it keeps its traceback.
    Where nobody reads stdout any more, as behind ``| head``, SystemExit is raised without a word.
    """
    with signals(), unread_output.ending_quietly():
        try:
            return command()
        except (ValueError, OSError, FloatingPointError, MemoryError) as error:
            if os.environ.get(DEBUG) == "1" or unread_output.caused(error):
                raise
            reason = str(error) or type(error).__name__  # that of memory has no words
            print(f"{name}: error: {reason}\n({DEBUG}=1 shows where it was found)", file=sys.stderr)
            return USER_ERROR
        except Stopped as stopped:
            print(f"{name}: {stopped}", file=sys.stderr)
            return stopped.status
        except KeyboardInterrupt as interrupt:
            print(f"{name}: {_said(interrupt)}{when_interrupted}", file=sys.stderr)
            return stopping.status_of(interrupt, goes_on=bool(when_interrupted))


def _said(interrupt: KeyboardInterrupt) -> str:
    if isinstance(interrupt, stopping.Interrupted):
        return f"stopped by {signal.Signals(interrupt.signum).name}"
    return "interrupted"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slowfast", description="Video classification with UniFormer.")
    parser.add_argument("--version", action="version", version=f"slowfast {__version__}")
    parser.set_defaults(when_interrupted="", signals=stopping.interrupting)
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
    run.set_defaults(command=_run, signals=stopping.heeded)
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
    reproduce.set_defaults(command=_reproduce, signals=stopping.heeded)
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
    """A command that a module of slowfast.commands describes: HELP, DESCRIPTION, USAGE, EPILOG, add_arguments, run.

    And WHEN_INTERRUPTED, what `exit_status` then says, where the same command goes on. One that takes any number of
    words besides its options says so with TAKES_WORDS, and finds KEY VALUE pairs itself.
    """
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
    parser.set_defaults(
        command=module.run,
        when_interrupted=getattr(module, "WHEN_INTERRUPTED", ""),
        takes_words=getattr(module, "TAKES_WORDS", False),
    )


def _run(args: argparse.Namespace, opts: list[str]) -> int:
    given = _given(args, opts)
    cfg, notes = _load(args, opts, given)
    _launch(args, cfg, given, train_and_test, (cfg, notes))
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
    place = _given(args, opts)
    cfg, notes = _load(args, [*ours, *opts], place)
    row, published = read_published(args.cfg, cfg.DATA.SPLIT)
    if "OUTPUT_DIR" not in given:
        output_dir = default_output_dir(recipe_cfg.OUTPUT_DIR, published)
        cfg, notes = _load(args, ["OUTPUT_DIR", output_dir, *ours, *opts], place)
    result_file = args.result_file or default_result_file(args.cfg, row, published)
    overrides = overridden(cfg, recipe_cfg, given)
    named = args.result_file is not None
    row_args = (cfg, notes, row, published, overrides, result_file, named)
    word = _launch(args, cfg, place, reproduce_row, row_args)
    if word is None and cfg.SHARD_ID == 0:  # the main process was another one
        word = read_verdict(cfg.OUTPUT_DIR)
    return int(word == "FAIL")


def _given(args: argparse.Namespace, opts: list[str]) -> launchers.Given | None:
    """The place that a launcher gave to this process; that of srun counts unless the command line names one itself."""
    if args.shard_id is not None or args.num_shards is not None or "SHARD_ID" in opts[0::2]:
        return launchers.torchrun(os.environ)
    return launchers.torchrun(os.environ) or launchers.srun(os.environ)


def _load(args: argparse.Namespace, opts: list[str], given: launchers.Given | None) -> tuple[Any, list[str]]:
    """The config of a run, and lines for the start of its log."""
    for key, value in (("NUM_SHARDS", args.num_shards), ("SHARD_ID", args.shard_id)):
        if value is not None:
            opts = [*opts, key, value]
    notes: list[str] = []
    cfg = load_cfg(args.cfg, opts, notes)
    started = launchers.settings(given, cfg.NUM_GPUS, cfg.NUM_SHARDS)
    if started:
        notes = [f"{given.launcher} started this process: {' '.join(started)}"]
        cfg = load_cfg(args.cfg, [*opts, *started], notes)
    _check_gpus(cfg.NUM_GPUS, given)
    return cfg, notes


def _launch(
    args: argparse.Namespace,
    cfg,
    given: launchers.Given | None,
    function: Callable,
    function_args: tuple,
) -> Any:
    from slowfast.utils.launch import launch

    if stopping.asked() and cfg.NUM_SHARDS == 1 and os.environ.get("WORLD_SIZE", "1") == "1":
        # With other machines it is not told here, where they would wait for this one, but after the first step.
        raise Stopped(stopping.asked(), "before it began")
    return launch(
        function,
        function_args,
        processes_per_shard=cfg.NUM_GPUS,
        num_shards=cfg.NUM_SHARDS,
        shard_id=cfg.SHARD_ID,
        init_method=args.init_method,
        backend=cfg.DIST_BACKEND,
        given=given,
    )


def train_and_test(cfg, notes: Sequence[str] = ()) -> None:
    """What one process of a run does; the launcher calls it in every process.

    ``notes`` are lines for the start of the log, from ``load_cfg``.
    """
    from slowfast.utils import logging

    with _folder(cfg.OUTPUT_DIR, notes):
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

    with _folder(cfg.OUTPUT_DIR, notes):
        word = reproduce(cfg, *row)
        report_after_test(cfg)
        return word


@contextmanager
def _folder(output_dir: str, notes: Sequence[str]) -> Iterator[None]:
    """Inside, the folder is this run's alone, and its log has begun with ``notes``."""
    from slowfast.utils import distributed, logging, run_lock

    with run_lock.held(output_dir) as more:
        logging.setup(output_dir, distributed.is_main())
        for note in (*notes, *more):
            logging.get_logger("config").info(note)
        yield


def _stories(cfg) -> list[Callable]:
    stories: list[Callable] = []
    if cfg.TRAIN.ENABLE:
        from slowfast.engine.train import train

        stories.append(train)
    if cfg.TEST.ENABLE:
        from slowfast.engine.test import check, test
        from slowfast.reporting.report import report_after_test

        stories.insert(0, check)
        stories += [test, report_after_test]
    return stories


def _check_gpus(num_gpus: int, given: launchers.Given | None) -> None:
    """Refuse before any process is started what could only fail in all of them.

    Processes of a launcher may have been given a GPU each, the only one they see.
    """
    if num_gpus == 0:
        return
    import torch

    found = torch.cuda.device_count()
    if num_gpus > found and not (given and not given.per_machine and found == 1):
        enough = f"NUM_GPUS {found} to use what is there, or " if found else ""
        raise ValueError(
            f"NUM_GPUS is {num_gpus}, but this machine has {found} GPU(s) that torch can use: "
            f"add {enough}NUM_GPUS 0 to run on the CPU to the command line"
        )


if __name__ == "__main__":
    sys.exit(main())
