"""What a training and a test run set up alike: log, device, threads, records, and a copy of the config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from logging import Logger
from pathlib import Path

import torch

from slowfast.engine.metrics_file import Position
from slowfast.engine.monitor import Recorder
from slowfast.utils import distributed, environment, logging
from slowfast.utils.atomic import replace_file, sweep


@dataclass(frozen=True)
class Session:
    """The surroundings of a run in this process; ``facts`` are versions, commit and hardware as the run began."""

    device: torch.device
    output_dir: Path
    log: Logger
    is_main: bool
    facts: dict

    def keep_config(self, text: str) -> None:
        """Write config.yaml, once the start has gone well: a start that is refused leaves the old one."""
        if self.is_main:
            sweep(self.output_dir / "config.yaml")
            with replace_file(self.output_dir / "config.yaml") as file:
                file.write(text.encode())

    @property
    def num_threads(self) -> int:
        """Threads of torch in each process on a CPU, where the last bits of results follow from them; else 0.

        For a checkpoint, and for a test's results.
        """
        return torch.get_num_threads() if self.device.type == "cpu" else 0

    def keep_threads(self, asked: int, saved: int) -> None:
        """Go on with the threads that a checkpoint was computed with, where they count and nobody ``asked`` for others.

        NUM_THREADS 0 follows the cores and loader workers, which change from machine to machine; 0 saved is not known.
        """
        own = self.num_threads
        if own and saved and not asked and saved != own:
            torch.set_num_threads(saved)
            self.log.info(
                "%d thread(s) as in the checkpoint, since bits follow from them; NUM_THREADS 0 would mean %d here",
                saved,
                own,
            )

    def recorder(
        self, tensorboard_dir: str | None, position: Position | None = None, *, is_test: bool = False
    ) -> Recorder:
        """Where numbers go: metrics.jsonl, and TensorBoard in a folder below the run's unless it is None.

        position: where a training run goes on; None for all others. is_test: whether those of a test go there.
        """
        folder = None if tensorboard_dir is None else self.output_dir / tensorboard_dir
        path = self.output_dir / "metrics.jsonl"
        if self.is_main and position is not None:
            sweep(path)
        return Recorder(path, folder, is_main=self.is_main, position=position, is_test=is_test)


def open_session(
    name: str,
    output_dir: str,
    notes: Iterable[str] = (),
    *,
    num_gpus: int,
    num_workers: int,
    num_threads: int,
) -> Session:
    """Make the output folder, start the log with ``notes``, choose the device, share out the cores.

    All processes call it. With ``num_threads`` 0 each takes as many as the one that can have fewest.
    """
    is_main = distributed.is_main()
    folder = Path(output_dir)
    logging.setup(folder, is_main)
    log = logging.get_logger(name)
    for note in notes:
        log.info(note)
    processes = distributed.processes_on_this_host()
    workers = environment.cap_workers(num_workers, processes)
    threads = environment.limit_threads(num_threads, workers, processes)
    if num_threads == 0:
        threads = environment.limit_threads(min(distributed.all_gather_objects(threads)), workers, processes)
    device = environment.resolve_device(num_gpus, processes)
    if device.type == "cpu":
        environment.keep_freed_memory()
    log.info(
        "%s in %s on %s: %d process(es), %d of them here, each with %d thread(s) and %d loader worker(s)",
        name,
        folder,
        device,
        distributed.world_size(),
        processes,
        threads,
        workers,
    )
    return Session(device, folder, log, is_main, environment.facts())
