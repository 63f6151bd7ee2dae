"""The command `submit`: sends a run to a cluster, shows what it would send, or tells how a run is doing."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from slowfast.config import load_cfg
from slowfast.submission import cluster, records, status
from slowfast.submission.task import Task

NOTICE_SECONDS = 180
_OWN_KEYS = {"NUM_GPUS": "--gpus", "NUM_SHARDS": "--nodes", "SHARD_ID": "--nodes"}
EPILOG = """\
KEY VALUE pairs change keys of the recipes.
example: slowfast submit --cfg configs/k400/uniformer_s16x4.yaml --nodes 4 --gpus 8 --time 48:00:00 --partition gpu
         slowfast submit --status runs/k400_s16x4"""


@dataclass(frozen=True)
class _Run:
    """A run that is to be sent: the words of its command line after ``slowfast``, where it writes, what it takes."""

    words: tuple[str, ...]
    output_dir: Path
    resources: cluster.Resources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cfg", metavar="FILE", help="the recipe to run")
    what.add_argument(
        "--array",
        nargs="+",
        metavar="FILE",
        help="several recipes, one job array; each needs its own OUTPUT_DIR",
    )
    what.add_argument(
        "--status", type=Path, metavar="DIR", help="tell how the run with this OUTPUT_DIR is doing"
    )
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines of a run (%(default)s)")
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs of a machine, 0 for its CPU (NUM_GPUS of the recipe)"
    )
    parser.add_argument(
        "--cpus", type=int, metavar="N", help="CPUs of a machine (a process and its data workers: one each)"
    )
    parser.add_argument("--time", metavar="TIME", help="time limit of a turn: minutes, H:M:S or D-H:M:S")
    parser.add_argument("--partition", metavar="NAME", help="where to queue (the default of the cluster)")
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="KEY[=VALUE]",
        help="any other option of sbatch, for example account=vision or exclusive; may be repeated",
    )
    parser.add_argument(
        "--notice",
        type=int,
        default=NOTICE_SECONDS,
        metavar="S",
        help="seconds before the time limit at which a run saves and asks for another turn (%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the batch script and submit nothing")
    parser.add_argument("--local", action="store_true", help="run on this machine, without a scheduler")


def run(args: argparse.Namespace, opts: Sequence[str], main: str) -> int:
    """Do what was asked for; ``main`` names what runs a command line (see task.Task). Always 0, errors are raised."""
    recipes, opts = _recipes(args, list(opts))
    if args.status:
        if opts:
            raise ValueError(f"--status takes the folder of a run and no settings, not {' '.join(opts)}")
        print(status.describe(args.status))
        return 0
    if args.time is None:
        raise ValueError(
            "--time is missing: say how long a turn of the run may take, such as --time 48:00:00"
        )
    runs = [_prepare(args, recipe, opts) for recipe in recipes]
    _check_folders(runs, recipes)
    logs = runs[0].output_dir / records.LOGS
    resources = _common(runs)
    if args.dry_run:
        print(cluster.script(logs, resources, len(runs)))
        for each in runs:
            print(f"# a task on each machine does: {_shown(each)}")
        return 0
    jobs = cluster.submit([Task(each.words, main) for each in runs], logs, resources, args.local)
    for job, each in zip(jobs, runs, strict=True):
        records.add(each.output_dir, _record(args, job, each, logs))
        print(f"job {job}: {_shown(each)}")
        print(f"  how it is doing: slowfast submit --status {shlex.quote(str(each.output_dir))}")
    return 0


def _recipes(args: argparse.Namespace, opts: list[str]) -> tuple[list[str], list[str]]:
    """The recipes, and the settings: those that follow ``--array FILE ...`` were read as more files."""
    words = args.array or ([args.cfg] if args.cfg else [])
    end = next(
        (n for n, word in enumerate(words) if args.array and not word.endswith((".yaml", ".yml"))), len(words)
    )
    if args.array and end == 0:
        raise ValueError(f"--array {words[0]}: give recipes, files that end in .yaml")
    return words[:end], words[end:] + opts


def _prepare(args: argparse.Namespace, recipe: str, opts: list[str]) -> _Run:
    """A run as it will be, checked as far as this machine can before it waits in a queue."""
    for key in opts[0::2]:
        if key in _OWN_KEYS:
            raise ValueError(f"{key} is set by {_OWN_KEYS[key]}; leave it out of the settings")
    cfg = load_cfg(recipe, opts)
    gpus = cfg.NUM_GPUS if args.gpus is None else args.gpus
    resources = cluster.Resources(
        name=Path(recipe).stem,
        nodes=args.nodes,
        gpus=gpus,
        cpus=max(1, gpus) * (1 + cfg.DATA_LOADER.NUM_WORKERS) if args.cpus is None else args.cpus,
        minutes=cluster.minutes(args.time),
        notice_seconds=args.notice,
        partition=args.partition,
        more=_sbatch_options(args.sbatch),
    )
    opts = [*opts, "NUM_GPUS", str(gpus)]
    if "TEST.RESUME" not in opts[0::2]:
        opts += ["TEST.RESUME", "True"]
    cfg = load_cfg(recipe, [*opts, "NUM_SHARDS", str(args.nodes)])
    if cfg.TRAIN.ENABLE and not cfg.TRAIN.RESUME:
        raise ValueError(
            f"{recipe} does not resume, so each turn of the job would begin anew: add TRAIN.RESUME auto to the settings"
        )
    return _Run(("run", "--cfg", os.path.abspath(recipe), *opts), Path(cfg.OUTPUT_DIR).absolute(), resources)


def _sbatch_options(words: Sequence[str]) -> dict[str, str | bool]:
    """Options of sbatch as name → value, or True for one without; those that have an option of ours are refused."""
    ours = {"nodes": "--nodes", "time": "--time", "partition": "--partition", "signal": "--notice"}
    ours |= {"cpus-per-task": "--cpus", "gpus-per-node": "--gpus", "array": "--array"}
    found: dict[str, str | bool] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if name in ours:
            raise ValueError(f"--sbatch {word}: write {ours[name]}, which the run has to know as well")
        found[name] = value if equals else True
    return found


def _check_folders(runs: Sequence[_Run], recipes: Sequence[str]) -> None:
    """No two runs may write to one folder, at the same time or one that waits there still."""
    owners: dict[Path, str] = {}
    for each, recipe in zip(runs, recipes, strict=True):
        if each.output_dir in owners:
            raise ValueError(
                f"{owners[each.output_dir]} and {recipe} both write to {each.output_dir}: leave OUTPUT_DIR to the "
                "recipes, or submit them one by one"
            )
        owners[each.output_dir] = recipe
        earlier = records.last(each.output_dir)
        state = earlier and cluster.state(earlier.cluster, earlier.job_id)
        if state and state.active:
            end = f"kill {earlier.job_id}" if earlier.cluster == "local" else f"scancel {earlier.job_id}"
            raise ValueError(
                f"job {earlier.job_id} writes to {each.output_dir} ({state.words}): end it first ({end}), or give "
                "another OUTPUT_DIR"
            )


def _common(runs: Sequence[_Run]) -> cluster.Resources:
    """What the jobs of an array ask for, all the same: the most that any of them needs."""
    first = runs[0].resources
    if len({each.resources.gpus for each in runs}) > 1:
        raise ValueError(
            "the recipes of --array differ in NUM_GPUS: give --gpus, which holds for all of them"
        )
    return replace(first, cpus=max(each.resources.cpus for each in runs))


def _record(args: argparse.Namespace, job: str, each: _Run, logs: Path) -> records.Submission:
    return records.Submission(
        job_id=job,
        cluster="local" if args.local else "slurm",
        nodes=args.nodes,
        command=shlex.join(sys.argv),
        run=_shown(each),
        cwd=os.getcwd(),
        logs=str(logs),
        time=datetime.now().isoformat(" ", "seconds"),
    )


def _shown(each: _Run) -> str:
    return shlex.join(["slowfast", *each.words])
