"""One list entry in, all views of that video out: opened once, decoded once, never an exception for a bad file.

A data set of this package is anything with ``__len__``, ``__getitem__((epoch, index)) -> VideoItem``,
``name(index)``, ``label(index)`` and ``views_per_video``. Every random draw of an item is a function of
(seed, epoch, index, copy), so an item is the same alone, in any order and in any worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from slowfast.datasets import sampling, watching
from slowfast.datasets.annotations import VideoTable
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_folders import FrameFolder, open_frame_folder
from slowfast.datasets.frames import EndOfVideo, UnreadableVideo, VideoReader, open_video
from slowfast.datasets.pipeline import Views
from slowfast.datasets.shards import ShardIndex
from slowfast.utils import seeds

MAX_REPLACEMENTS = 10  # other videos tried for one unreadable training video before its item stays empty


@dataclass(frozen=True)
class ItemReport:
    """What happened while one item was read; plain values, cheap to send between processes.

    ``index`` is the list entry asked for and ``source`` the entry the pixels came from: they differ only when a
    training video was replaced. ``failures`` lists (list index, reason) for every file that could not be read.
    """

    index: int
    source: int
    failures: tuple[tuple[int, str], ...] = ()
    damage: str = ""

    @property
    def readable(self) -> bool:
        return self.source >= 0


@dataclass(frozen=True)
class VideoItem:
    """All views of one video. With no readable video the tensors have zero views and the report says why.

    Shapes: ``views.clips`` uint8 (N, T, S, S, 3); ``labels`` int64 (N,) or float32 (N, K) for several labels.
    """

    views: Views
    labels: torch.Tensor
    report: ItemReport


@dataclass(frozen=True)
class VideoFiles:
    """Opens an entry of a list of video files; ``threads`` as in frames.open_video."""

    threads: int = 1

    def __call__(self, table: VideoTable, index: int) -> VideoReader:
        return open_video(table.path(index), threads=self.threads)


@dataclass(frozen=True)
class ShardFiles:
    """Opens an entry of a list of video files that lie in tar shards; ``threads`` as in frames.open_video."""

    index: ShardIndex
    threads: int = 1

    def __call__(self, table: VideoTable, index: int) -> VideoReader:
        return open_video(self.index.read(table.name(index)), threads=self.threads)


@dataclass(frozen=True)
class FrameFolders:
    """Opens an entry of a list of frame folders; ``template`` as in frame_folders.open_frame_folder."""

    template: str

    def __call__(self, table: VideoTable, index: int) -> FrameFolder:
        return open_frame_folder(table.path(index), table.num_frames(index), self.template)


def read_clips(
    reader: VideoReader | FrameFolder, sampler: ClipSampler, draws: Callable[[], np.random.Generator]
) -> tuple[torch.Tensor, np.ndarray]:
    """The different clips, uint8 (clips, T, H, W, 3), and which of them each clip that the sampler asks for is.

    A file that ends before its packets promised is sampled anew, once. The generator is made again for the second
    attempt, so the clip is the one that a correct length would have given in the first place. Raises UnreadableVideo.
    """
    for attempt in range(2):
        indices, which = sampling.distinct_clips(sampler(reader.num_frames, reader.fps, draws()))
        try:
            frames = reader.read(indices.ravel())
        except EndOfVideo:
            if attempt:
                raise
            continue
        return torch.from_numpy(frames).unflatten(0, indices.shape), which
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class VideoDataset(torch.utils.data.Dataset):
    """A list of videos with labels, read by ``open_media``: video files or frame folders.

    ``make_views`` turns clips uint8 (clips, T, H, W, 3) into Views; it is given one random generator per copy.
    ``num_copies`` is the number of augmented copies of a training clip (1 otherwise). ``replace_unreadable`` is
    for training only: an unreadable video is replaced by another one drawn from the item's own generator.
    ``known_bad`` holds (list index -> reason) of files that are not opened any more, as if reading them had failed in
    this way; workers know what it held when they were started.
    """

    table: VideoTable
    sampler: ClipSampler
    make_views: Callable[[torch.Tensor, Sequence[np.random.Generator]], Views]
    views_per_video: int
    empty_views: Views
    seed: int
    num_copies: int = 1
    replace_unreadable: bool = False
    open_media: Callable[[VideoTable, int], VideoReader | FrameFolder] = VideoFiles()
    num_classes: int = 0
    multi_label: bool = False
    class_names: list[str] | None = field(default=None, repr=False)
    known_bad: dict[int, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def list_path(self) -> str:
        """The list that the videos come from."""
        return self.table.source

    def name(self, index: int) -> str:
        """The path as written in the list."""
        return self.table.name(index)

    def label(self, index: int) -> int | list[int]:
        """The label as listed; of a multi-label list all of them."""
        return self.table.label(index)

    def __getitem__(self, key: tuple[int, int]) -> VideoItem:
        epoch, index = key
        failures: list[tuple[int, str]] = []
        for source in self._candidates(epoch, index):
            if source in self.known_bad:
                failures.append((source, self.known_bad[source]))
                continue
            watching.now_reading(source)
            try:
                clips, which, damage = self._read(source, epoch, index)
            except UnreadableVideo as error:
                failures.append((source, str(error)))
                continue
            except MemoryError:  # as FFmpeg's own lack of it: a header may claim pictures of any size
                failures.append((source, "needs more memory than there is"))
                continue
            rngs = [
                seeds.numpy_generator(self.seed, "views", epoch, index, number)
                for number in range(self.num_copies)
            ]
            views = self.make_views(clips, rngs).repeated(which)
            views = replace(views, noise_seeds=self._noise_seeds(len(views.clips), epoch, index))
            report = ItemReport(index, source, tuple(failures), damage)
            return VideoItem(views, self._labels(source, len(views.clips)), report)
        return VideoItem(self.empty_views, self._labels(index, 0), ItemReport(index, -1, tuple(failures)))

    def _candidates(self, epoch: int, index: int):
        """The entry itself, then (training only) other entries drawn from the item's own generator."""
        yield index
        if not self.replace_unreadable:
            return
        rng = seeds.numpy_generator(self.seed, "replacement", epoch, index)
        tried = {index}
        for _ in range(MAX_REPLACEMENTS):
            other = int(rng.integers(len(self)))
            if other not in tried:
                tried.add(other)
                yield other

    def _read(self, source: int, epoch: int, index: int) -> tuple[torch.Tensor, np.ndarray, str]:
        draws = partial(seeds.numpy_generator, self.seed, "clip", epoch, index)
        with self.open_media(self.table, source) as reader:
            return *read_clips(reader, self.sampler, draws), reader.damage

    def _noise_seeds(self, count: int, epoch: int, index: int) -> torch.Tensor:
        return torch.tensor(
            [seeds.derive(self.seed, "noise", epoch, index, view) for view in range(count)], dtype=torch.int64
        )

    def _labels(self, source: int, count: int) -> torch.Tensor:
        label = self.label(source)
        if not self.multi_label:
            return torch.full((count,), label, dtype=torch.int64)
        hot = torch.zeros(self.num_classes)
        hot[torch.as_tensor(label, dtype=torch.int64)] = 1.0
        return hot.expand(count, -1).clone()
