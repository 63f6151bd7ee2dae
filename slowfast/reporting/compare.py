"""The story of a comparison: the folders of several tested runs -> compare.html, and a short table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from slowfast.reporting import comparing
from slowfast.reporting.charts import NUM_COLOURS
from slowfast.reporting.compare_page import compare_page, short_table
from slowfast.reporting.reading import read_run
from slowfast.utils.atomic import replace_file

FILE_NAME = "compare.html"


def compare_runs(folders: Sequence[str | os.PathLike], out: str | os.PathLike) -> list[str]:
    """Compare tests with the first of them, write the page and return lines for a terminal.

    Raises ValueError for less than two or too many, for one given twice, for tests that cannot be compared, and what
    `read_run` raises.
    """
    if not 2 <= len(folders) <= NUM_COLOURS:
        raise ValueError(
            f"{len(folders)} run(s) given: give 2 to {NUM_COLOURS} of them, of which the others are compared with the "
            "first"
        )
    names = short_names(folders)
    runs = [read_run(folder) for folder in folders]
    comparing.check_comparable(runs)
    found = [comparing.compare(runs[0], run) for run in runs[1:]]
    with replace_file(out) as file:
        file.write(compare_page(names, runs, found))
    return short_table(names, runs, found)


def short_names(folders: Sequence[str | os.PathLike]) -> list[str]:
    """As many last parts of each path as tell the runs apart. Raises ValueError for a run that is given twice."""
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"{twice} is given twice: a run is no news to itself")
    length = 1
    while len({path.parts[-length:] for path in paths}) < len(paths):
        length += 1
    return [str(Path(*path.parts[-length:])) for path in paths]
