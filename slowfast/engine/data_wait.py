"""When training waits for data: which one setting to change."""

from __future__ import annotations

import math
from logging import Logger

from slowfast.utils import distributed, environment
from slowfast.utils.plural import counted

MUCH = 0.2  # share of an epoch spent waiting from which on there is something to say
SMALL = 2000  # videos of a set that is likely to fit into memory


def advise(
    log: Logger, share: float, *, num_workers: int, cached: bool, num_videos: int, crop_size: int
) -> None:
    """Name in the log the one setting to change, if much of an epoch was spent waiting for data; see `advice`."""
    processes = distributed.processes_on_this_host()
    most = environment.cap_workers(environment.num_cores(), processes)
    line = advice(
        share,
        num_workers=min(num_workers, most),
        max_workers=most,
        processes=processes,
        cached=cached,
        num_videos=num_videos,
        crop_size=crop_size,
    )
    if line:
        log.warning(line)


def advice(
    share: float,
    *,
    num_workers: int,
    max_workers: int,
    processes: int,
    cached: bool,
    num_videos: int,
    crop_size: int,
) -> str:
    """One line for the log that names the setting, or "" where an epoch waited for at most MUCH of its time.

    share: of the epoch, 0 to 1. num_workers: of this process, which has the cores for max_workers. processes: that
    share this machine. cached: frames are kept in memory already. crop_size: pixels of a training crop.
    """
    if share <= MUCH:
        return ""
    waited = f"{share:.0%} of the epoch was spent waiting for data: "
    if num_workers < max_workers:
        return f"{waited}write DATA_LOADER.NUM_WORKERS {min(max_workers, _enough(share, num_workers))}"
    take = "takes" if num_workers == 1 else "take"
    busy = f"{waited}{counted(num_workers, 'worker')} {take} all cores of this process; "
    if not cached and num_videos <= SMALL:
        return f"{busy}write DATA.CACHE_SHORT_SIDE {crop_size}, to decode once and keep small frames (DATA.CACHE_GB)"
    fewer = "lower NUM_GPUS, for more cores to each, or " if processes > 1 else ""
    return f"{busy}{fewer}store the videos with a short side of {crop_size} pixels"


def _enough(share: float, num_workers: int) -> int:
    """Workers that bring in the rest of the time what these bring in all of it; alone a process reads as it waits."""
    return math.ceil(num_workers / (1 - share)) if num_workers else math.ceil(share / (1 - share))
