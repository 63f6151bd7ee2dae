"""Keeps account of the videos that could not be read during training, and stops when there are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from logging import Logger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slowfast.datasets.bad_files import FILE_NAME, BadFiles
from slowfast.datasets.video_dataset import ItemReport, VideoDataset
from slowfast.datasets.watching import is_late
from slowfast.utils import distributed
from slowfast.utils.appended_table import AppendedTable
from slowfast.utils.plural import counted

MIN_TRIED = 20  # videos tried before a share of them means anything


class BadVideos:
    """Names each unreadable or damaged video once, counts them, and enforces the allowed share.

    ``name_of`` turns a list index into the path as written in the list. ``found`` is told (list index, reason) of each
    unreadable video when it is named, and ``replaced`` (epoch, list index, that of its replacement) of each sample
    that was replaced because its own video or a replacement missed its deadline. ``listed_in`` is the file that names
    all unreadable videos, if any does.
    """

    def __init__(
        self,
        name_of: Callable[[int], str],
        max_fraction: float,
        log: Logger,
        found: Callable[[int, str], None] = lambda index, reason: None,
        replaced: Callable[[int, int, int], None] = lambda epoch, index, source: None,
        listed_in: str = "",
    ) -> None:
        self._name_of, self._found, self._replaced = name_of, found, replaced
        self._max_fraction, self._listed_in = max_fraction, listed_in
        self._log = log
        self._tried = bytearray()  # by list index, 1 once tried: a set of a million numbers would take 60 MB
        self._num_tried = 0
        self._damaged: set[int] = set()
        self.reasons: dict[int, str] = {}

    def state(self) -> dict[str, Any]:
        """For a checkpoint: what was tried, as bits by list index, and what could not be read."""
        bits = np.packbits(np.frombuffer(bytes(self._tried), np.uint8))
        bits = np.pad(bits, (0, -len(bits) % 8))  # to int64, which checkpoints hold anyway
        return {"tried": torch.from_numpy(bits.view(np.int64)), "reasons": dict(self.reasons)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on counting from a state of the same list."""
        self._tried = bytearray(np.unpackbits(state["tried"].numpy().view(np.uint8)).tobytes())
        self._num_tried = sum(self._tried)
        self.reasons = dict(state["reasons"])

    def add(self, reports: Iterable[ItemReport], epoch: int = 0) -> None:
        """Raises ValueError when a video and all its replacements, or too large a share of all, are unreadable."""
        for report in reports:
            for index, reason in report.failures:
                self._try(index)
                if index not in self.reasons:
                    self.reasons[index] = reason
                    self._log.warning(
                        "unreadable video, replaced by another: %s: %s", self._name_of(index), reason
                    )
                    self._found(index, reason)
            if not report.readable:
                raise ValueError(
                    self._message("a video and every replacement tried for it could not be read")
                )
            self._try(report.source)
            if any(is_late(reason) for _, reason in report.failures):
                self._replaced(epoch, report.index, report.source)
            if report.damage and report.source not in self._damaged:
                self._damaged.add(report.source)
                self._log.warning(
                    "damaged video, used as far as it goes: %s: %s",
                    self._name_of(report.source),
                    report.damage,
                )
        if self._num_tried >= MIN_TRIED and len(self.reasons) > self._max_fraction * self._num_tried:
            raise ValueError(
                self._message(
                    f"more than DATA.MAX_BAD_FRACTION = {self._max_fraction:g} of the videos could not be read"
                )
            )

    def share(self, reports: list[ItemReport], epoch: int) -> None:
        """Tell all processes what happened to the videos of each since the last time, in one epoch, and forget it."""
        noteworthy = distributed.all_gather_objects(reports)
        for part in noteworthy:
            self.add(part, epoch)
        reports.clear()

    def _try(self, index: int) -> None:
        if index >= len(self._tried):
            self._tried.extend(bytes(index + 1 - len(self._tried)))
        self._num_tried += not self._tried[index]
        self._tried[index] = 1

    def _message(self, what: str) -> str:
        lines = [f"  {self._name_of(index)}: {reason}" for index, reason in list(self.reasons.items())[:20]]
        more = len(self.reasons) - len(lines)
        return "\n".join(
            [f"{what} ({len(self.reasons)} of {self._num_tried} tried; is DATA.PATH_PREFIX right?):", *lines]
            + ([f"  and {more} more"] if more > 0 else [])
            + ([f"  all of them: {self._listed_in}"] if more > 0 and self._listed_in else [])
        )


class Replacements:
    """The file in ``folder`` that tells which samples a deadline has replaced: without any, a run can be repeated.

    One row each, once: epoch counted from 1, and the paths of the sample and of its replacement as ``name_of`` gives
    them for list indices. Raises what AppendedTable raises.
    """

    def __init__(self, folder: Path, name_of: Callable[[int], str]) -> None:
        self._table = AppendedTable(folder / "deadline_replacements.csv", ("epoch", "sample", "replacement"))
        self._known = set(self._table.rows)
        self._name_of = name_of

    def add(self, epoch: int, index: int, source: int) -> None:
        row = str(epoch + 1), self._name_of(index), self._name_of(source)
        if row not in self._known:
            self._known.add(row)
            self._table.append(*row)


def open_account(folder: Path, dataset: Any, max_fraction: float, log: Logger) -> BadVideos:
    """The account of a run in ``folder``, kept there by rank 0 for a data set of this package.

    The data set is told of the files that an earlier run there could not read, before its workers start. All ranks
    call it. Raises what AppendedTable raises.
    """
    if not isinstance(dataset, VideoDataset):  # made elsewhere: its files have no stamps to know them by
        return BadVideos(dataset.name, max_fraction, log)
    files = BadFiles(folder, dataset) if distributed.is_main() else None
    known = distributed.broadcast_object(files and files.known())
    dataset.known_bad.update(known)
    if known:
        log.info(
            "%s known to be unreadable and not opened, see %s",
            counted(len(known), "video"),
            folder / FILE_NAME,
        )
    listed_in = str(folder / FILE_NAME)
    if files is None:
        return BadVideos(dataset.name, max_fraction, log, listed_in=listed_in)
    replacements = Replacements(folder, dataset.name)
    return BadVideos(dataset.name, max_fraction, log, files.add, replacements.add, listed_in)
