"""Steps whose loss is far above those before them."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Any, NamedTuple

WINDOW = 100  # steps whose median a loss is compared with
LEAST = 20  # of them, before there is anything to compare with


class Spike(NamedTuple):
    """Step ``number``, from 1, has ``loss`` where the steps before it had ``median``."""

    number: int
    loss: float
    median: float


class SpikeWatch:
    """Finds steps whose loss is more than ``factor`` times the median of the up to WINDOW steps before; 0: none.

    A loss below zero is compared with nothing.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._found: list[Spike] = []
        self.count = 0

    def see(self, number: int, loss: float) -> None:
        """The finite loss of a step; steps must come in their order, each once."""
        if not self._factor:
            return
        if len(self._losses) >= LEAST:
            median = statistics.median(self._losses)
            if loss > self._factor * median > 0:
                self._found.append(Spike(number, loss, median))
                self.count += 1
        self._losses.append(loss)

    def take(self) -> list[Spike]:
        """What was found since the last call."""
        found, self._found = self._found, []
        return found

    def state(self) -> dict[str, Any]:
        """For a checkpoint; what was found is to be taken before."""
        return {"losses": list(self._losses), "count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; {} to begin."""
        self._losses.clear()
        self._losses.extend(state.get("losses", ()))
        self._found, self.count = [], state.get("count", 0)
