"""Keeps account of the videos that could not be read during training, and stops when there are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from logging import Logger

from slowfast.datasets.video_dataset import ItemReport

MIN_TRIED = 20  # videos tried before a share of them means anything


class BadVideos:
    """Names each unreadable or damaged video once, counts them, and enforces the allowed share.

    ``name_of`` turns a list index into the path as written in the list.
    """

    def __init__(self, name_of: Callable[[int], str], max_fraction: float, log: Logger) -> None:
        self._name_of = name_of
        self._max_fraction = max_fraction
        self._log = log
        self._tried = bytearray()  # by list index, 1 once tried: a set of a million numbers would take 60 MB
        self._num_tried = 0
        self._damaged: set[int] = set()
        self.reasons: dict[int, str] = {}

    def add(self, reports: Iterable[ItemReport]) -> None:
        """Raises ValueError when a video and all its replacements, or too large a share of all, are unreadable."""
        for report in reports:
            for index, reason in report.failures:
                self._try(index)
                if index not in self.reasons:
                    self.reasons[index] = reason
                    self._log.warning(
                        "unreadable video, replaced by another: %s: %s", self._name_of(index), reason
                    )
            if not report.readable:
                raise ValueError(
                    self._message("a video and every replacement tried for it could not be read")
                )
            self._try(report.source)
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
        )
