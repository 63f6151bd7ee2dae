"""The order in which videos are visited.

The order is arithmetic on integers: global batch k of an epoch is slice k of one permutation, and processes split
the slice; evaluation cuts the list into groups and deals whole groups. The epoch travels inside each index, so
data sets hold no state and workers can stay alive between epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slowfast.utils import seeds


@dataclass
class TrainOrder:
    """Batches of (epoch, index) keys of one process for one epoch, from step ``start`` on.

    ``global_batch`` videos make one step of all processes together, each of which takes its share in ``passes``
    batches; the last incomplete step is dropped. The union over processes and passes does not depend on their
    numbers. With ``classes``, int (num_videos,), each class has the same share of an epoch, which stays as long.
    """

    num_videos: int
    global_batch: int
    seed: int
    rank: int = 0
    world_size: int = 1
    passes: int = 1
    epoch: int = 0
    start: int = 0
    classes: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.num_videos < self.global_batch:
            raise ValueError(
                f"the training list has {self.num_videos} videos, fewer than one step of all processes takes "
                f"({self.global_batch}): lower {self._to_lower()}"
            )
        if self.global_batch % (self.passes * self.world_size):
            raise ValueError(
                f"{self.global_batch // self.passes} videos (TRAIN.BATCH_SIZE x NUM_SHARDS) cannot be shared by "
                f"{self.world_size} processes: make TRAIN.BATCH_SIZE a multiple of the processes of a shard"
            )

    def _to_lower(self) -> str:
        if self.passes > 1:
            return "TRAIN.ACCUMULATION_STEPS or TRAIN.BATCH_SIZE"
        return f"TRAIN.BATCH_SIZE to at most {self.num_videos}"

    def __len__(self) -> int:
        """Steps of a whole epoch, wherever this pass starts."""
        return self.num_videos // self.global_batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self._order(seeds.numpy_generator(self.seed, "order", self.epoch))
        share = self.global_batch // self.world_size
        size = share // self.passes
        for step in range(self.start, len(self)):
            start = step * self.global_batch + self.rank * share
            for first in range(start, start + share, size):
                yield [(self.epoch, int(index)) for index in order[first : first + size]]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.num_videos) if self.classes is None else balanced_order(self.classes, rng)


def balanced_order(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """List indices, int64 (N,) for ``classes`` int (N,): each class as often as any other, or once more.

    The videos of a class come in one random order after the other, so none comes a second time more often than
    another comes once.
    """
    present, members = np.unique(classes, return_inverse=True)
    count = len(classes)
    slots = np.concatenate(
        [np.tile(np.arange(len(present)), count // len(present)), rng.permutation(len(present))[: count % len(present)]]
    )
    slots = rng.permutation(slots)
    order = np.empty(count, dtype=np.int64)
    for number in range(len(present)):
        videos, places = np.flatnonzero(members == number), np.flatnonzero(slots == number)
        rounds = -(-len(places) // len(videos))
        order[places] = np.concatenate([rng.permutation(videos) for _ in range(rounds)])[: len(places)]
    return order


@dataclass
class EvalOrder:
    """List order in groups of ``group`` videos; process r takes groups r, r + world_size, … and nothing is padded.

    Groups depend on the list and on ``group`` alone, so every video meets the same neighbours in a batch for any
    number of processes. Groups of which every video is in ``done`` are left out, and the others dealt as before.
    """

    num_videos: int
    group: int
    rank: int = 0
    world_size: int = 1
    done: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._firsts())

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for first in self._firsts():
            last = min(int(first) + self.group, self.num_videos)
            yield [(0, index) for index in range(int(first), last)]

    def _firsts(self) -> np.ndarray:
        """The first video of each group of this process: one array, since lists may have a million videos."""
        firsts = np.arange(0, self.num_videos, self.group)
        if self.done:
            done = np.zeros(self.num_videos, dtype=bool)
            done[list(self.done)] = True
            firsts = firsts[~np.logical_and.reduceat(done, firsts)]
        return firsts[self.rank :: self.world_size]


def eval_group_size(views_per_batch: int, views_per_video: int) -> int:
    """Videos whose views together fill one evaluation batch; at least one."""
    return max(1, views_per_batch // views_per_video)
