"""Damaged videos: made from sound ones, decoded in isolation, and read by a loader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from fuzzing import containers
from fuzzing.damaging import PAIRS, damaged, encode
from fuzzing.outcomes import Victim, is_one_line
from slowfast.datasets.checking.decoding import decode
from slowfast.datasets.checking.sources import VideoSource
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.utils.isolation import Limits, Outcome, run_isolated

ROOT = Path(__file__).resolve().parents[2]
DEBUG_RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"

_CLIP = ClipSampler(num_frames=8, sampling_rate=2, num_clips=1)
_VARIANTS = 4  # encodings of each pair
_MEDIA_EVERY = 5
_MOST_MEDIA_BYTES = 2**20


Sound = tuple[str, Path]  # what a sound video is, and its file


def sound_videos(folder: Path, rng: np.random.Generator) -> list[Sound]:
    """Encodings of each pair in several sizes. Raises av.FFmpegError where FFmpeg lacks a codec."""
    made = []
    for variant in range(_VARIANTS):
        for pair in PAIRS:
            path = folder / f"{pair.name.replace('/', '-')}-{variant}{pair.suffix}"
            encode(pair, path, rng)
            made.append((pair.name, path))
    return made


def media_videos(folders: Sequence[Path]) -> list[Sound]:
    """The sound videos below some folders, in sorted order, up to 1 MiB each."""
    paths = sorted(
        path for folder in folders for path in folder.rglob("*") if path.suffix in containers.LABELLERS
    )
    return [(f"clips {path.suffix}", path) for path in paths if path.stat().st_size <= _MOST_MEDIA_BYTES]


def damage_videos(
    made: Sequence[Sound], media: Sequence[Sound], folder: Path, count: int, rng: np.random.Generator
) -> list[Victim]:
    """`count` damaged videos in `folder`, a fifth of them from `media`: all sources by turns, then all regions."""
    victims, known, turns = [], {}, Counter()
    for number in range(count):
        sources = media if media and number % _MEDIA_EVERY == 0 else made
        turn = turns[sources is media]
        turns[sources is media] += 1
        origin, path = sources[turn % len(sources)]
        region = turn // len(sources) % len(containers.REGIONS)
        if path not in known:
            data = path.read_bytes()
            known[path] = data, containers.label(data, path.suffix)
        target = folder / f"{number:06d}-{containers.REGIONS[region]}-{path.name}"
        target.write_bytes(damaged(*known[path], region, rng))
        victims.append(Victim(target, origin, containers.REGIONS[region]))
    return victims


def judge_videos(victims: Sequence[Victim], limits: Limits) -> Iterator[tuple[Victim, Outcome]]:
    """What came of each, as they end: all frames are decoded, in one process that is replaced when it ends."""
    jobs = [VideoSource(str(victim.path)) for victim in victims]
    for number, outcome in run_isolated(
        partial(decode, clips=_CLIP, whole=True), jobs, processes=1, limits=limits
    ):
        yield victims[number], outcome


def through_loader(victims: Sequence[Victim], folder: Path, limits: Limits) -> tuple[Counter, list[str]]:
    """How many of the videos are of each kind to the loader of a test with one worker, and the faults."""
    # Here, since each process that decodes imports this module, and has no use for torch.
    from slowfast.config import load_cfg
    from slowfast.datasets.build import build_loader
    from slowfast.datasets.watching import is_late

    folder.mkdir(exist_ok=True)
    (folder / "test.csv").write_text("".join(f"{victim.path.resolve()},0\n" for victim in victims))
    words = [
        "DATA.PATH_TO_DATA_DIR",
        folder,
        "OUTPUT_DIR",
        folder,
        "DATA_LOADER.DEADLINE_SECONDS",
        limits.seconds,
    ]
    loader = build_loader(load_cfg(DEBUG_RECIPE, [str(word) for word in words]), "test")
    counts, faults, seen = Counter(), [], Counter()
    with _little_memory(limits.memory_gb):
        reports = [report for batch in loader for report in batch.reports]
    for report in reports:
        seen[report.index] += 1
        reason = report.failures[-1][1] if report.failures else report.damage
        kind = "damaged" if report.damage else "whole" if report.readable else "refused"
        if not report.readable:
            kind = "late" if is_late(reason) else "crashed" if reason.startswith("its process") else kind
        counts[kind] += 1
        if kind != "whole" and not is_one_line(reason):
            faults.append(f"{victims[report.index].path.name}: {reason!r}")
    faults += [f"{victims[n].path.name}: came {seen[n]} times" for n in range(len(victims)) if seen[n] != 1]
    return counts, faults


@contextmanager
def _little_memory(gb: float) -> Iterator[None]:
    """Inside, this process and those that it starts may take so many GiB more than now, where there is /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        yield
        return
    import resource  # which is not everywhere

    in_use = int(status.partition("VmData:")[2].split()[0]) * 1024
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (in_use + int(gb * 2**30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
