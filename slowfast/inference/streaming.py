"""A video of any length, window by window, in one pass of the decoder and in memory that does not grow.

Of every frame that a coming window takes, its crops in model size are kept, and only until the last window that takes
it has been made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from slowfast.datasets.frame_stream import FolderStream, FrameStream, StreamedFrame
from slowfast.datasets.pipeline import Views
from slowfast.datasets.video_views import VideoViews, joined
from slowfast.inference.prediction import Prediction, Span, WindowPrediction
from slowfast.inference.windows import Windows
from slowfast.utils.read_ahead import read_ahead

AHEAD = 2  # windows that wait for the model


@dataclass(frozen=True)
class WindowViews:
    """A window as the model is shown it: views uint8, as of a video of its own."""

    span: Span
    views: Views


class WindowFrames:
    """Given the frames of a stream one after the other it makes the views of windows.

    kept: number of a frame -> its crops, of those that are still needed: at most ``windows.length`` at a time.
    fps: for the end of a window, that of its last frame; None: as long after it as the frame before lies.
    """

    def __init__(self, views: VideoViews, windows: Windows, fps: float | None) -> None:
        self._views, self._windows, self._fps = views, windows, fps
        self.kept: dict[int, Views] = {}
        self._begins: dict[int, float | None] = {}
        self._last: StreamedFrame | None = None
        self._frame_seconds = 1 / fps if fps else 0.0

    def add(self, frame: StreamedFrame) -> WindowViews | None:
        """Take the next frame; the window that ends with it, if one does."""
        windows, number = self._windows, frame.number
        if windows.last_taking(number) is not None:
            self.kept[number] = self._views.of_frame(frame.picture())
        if number % windows.stride == 0:
            self._begins[number] = frame.time_seconds
        if not self._fps and self._last and None not in (frame.time_seconds, self._last.time_seconds):
            self._frame_seconds = frame.time_seconds - self._last.time_seconds
        self._last = frame
        window = windows.ending_with(number)
        return None if window is None else self._make(window, number)

    def finish(self) -> WindowViews | None:
        """The stream has ended: the window that this cuts short, if it is to be scored."""
        if self._last is None:
            return None
        last = self._last.number
        window = self._windows.cut_short(last + 1)
        if window is None:
            return None
        if last not in self.kept:
            self.kept[last] = self._views.of_frame(self._last.picture())
        return self._make(window, last)

    def _make(self, window: int, last: int) -> WindowViews:
        """The views of a window whose last frame has come; what no later one takes is forgotten."""
        start = self._windows.start(window)
        clips = (start + self._windows.clips).clip(max=last)
        views = joined(self.kept, clips, self._windows.which)
        span = Span(start, last + 1, self._begins.get(start), self._end_seconds())
        later = [(number, self._windows.last_taking(number)) for number in self.kept]
        self.kept = {number: self.kept[number] for number, taking in later if (taking or 0) > window}
        self._begins = {number: time for number, time in self._begins.items() if number > start}
        return WindowViews(span, views)

    def _end_seconds(self) -> float | None:
        time = self._last.time_seconds
        return None if time is None else time + self._frame_seconds


def windows_of(frames: Iterable[StreamedFrame], buffer: WindowFrames) -> Iterator[WindowViews]:
    """All windows of a stream, in their order."""
    for frame in frames:
        window = buffer.add(frame)
        if window is not None:
            yield window
    window = buffer.finish()
    if window is not None:
        yield window


class VideoWindows:
    """The windows of one video and their classes, to be iterated over once; made by `VideoClassifier.open_windows`.

    windows: where they lie. fps, num_frames and damage are those of the stream: what it promises or, once all windows
    have come, what it held.
    """

    def __init__(
        self,
        stream: FrameStream | FolderStream,
        views: VideoViews,
        windows: Windows,
        score: Callable[[list[Views]], list[Tensor]],
        merge: Callable[[Tensor], Prediction],
        views_per_batch: int,
    ) -> None:
        self._stream, self._views, self.windows = stream, views, windows
        self._score, self._merge, self._views_per_batch = score, merge, views_per_batch

    fps = property(lambda self: self._stream.fps)
    num_frames = property(lambda self: self._stream.num_frames)
    damage = property(lambda self: self._stream.damage)

    def __iter__(self) -> Iterator[WindowPrediction]:
        """Raises UnreadableVideo if no frame can be decoded."""
        made = windows_of(self._stream, WindowFrames(self._views, self.windows, self.fps))
        with closing(read_ahead([lambda: made], threads=1, room=AHEAD)) as ahead:
            for windows in ahead:
                for batch in _batches(windows, self._views_per_batch):
                    logits = self._score([window.views for window in batch])
                    for window, own in zip(batch, logits, strict=True):
                        yield WindowPrediction(window.span, self._merge(own))

    def __enter__(self) -> VideoWindows:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.__exit__(*exception)


def _batches(windows: Iterable[WindowViews], num_clips: int) -> Iterator[list[WindowViews]]:
    """Windows that fit into the model at once, by their number of clips; one at least."""
    batch, size = [], 0
    for window in windows:
        if batch and size + len(window.views.clips) > num_clips:
            yield batch
            batch, size = [], 0
        batch.append(window)
        size += len(window.views.clips)
    if batch:
        yield batch
