"""A video, network stream or camera → its frames one after the other: each is handed on once and then forgotten.

For videos of any length, and for what has no end. Frames are counted, turned upright and made RGB as in frames.py, so
frame n here is frame n there; but nothing is walked through beforehand, no packet is kept, and a frame becomes a
picture only if it is asked for one.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer

from slowfast.datasets.frame_folders import FrameFolder
from slowfast.datasets.frames import (
    Pictures,
    Source,
    UnreadableVideo,
    checked_path,
    one_line,
    promised_frames,
    video_stream,
    what_is_missing,
)

WAIT_SECONDS = 30.0  # for the next data of a stream or camera, before it counts as ended


@dataclass(frozen=True)
class StreamedFrame:
    """Frame ``number``, from 0, shown ``time_seconds`` after frame 0; None where the source tells no time.

    ``picture``: called, it makes uint8 (height, width, 3) RGB, and raises UnreadableVideo if that fails. All pictures
    of a stream have the size of the first.
    """

    number: int
    time_seconds: float | None
    picture: Callable[[], np.ndarray]


def open_stream(
    source: Source,
    *,
    threads: int = 1,
    input_format: str = "",
    options: Mapping[str, str] | None = None,
) -> FrameStream:
    """Open for reading forward, once: what `frames.open_video` takes, an address (with ://), a camera or a pipe.

    `input_format` is FFmpeg's name of what reads it, needed for cameras outside Linux (avfoundation, dshow); `options`
    are its own, such as {"video_size": "640x480"}. `threads` as in open_video. Use the result as a context.

    Raises UnreadableVideo for what cannot be opened or holds no video; ValueError for an unknown format.
    """
    arguments = {}
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)) and not is_file(source):
        input_format = input_format or ("v4l2" if _is_camera(source) else "")
        source, arguments = os.fspath(source), {"timeout": WAIT_SECONDS}
        if not input_format and "://" not in source and not _is_pipe(source):
            checked_path(source)  # which says what is wrong with it
            raise UnreadableVideo("not a file, an address or a camera")
    elif isinstance(source, (str, os.PathLike)):
        source = checked_path(source)
    try:
        container = av.open(
            source,
            mode="r",
            format=input_format or None,
            options=dict(options or {}),
            metadata_errors="ignore",
            **arguments,
        )
    except (av.FFmpegError, OSError) as error:
        raise UnreadableVideo(f"not a readable video ({one_line(error)})") from error
    except ValueError as error:
        raise ValueError(
            f"FFmpeg has no input format {input_format!r} here: leave it out, or write v4l2 for a camera on Linux, "
            "avfoundation on macOS, dshow on Windows"
        ) from error
    try:
        return FrameStream(container, threads)
    except BaseException:
        container.close()
        raise


def is_file(source: Source) -> bool:
    """Whether it is the path of a regular file: all there from the start, unlike a camera, pipe or address."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    try:
        return stat.S_ISREG(os.stat(source).st_mode)
    except (OSError, ValueError):
        return False


class FrameStream:
    """Frames of one source in their order, to be iterated over once; made by `open_stream`.

    fps: average frames per second as promised, or None. num_frames: as promised, 0 where nothing is; true once all
    have come. damage: "" or, known once all have come, what the file lacks or why reading it ended early.
    """

    def __init__(self, container: InputContainer, threads: int):
        self._container = container
        self._stream = video_stream(container)
        self._stream.codec_context.thread_count = threads
        if threads != 1:
            self._stream.codec_context.thread_type = "AUTO"
        self._threads = threads
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        self._promised = promised_frames(container, self._stream)
        self.num_frames = self._promised or self._frames_of_duration()
        self._num_packets = self._end = 0
        self.damage = ""

    def __iter__(self) -> Iterator[StreamedFrame]:
        """The frames; raises UnreadableVideo if not one can be decoded."""
        number, pictures, begin = 0, None, None
        try:
            for frame in self._decoded():
                pictures = pictures or Pictures(frame, self._threads)
                begin = frame.pts if begin is None else begin
                # Not frame.time: of frames that the decoder held back to the end it is no number.
                time = None if frame.pts is None else float((frame.pts - begin) * self._stream.time_base)
                yield StreamedFrame(number, time, _Picture(pictures, frame))
                number += 1
        except (av.FFmpegError, OSError) as error:
            self.damage = f"unreadable after {number} frames ({one_line(error)})"
        self.num_frames = number
        self.damage = self.damage or what_is_missing(
            self._container, self._stream, self._promised, self._num_packets, number, self._end
        )
        if not number:
            raise UnreadableVideo(self.damage or "no frames in the video stream")

    def close(self) -> None:
        """Free the decoder and the source. A file object given by the caller stays open."""
        self._container.close()

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                if not packet.is_corrupt:  # the last one of a truncated file is; what came before it counts
                    raise
                continue
            yield from frames
        yield from self._stream.decode(None)

    def _packets(self) -> Iterator[av.Packet]:
        try:
            for packet in self._container.demux(self._stream):
                if not packet.size:  # it would tell the decoder that the stream ends
                    continue
                self._num_packets += 1
                if packet.pts is not None:
                    self._end = max(self._end, packet.pts + (packet.duration or 0))
                yield packet
        except IndexError:  # as in frames.py: PyAV 18, streams that appear on the way
            return

    def _frames_of_duration(self) -> int:
        if not self.fps or not self._container.duration:
            return 0
        return max(0, round(self._container.duration / av.time_base * self.fps))


@dataclass(frozen=True)
class _Picture:
    """The conversion of one decoded frame, put off until it is called."""

    pictures: Pictures
    frame: av.VideoFrame

    def __call__(self) -> np.ndarray:
        return np.ascontiguousarray(self.pictures(self.frame))


class FolderStream:
    """The frames of a folder of images, behind the interface of FrameStream; without times."""

    fps: float | None = None
    damage = ""

    def __init__(self, folder: FrameFolder):
        self._folder = folder
        self.num_frames = folder.num_frames

    def __iter__(self) -> Iterator[StreamedFrame]:
        for number in range(self.num_frames):
            yield StreamedFrame(number, None, lambda number=number: self._picture(number))

    def __enter__(self) -> FolderStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self._folder.close()

    def _picture(self, number: int) -> np.ndarray:
        """Read beside the first one, with which it must agree in size."""
        return self._folder.read([0, number])[1] if number else self._folder.read([0])[0]


def _is_camera(source: str | os.PathLike) -> bool:
    return sys.platform == "linux" and _mode(source, stat.S_ISCHR)


def _is_pipe(source: str | os.PathLike) -> bool:
    return _mode(source, stat.S_ISFIFO)


def _mode(source: str | os.PathLike, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(source).st_mode)
    except (OSError, ValueError):
        return False
