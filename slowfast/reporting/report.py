"""The story of a report: the files that a test left -> report.html in the same folder."""

from __future__ import annotations

import os
from pathlib import Path

from slowfast.engine.verdict import Published
from slowfast.reporting import build
from slowfast.reporting.mistakes import worst_mistakes
from slowfast.reporting.page import report_page
from slowfast.reporting.reading import read_run
from slowfast.reporting.thumbnails import Media, pictures
from slowfast.utils import distributed
from slowfast.utils.atomic import replace_file
from slowfast.utils.logging import get_logger

FILE_NAME = "report.html"


def report(folder: str | os.PathLike, out: str | os.PathLike = "") -> Path:
    """Write the report of the test in a run's folder, there or to ``out``; its path. Raises as `read_run` does.

    Only frames of videos and the published figure need more than the files of that folder: they are left out, and the
    page says so, where the list or the recipe is not where the run found it.
    """
    cfg = build.read_config(folder)
    media = cfg and build.build_media(cfg)
    return _write(folder, out, media, cfg and build.find_published(cfg))


def report_after_test(cfg) -> None:
    """The report as a part of a run, in every process of its group; what stops it is logged and ends no run."""
    log = get_logger("report")
    try:
        media = build.build_media(cfg)
        if distributed.is_main():
            log.info("see %s", _write(cfg.OUTPUT_DIR, "", media, build.find_published(cfg)))
    except Exception as error:  # whatever it is: the test is done, and its files are written
        log.warning("no %s was written: %s: %s", FILE_NAME, type(error).__name__, error)


def _write(
    folder: str | os.PathLike, out: str | os.PathLike, media: Media | None, published: Published | None
) -> Path:
    run = read_run(folder, media and media.class_names)
    found = worst_mistakes(run) if run.labelled else []
    shown = pictures(media, [(int(run.video_ids[one.row]), run.paths[one.row]) for one in found])
    path = Path(out or Path(folder) / FILE_NAME)
    with replace_file(path) as file:
        file.write(report_page(run, published, found, shown))
    return path
