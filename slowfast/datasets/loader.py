"""The loader that brings the views of videos in batches, and the workers that read them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.utils.data import DataLoader, default_collate

from slowfast.datasets import watching
from slowfast.datasets.orders import EvalOrder, TrainOrder
from slowfast.datasets.video_dataset import ItemReport, VideoItem
from slowfast.utils import logging, stopping

_MOST_IN_VAIN = 3  # ends of workers that no video explains, without a batch in between


@dataclass(frozen=True)
class Batch:
    """The views of several videos: N clips of those that could be read, and V views, each of which shows one.

    Shapes: ``clips`` uint8 (N, T, S, S, 3), ``labels`` int64 (N,) or float32 (N, K), ``video_ids`` int64 (V,) list
    indices as asked for, ``view_ids`` int64 (V,), ``rows`` int64 (V,) the clip of a view, ``erase_boxes`` int64
    (N, R, 4), ``noise_seeds`` int64 (N,). ``reports`` has one entry for each video asked for, read or not.
    """

    clips: torch.Tensor
    labels: torch.Tensor
    video_ids: torch.Tensor
    view_ids: torch.Tensor
    rows: torch.Tensor
    erase_boxes: torch.Tensor
    noise_seeds: torch.Tensor
    reports: tuple[ItemReport, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def pin_memory(self) -> Batch:
        """Called by the loader's pinning thread; only the pixels and labels cross to the device."""
        return replace(self, clips=self.clips.pin_memory(), labels=self.labels.pin_memory())

    def split(self, size: int) -> Iterator[Batch]:
        """The same clips in pieces of at most ``size``, with their views; the first piece carries the reports."""
        for start in range(0, len(self), size):
            per_clip = {
                name: getattr(self, name)[start : start + size]
                for name in ("clips", "labels", "erase_boxes", "noise_seeds")
            }
            here = (self.rows >= start) & (self.rows < start + size)
            yield Batch(
                **per_clip,
                video_ids=self.video_ids[here],
                view_ids=self.view_ids[here],
                rows=self.rows[here] - start,
                reports=() if start else self.reports,
            )


def collate(items: Sequence[VideoItem]) -> Batch:
    """Join items in order; the views of one video stay next to each other."""
    views = [item.views for item in items]
    ids = [
        torch.full((len(v.rows),), item.report.index, dtype=torch.int64)
        for v, item in zip(views, items, strict=True)
    ]
    starts = itertools.accumulate((len(v.clips) for v in views), initial=0)
    return Batch(
        clips=_join([v.clips for v in views]),
        labels=torch.cat([item.labels for item in items]),
        video_ids=torch.cat(ids),
        view_ids=torch.cat([v.view_ids for v in views]),
        rows=torch.cat([v.rows + start for v, start in zip(views, starts, strict=False)]),
        erase_boxes=_join([v.erase_boxes for v in views]),
        noise_seeds=torch.cat([v.noise_seeds for v in views]),
        reports=tuple(item.report for item in items),
    )


def _join(parts: list[torch.Tensor]) -> torch.Tensor:
    """Concatenate along the first axis; empty parts (unreadable videos) need not agree in the other sizes.

    In a worker the result is written where the training process can read it, so that it is not copied again.
    """
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    return default_collate([row for part in filled for row in part])


class Workers:
    """Processes that read the items of one or several data sets, one pass after the other.

    With ``num_workers`` 0 this process reads. ``persistent`` ones stay from pass to pass, whichever data set each pass
    reads, with what they keep in memory. One that reads a video for longer than ``deadline_seconds`` (0: no such
    limit) is killed. After the end of any, all are started anew and the pass goes on with the batch that is due. The
    video that it was reading is read once more, since the cause may lie elsewhere; if that ends a process again, it
    counts as unreadable, in ``known_bad`` of its data set.
    """

    def __init__(
        self,
        datasets: Sequence[torch.utils.data.Dataset],
        *,
        num_workers: int,
        pin_memory: bool,
        persistent: bool,
        prefetch_factor: int = 2,
        start_method: str = "",
        deadline_seconds: float = 0.0,
    ) -> None:
        self._datasets = tuple(datasets)
        self._turn = _Turn()
        self._passes = 0
        self._persistent = persistent
        self._watch = watching.Watch(num_workers, deadline_seconds) if num_workers else None
        self._blame = _Blame(self._datasets)
        worker_options = {}
        if num_workers:
            worker_options = {
                "persistent_workers": persistent,
                "prefetch_factor": prefetch_factor,
                "multiprocessing_context": start_method or None,
                "worker_init_fn": partial(_start_worker, self._watch.table),
            }
        self._new_loader = partial(
            DataLoader,
            _Several(self._datasets),
            batch_sampler=self._turn,
            collate_fn=collate,
            num_workers=num_workers,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # torch draws worker base seeds here instead of from its global stream
            **worker_options,
        )
        self._loader = self._new_loader()

    def read(self, which: int, order: TrainOrder | EvalOrder) -> Iterator[Batch]:
        """The batches of data set number ``which`` in an order. A pass that was begun before cannot go on.

        Raises RuntimeError if a video ends workers whose data set does not know how to do without it, or if workers
        end again and again without reading one.
        """
        self._passes += 1
        self._turn.which, self._turn.order, self._turn.first = which, order, 0
        batches = self._batches(self._passes) if self._watch else iter(self._loader)
        return self._only_now(batches, self._passes)

    def _only_now(self, batches: Iterator[Batch], number: int) -> Iterator[Batch]:
        for batch in batches:
            yield batch
            del batch  # it may be large, and the next one may take its time
            assert self._passes == number, "another pass has begun, whose batches would come next"

    def _batches(self, number: int) -> Iterator[Batch]:
        """What workers bring, whatever becomes of them."""
        batches = None
        try:
            while True:
                try:
                    if batches is None:
                        batches = self._watch.start(partial(iter, self._loader))
                    with self._watch.waiting():
                        batch = next(batches, None)
                except (RuntimeError, OSError, EOFError) as error:
                    casualties = self._watch.casualties()
                    if not casualties:
                        raise
                    self._blame.add(casualties, error)
                    batches = None
                if batches is None:  # outside of the handler, which keeps all that the error knows alive
                    self._start_anew()
                    continue
                if batch is None:
                    return
                self._turn.first += 1
                self._blame.clear(batch.reports)
                yield batch
                del batch
        finally:
            del batches
            if self._passes == number:
                self._watch.rest() if self._persistent else self._watch.end()

    def _start_anew(self) -> None:
        self._loader = None  # with the processes that are left
        self._watch.end()
        self._loader = self._new_loader()


class _Blame:
    """What to make of workers that are gone, and of the videos that they were reading."""

    def __init__(self, datasets: Sequence[torch.utils.data.Dataset]) -> None:
        self._datasets = datasets
        self._suspects: set[tuple[int, int]] = set()  # data set, list index: what has ended one process
        self._in_vain = 0  # processes that ended without reading anything since the last batch
        self._log = logging.get_logger("data")

    def add(self, casualties: Sequence[watching.Casualty], error: Exception) -> None:
        """Raises RuntimeError, from ``error``, where going on would end in the same way."""
        for casualty in casualties:
            if casualty.reading is None:
                self._in_vain += 1
                self._log.warning("a loader worker ended while it read no video: %s", casualty.reason)
            elif casualty.reading in self._suspects:
                self._condemn(*casualty.reading, casualty.reason, error)
            else:
                self._suspects.add(casualty.reading)
                which, index = casualty.reading
                name = self._datasets[which].name(index)
                self._log.warning(
                    "a loader worker ended, its video is read again: %s: %s", name, casualty.reason
                )
        if self._in_vain > _MOST_IN_VAIN:
            raise RuntimeError(
                f"{self._in_vain} loader workers ended one after the other while they read no video (the last one: "
                f"{casualties[-1].reason}). They may lack memory, shared memory (/dev/shm) among it: lower "
                "DATA_LOADER.NUM_WORKERS or DATA_LOADER.PREFETCH_FACTOR"
            ) from error

    def clear(self, reports: Sequence[ItemReport]) -> None:
        """A batch has come: what has been read in it is under no suspicion."""
        self._in_vain = 0
        if self._suspects:
            read = {report.source for report in reports}
            self._suspects = {(which, index) for which, index in self._suspects if index not in read}

    def _condemn(self, which: int, index: int, reason: str, error: Exception) -> None:
        dataset = self._datasets[which]
        self._suspects.discard((which, index))
        if not hasattr(dataset, "known_bad"):
            raise RuntimeError(
                f"two loader workers ended while they read {dataset.name(index)} ({reason}): leave it out of the list"
            ) from error
        dataset.known_bad[index] = reason
        self._log.warning(
            "a loader worker ended again, its video is unreadable: %s: %s", dataset.name(index), reason
        )


class _Several(torch.utils.data.Dataset):
    """Data sets side by side: an item has the number of its data set in front of its key."""

    def __init__(self, datasets: tuple[torch.utils.data.Dataset, ...]) -> None:
        self._datasets = datasets

    def __getitem__(self, key: tuple[int, tuple[int, int]]) -> VideoItem:
        which, inner = key
        with watching.item(which, inner[1]):
            return self._datasets[which][inner]


class _Turn:
    """Whose turn it is: the batches of one order, from number ``first`` on, as keys of `_Several`."""

    which: int
    order: TrainOrder | EvalOrder
    first: int

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, int]]]]:
        which = self.which
        batches = itertools.islice(self.order, self.first, None)
        return ([(which, key) for key in keys] for keys in batches)


class VideoLoader:
    """Batches of a data set in a given order, read by number ``which`` of the data sets of ``workers``.

    Iterating gives the pass that the order stands at; ``epoch(e, start)`` first sets that position.
    """

    def __init__(
        self,
        dataset: torch.utils.data.Dataset,
        order: TrainOrder | EvalOrder,
        workers: Workers,
        which: int = 0,
    ) -> None:
        self.dataset = dataset
        self.order = order
        self._workers = workers
        self._which = which

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        return self._workers.read(self._which, self.order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of a training epoch from step ``start`` on."""
        self.order.epoch, self.order.start = epoch, start
        return iter(self)

    def steps(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        """The batches of a training epoch from step ``start`` on, those of one optimizer step together."""
        batches = self.epoch(epoch, start)
        return (list(itertools.islice(batches, self.order.passes)) for _ in range(start, len(self)))


def _start_worker(table: torch.Tensor, worker: int) -> None:
    """One arithmetic thread, since the training process owns the others; and that process alone heeds signals.

    Ctrl-C and a cluster's warning reach every process of a job. A worker that ended of them would end the run in the
    middle of a step.
    """
    torch.set_num_threads(1)
    stopping.leave_to_parent()
    watching.begin(table, worker)
