"""The story of a prediction: find what is meant, decode ahead of the model, score, write; name what cannot be read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from slowfast.datasets.frame_stream import FrameStream, StreamedFrame, is_file, open_stream
from slowfast.datasets.frames import UnreadableVideo
from slowfast.engine.progress_bar import ProgressBar
from slowfast.inference import live, overlay
from slowfast.inference.ahead import map_ahead
from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.inputs import NamedVideo
from slowfast.inference.outputs import Format
from slowfast.inference.overlay import Caption
from slowfast.inference.prediction import Prediction
from slowfast.inference.timeline import Timeline, check_smoothing, timeline
from slowfast.inference.windows import Extent, plan
from slowfast.utils.atomic import replace_file
from slowfast.utils.plural import counted

Write = Callable[[str], None]
Tell = Callable[[str, str], None]


@dataclass(frozen=True)
class Cut:
    """How a long video is cut into windows: as in `VideoClassifier.timeline`."""

    window: Extent | None = None
    stride: Extent | None = None
    smoothing: int = 1

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)


def predict_videos(
    classifier: VideoClassifier,
    videos: Sequence[NamedVideo],
    lines: Format,
    write: Write,
    tell: Tell,
    *,
    jobs: int,
    overlay_path: Path | None = None,
) -> int:
    """The classes of whole videos, ``jobs`` of them decoded ahead; how many could not be read.

    Lines go to ``write``; ``tell`` is called with the name of each video that cannot be read, and the reason.
    """
    failed = 0
    bar = ProgressBar("predict", len(videos), wanted=len(videos) > 1)
    write(lines.videos_begin([video.name for video in videos]))
    try:
        for video, found in _predictions(classifier, videos, jobs):
            bar.advance(1)
            if isinstance(found, UnreadableVideo):
                failed += 1
                bar.describe(unreadable=failed)
                write(lines.unreadable(video.name, str(found)))
                tell(video.name, str(found))
                continue
            write(lines.video(video.name, found))
            if overlay_path:
                _overlay(classifier, video, overlay_path, _always(found))
    finally:
        bar.close()
    return failed


def predict_timelines(
    classifier: VideoClassifier,
    videos: Sequence[NamedVideo],
    lines: Format,
    write: Write,
    tell: Tell,
    cut: Cut,
    *,
    overlay_path: Path | None = None,
) -> int:
    """What happens when in each video, in one pass and in memory that does not grow; else as `predict_videos`."""
    failed = 0
    write(lines.timelines_begin())
    for video in videos:
        try:
            found = _timeline(classifier, video, cut)
        except UnreadableVideo as error:
            failed += 1
            write(lines.unreadable(video.name, str(error)))
            tell(video.name, str(error))
            continue
        write(lines.timeline(video.name, found))
        if overlay_path:
            _overlay(classifier, video, overlay_path, lambda frame, found=found: Caption(*found.at(frame)))
    return failed


def predict_live(
    classifier: VideoClassifier,
    source: str,
    lines: Format,
    write: Write,
    cut: Cut,
    *,
    input_format: str = "",
    options: Mapping[str, str] | None = None,
) -> str:
    """Watch a camera, address or pipe until it ends or the user interrupts; a file is read at its own pace.

    Returns what is to be told at the end: frames dropped, latency. Raises UnreadableVideo, naming the source.
    """
    try:
        return _watch(classifier, source, lines, write, cut, input_format, options)
    except UnreadableVideo as error:
        raise UnreadableVideo(f"{source}: {error}") from error


def _watch(
    classifier: VideoClassifier,
    source: str,
    lines: Format,
    write: Write,
    cut: Cut,
    input_format: str,
    options: Mapping[str, str] | None,
) -> str:
    with ExitStack() as stack:
        stream = stack.enter_context(open_stream(source, input_format=input_format, options=options))
        windows = plan(classifier.views.sampler, stream.fps, cut.window, cut.stride)
        stack.pop_all()  # the thread that reads it closes it
    watched = live.watch(
        _frames(stream, is_file(source)),
        classifier.views,
        windows,
        lambda views: classifier.merge(classifier.score(views)),
    )
    write(lines.live_begin())
    count, worst, dropped = 0, 0.0, 0
    try:
        for found in watched:
            write(lines.live(found))
            count, worst = count + 1, max(worst, found.latency_seconds)
            dropped = found.dropped_frames
    except KeyboardInterrupt:  # the way to end a watch
        pass
    finally:
        watched.close()
    return (
        f"{counted(count, 'window')} scored, at most {worst:.2f} s after the last frame; "
        f"{counted(dropped, 'frame')} dropped"
    )


@contextmanager
def output(path: Path | None) -> Iterator[Write]:
    """Where lines go: stdout, or a file that is there once all of them are. A name that is no UTF-8 keeps its bytes
    in the file."""
    if path is None:
        yield _to_stdout
        return
    with replace_file(path) as file:
        yield lambda text: file.write(text.encode("utf-8", "surrogateescape"))


def tell_nobody(name: str, reason: str) -> None:
    """For lines that go to the screen, where people see it already."""


def tell_on_stderr(name: str, reason: str) -> None:
    """For lines that go elsewhere."""
    _print(f"{name}: cannot be read: {reason}\n", sys.stderr)


def _to_stdout(text: str) -> None:
    _print(text, sys.stdout)


def _print(text: str, file: TextIO) -> None:
    """Above a progress bar, if there is one."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=file):
        file.write(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
        file.flush()


def _predictions(
    classifier: VideoClassifier, videos: Sequence[NamedVideo], jobs: int
) -> Iterator[tuple[NamedVideo, Prediction | UnreadableVideo]]:
    def views_of(video: NamedVideo):
        try:
            return classifier.views(video.media)
        except UnreadableVideo as error:
            return error

    for video, found in zip(videos, map_ahead(views_of, videos, jobs), strict=True):
        if isinstance(found, UnreadableVideo):
            yield video, found
        else:
            views, damage = found
            yield video, classifier.merge(classifier.score(views), damage)


def _timeline(classifier: VideoClassifier, video: NamedVideo, cut: Cut) -> Timeline:
    with classifier.open_windows(video.media, window=cut.window, stride=cut.stride) as windows:
        bar = ProgressBar(os.path.basename(video.name), windows.num_frames, wanted=True)
        seen = 0

        def shown():
            nonlocal seen
            for window in windows:
                bar.advance(window.span.end_frame - seen)
                seen = window.span.end_frame
                yield window

        try:
            found = timeline(shown(), classifier.class_names, cut.smoothing)
        finally:
            bar.close()
        return replace(found, damage=windows.damage)


def _overlay(
    classifier: VideoClassifier, video: NamedVideo, path: Path, caption: Callable[[int], Caption]
) -> None:
    with classifier.views.stream(video.media) as stream:
        bar = ProgressBar(path.name, stream.num_frames, wanted=True)
        try:
            overlay.write_overlay(path, stream, caption, lambda: bar.advance(1))
        finally:
            bar.close()
    print(f"{path}: the video with its classes, without sound", file=sys.stderr)


def _always(prediction: Prediction) -> Callable[[int], Caption]:
    ((name, probability), *_) = prediction.top(1)
    return lambda frame: Caption(name, probability)


def _frames(stream: FrameStream, in_real_time: bool) -> Iterator[StreamedFrame]:
    """The frames of a stream, which is closed with them; those of a file come when they are due."""
    with stream:
        yield from live.paced(stream, stream.fps or overlay.FPS) if in_real_time else stream
