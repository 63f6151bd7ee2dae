"""The story of checking a list: read it, decode every video in a process that may die, keep each verdict, tell."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from slowfast.datasets import build
from slowfast.datasets.checking import results
from slowfast.datasets.checking.decoding import BAD, GOOD, decode
from slowfast.datasets.checking.journal import Journal, Verdict, journal_path
from slowfast.datasets.checking.listing import Key, Listing, read_listing
from slowfast.engine.progress_bar import ProgressBar
from slowfast.utils.isolation import Limits, Outcome, run_isolated

_THREADS = 16  # files looked up at a time: it is waiting for the disk


def check_data(
    list_path: Path,
    cfg=None,
    *,
    media: str = "",
    classes: str = "",
    out: Path | None = None,
    jobs: int,
    limits: Limits,
    frames: str = "all",
    keep_damaged: bool = False,
) -> int:
    """Decode all videos of a list that an earlier call has not; write good.csv, bad.csv, coverage.csv, and a summary.

    A config says how lists are written, where media lie and what a clip is; without one, `media` and `classes` do, as
    in `read_listing`. `frames` is "all", which any clip could need, or "clip", those of one in the middle. `out` is
    a folder for this list, by default beside it and named after it. Returns 0 if all videos are good, else 1.

    Raises ValueError and OSError for what the caller can mend, KeyboardInterrupt, with all verdicts kept.
    """
    if frames not in ("all", "clip"):
        raise ValueError(f"frames {frames!r} is unknown; write all or clip")
    out = out or list_path.with_name(f"{list_path.stem}_check")
    if cfg is None:
        listing = read_listing(list_path, media=media, classes=classes, spare_folder=str(out))
    else:
        listing = build.build_listing(cfg, str(list_path))
    with Journal(journal_path(out), {**listing.settings(), "frames": frames}) as journal:
        verdicts = _check(listing, journal, jobs=jobs, limits=limits, whole=frames == "all")
    by_line, accept = [verdicts[key] for key in listing.keys()], results.accepted(keep_damaged)
    good = [verdict.status in accept for verdict in by_line]
    counts = results.count_classes(listing.table, good, listing.class_names)
    results.write_results(out, listing.table, by_line, counts, accept)
    print(results.summary(out, listing.table, by_line, counts, accept))
    return int(not all(good))


def _check(
    listing: Listing, journal: Journal, *, jobs: int, limits: Limits, whole: bool
) -> dict[Key, Verdict]:
    """The verdict on every video, those of the journal among them where nothing has changed."""
    sources = {key: listing.source(key) for key in listing.keys()}
    with ThreadPoolExecutor(_THREADS) as pool:
        stamps = dict(zip(sources, pool.map(lambda source: source.stamp(), sources.values()), strict=True))
    known = {key: journal.known(key, stamp, limits) for key, stamp in stamps.items()}
    verdicts = {key: verdict for key, verdict in known.items() if verdict}
    todo = [key for key in sources if key not in verdicts]
    print(
        f"{listing.table.source}: {len(sources)} videos; {len(verdicts)} checked earlier, {len(todo)} to check",
        flush=True,
    )
    done = run_isolated(
        partial(decode, clips=listing.clips, whole=whole),
        [sources[key] for key in todo],
        processes=jobs,
        limits=limits,
    )
    try:
        for number, outcome in _shown(done, len(sources), list(verdicts.values())):
            key = todo[number]
            verdicts[key] = _verdict(outcome, limits)
            journal.add(key, stamps[key], verdicts[key])
    except KeyboardInterrupt:
        print(
            f"{len(verdicts)} of {len(sources)} videos are checked, see {journal.path}",
            file=sys.stderr,
        )
        raise
    return verdicts


def _shown(
    done: Iterator[tuple[int, Outcome]], total: int, before: Sequence[Verdict]
) -> Iterator[tuple[int, Outcome]]:
    """The same, with a progress bar that counts what is not good. All processes are gone once this is closed."""
    bar = ProgressBar("check", total, wanted=True, done=len(before))
    bad = sum(verdict.status != GOOD for verdict in before)
    try:
        for number, outcome in done:
            bad += bool(outcome.failure) or outcome.value[0] != GOOD
            bar.describe(bad=bad)
            bar.advance(1)
            yield number, outcome
    finally:
        done.close()
        bar.close()


def _verdict(outcome: Outcome, limits: Limits) -> Verdict:
    if outcome.failure:
        return Verdict(BAD, outcome.failure, limits if outcome.at_limit else None)
    return Verdict(*outcome.value)
