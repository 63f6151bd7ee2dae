"""A progress bar on a terminal, and nothing anywhere else."""

from __future__ import annotations

import sys
from typing import Any


class ProgressBar:
    """A tqdm bar on stderr when `wanted` and stderr is a terminal; otherwise every call does nothing.

    `total` 0: not known.
    """

    def __init__(self, title: str, total: int, *, wanted: bool, done: int = 0) -> None:
        self._bar = None
        if wanted and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total or None, initial=done, desc=title, leave=False, dynamic_ncols=True)

    @property
    def visible(self) -> bool:
        """Whether there is a bar to see."""
        return self._bar is not None

    def advance(self, count: int) -> None:
        """That much more is done."""
        if self._bar is not None:
            self._bar.update(count)

    def describe(self, **facts: Any) -> None:
        """Show these values beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix(facts, refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
