"""What a training and a test run set up alike: log, device, threads, records, and a copy of the config."""

from __future__ import annotations

from dataclasses import dataclass
from logging import Logger
from pathlib import Path

import torch

from slowfast.engine.monitor import Recorder
from slowfast.utils import distributed, environment, logging
from slowfast.utils.atomic import replace_file


@dataclass(frozen=True)
class Session:
    """The surroundings of a run in this process."""

    device: torch.device
    output_dir: Path
    log: Logger
    is_main: bool

    def recorder(self, tensorboard_dir: str | None) -> Recorder:
        """Where numbers go: metrics.jsonl, and TensorBoard in a folder below the run's unless it is None."""
        folder = None if tensorboard_dir is None else self.output_dir / tensorboard_dir
        return Recorder(self.output_dir / "metrics.jsonl", folder, is_main=self.is_main)


def open_session(
    name: str, output_dir: str, config_text: str, *, num_gpus: int, num_workers: int, num_threads: int
) -> Session:
    """Make the output folder with config.yaml in it, start the log, choose the device, share out the cores."""
    is_main = distributed.is_main()
    folder = Path(output_dir)
    logging.setup(folder, is_main)
    log = logging.get_logger(name)
    if is_main:
        with replace_file(folder / "config.yaml") as file:
            file.write(config_text.encode())
    processes = distributed.processes_on_this_host()
    workers = environment.cap_workers(num_workers, processes)
    threads = environment.limit_threads(num_threads, workers, processes)
    device = environment.resolve_device(num_gpus)
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
    return Session(device, folder, log, is_main)
