"""Encoded video → the frames asked for, by number.

Frame n is the n-th frame that a decode of the whole stream puts out, in presentation order; n starts at 0.
Every read decodes forward from the start of the stream or from where the last read stopped, and never from a
key frame in between: what a container marks as a key frame is not always one, and with an open group of
pictures the frames shown just before it need pictures from further back. Reading this way is exact for every
codec and container. Pictures that are not asked for and that no other picture is made from are left out where the
codec marks them; whole streams then decode in three quarters of the time, and no pixel of the others changes. (In a
damaged stream, what a decoder makes up for lost data can depend on earlier reads of the same reader; a new reader
always starts alike.)

Frames are uint8, (height, width, 3), RGB, 0..255, upright (the container's display matrix is applied).
FFmpeg's own messages stay off, which is how PyAV starts; this module does not touch their level.
"""

import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

# Compressed streams up to this size stay in memory while a reader is open, so the file is read once. Larger
# ones are read again from the file for every pass of the decoder.
_KEPT_BYTES = 64 * 2**20

# A header may promise this many frames more than the file holds before the file counts as damaged: writers of
# AVI often count one too many. For containers that promise a length instead: seconds.
_FRAMES_TOLERANCE = 1
_SECONDS_TOLERANCE = 0.5

# Codecs whose decoder can tell, from a picture's header alone, that no other picture is made from it.
_MARKS_UNREFERENCED = ("h264", "hevc")

# What `_orientation` returns for 0, 1, 2, 3 quarter turns counterclockwise.
_QUARTER_TURNS = ((False, False, False), (True, True, False), (False, True, True), (True, False, True))

Source = str | os.PathLike | bytes | BinaryIO


class UnreadableVideo(ValueError):
    """A video that cannot be read. The message is the reason, in one line, without the name of the video."""


class EndOfVideo(UnreadableVideo):
    """The stream ended before a frame that was asked for.

    `num_frames` is the true number of frames, at least 1. The reader stays usable for frames below it.
    """

    def __init__(self, num_frames: int):
        super().__init__(f"the video ends after {num_frames} frames")
        self.num_frames = num_frames

    def __reduce__(self) -> tuple:
        return EndOfVideo, (self.num_frames,)


def open_video(source: Source, *, threads: int = 1) -> "VideoReader":
    """Open a video for reading frames by number.

    `source` is a path, the bytes of a file, or a binary file object (left open, read from where it stands).
    `threads` is the number of decoder threads; 0 lets FFmpeg choose. Use the result as a context manager.

    Raises UnreadableVideo for everything that is wrong with the file: missing, a folder, empty, no video in
    it, no frame that can be decoded, ...; ValueError or TypeError for a wrong argument.
    """
    if threads < 0:
        raise ValueError(f"threads is {threads}; write 1 or more, or 0 to let FFmpeg choose")
    if isinstance(source, io.TextIOBase):
        raise TypeError("the file object was opened as text; open it with mode 'rb'")
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise UnreadableVideo("empty file")
        source = io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        source = checked_path(source)
    try:
        container = av.open(source, mode="r", metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise UnreadableVideo(f"not a readable video ({one_line(error)})") from error
    try:
        return VideoReader(container, threads)
    except BaseException:
        container.close()
        raise


class VideoReader:
    """Frames of one video by number; made by `open_video`.

    num_frames: number of frames, found by walking through the compressed stream, not taken from the header.
        In rare streams the decoder yields fewer; `read` then says so with EndOfVideo and corrects it.
    fps: average frames per second, or None where the container does not tell.
    damage: "" or one line that says what the file lacks compared with what its header promises.
    height, width: size of the frames in pixels, after rotation.
    """

    def __init__(self, container: InputContainer, threads: int):
        self._container = container
        self._stream = video_stream(container)
        self._stream.codec_context.thread_count = threads
        if threads != 1:
            self._stream.codec_context.thread_type = "AUTO"
        self._packets = _PacketStream(container, self._stream)
        self.num_frames = self._packets.num_pictures
        self.damage = self._packets.damage
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        self._closed = False
        self._numbers = _numbers(self._stream, self._packets)
        self._wanted, self._last_wanted = frozenset([0]), 0
        self._rewind()
        try:
            first = self._frame(0)
        except EndOfVideo:
            raise UnreadableVideo("no frames in the video stream") from None
        if first.interlaced_frame:  # two packets may make one frame
            self._numbers = None
        self._picture = Pictures(first, threads)
        self.height, self.width = self._picture.height, self._picture.width

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames with these numbers, uint8 (len(indices), height, width, 3), RGB.

        Numbers come in any order and may repeat. Only these frames are converted to RGB, and decoding stops
        after the last one. If the picture size changes within the stream, later frames are scaled to the
        first one's size.

        Raises EndOfVideo if the stream ends before one of them (`num_frames` is correct from then on, and the
        next read works), UnreadableVideo if one of them cannot be decoded, ValueError for anything but whole
        numbers from 0 up and after `close`.
        """
        if self._closed:
            raise ValueError("this reader is closed; open the video again")
        numbers = _frame_numbers(indices)
        frames = np.empty((len(numbers), self.height, self.width, 3), dtype=np.uint8)
        wanted, places = np.unique(numbers, return_inverse=True)
        self._wanted, self._last_wanted = frozenset(wanted.tolist()), max(wanted.tolist(), default=0)
        for place, number in enumerate(wanted.tolist()):
            frames[places == place] = self._picture(self._frame(number))
        return frames

    def close(self) -> None:
        """Free the decoder and the file. A file object given by the caller stays open."""
        self._closed = True
        self._current = self._decoded = self._packets = None
        self._container.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _rewind(self) -> None:
        self._stream.codec_context.flush_buffers()
        self._decoded = _decode(self._stream, self._packets, self._may_drop)
        self._current, self._position = None, -1

    def _may_drop(self, packet: av.Packet) -> bool:
        """Whether the frame of a packet is not asked for. Those after the last one that is may be, by the next read."""
        if self._numbers is None:
            return False
        number = self._numbers[packet.pts]
        return number < self._last_wanted and number not in self._wanted

    def _frame(self, number: int) -> av.VideoFrame:
        """Decoded frame `number`, looked for from the current one on, or from the start if it lies behind."""
        if self._numbers is not None:
            if self._find(number):
                return self._current
            self._numbers = None  # times do not tell what this decoder puts out: count
            self._rewind()
        return self._count_to(number)

    def _find(self, number: int) -> bool:
        """Make frame `number` the current one, known by its time, while others may be left out; False if that fails."""
        if number < self._position:
            self._rewind()
        try:
            while self._position < number:
                frame = next(self._decoded)
                place = self._numbers.get(frame.pts, -1)
                if not self._position < place <= number:
                    return False
                self._current, self._position = frame, place
        except (StopIteration, av.FFmpegError, OSError):
            return False
        return True

    def _count_to(self, number: int) -> av.VideoFrame:
        """Frame `number` in the order in which a decoder that leaves nothing out puts them out."""
        if number < self._position:
            self._rewind()
        while self._position < number:
            try:
                frame = next(self._decoded)
            except StopIteration:
                self.num_frames = self._position + 1
                raise EndOfVideo(self.num_frames) from None
            except (av.FFmpegError, OSError) as error:
                reason = f"unreadable after {self._position + 1} frames ({one_line(error)})"
                self._rewind()
                raise UnreadableVideo(reason) from error
            self._current, self._position = frame, self._position + 1
        return self._current


class Pictures:
    """Decoded frames of one stream → upright uint8 (height, width, 3) RGB, all in the size of the first one."""

    def __init__(self, first: av.VideoFrame, threads: int):
        self._threads = threads
        self._reformatter = VideoReformatter()
        self._coded_size = first.width, first.height
        self._transposed, self._upside_down, self._mirrored = _orientation(first)
        self.height, self.width = first.height, first.width
        if self._transposed:
            self.height, self.width = first.width, first.height

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture of a frame; raises UnreadableVideo if it cannot be made."""
        width, height = self._coded_size
        try:
            rgb = self._reformatter.reformat(
                frame, width=width, height=height, format="rgb24", threads=self._threads
            )
        except av.FFmpegError as error:  # some colour spaces have no conversion
            raise UnreadableVideo(f"a frame cannot be turned into RGB ({one_line(error)})") from error
        picture = rgb.to_ndarray()
        if self._transposed:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self._upside_down else 1, :: -1 if self._mirrored else 1]


class _PacketStream:
    """The compressed pictures of one stream, in the order of the file, as often as they are asked for.

    num_pictures: how many of them show a frame. damage: see VideoReader. times: when each packet is to be seen, in
    units of the stream; None for one that shows no frame or does not say.
    """

    def __init__(self, container: InputContainer, stream: VideoStream):
        self._container, self._stream = container, stream
        self._kept: list[av.Packet] | None = []
        self._first: tuple | None = None
        self.num_pictures = 0
        self.times: list[int | None] = []
        self.damage = self._walk()

    def __iter__(self) -> Iterator[av.Packet]:
        if self._kept is not None:
            return iter(self._kept)
        return self._read_again()

    def _walk(self) -> str:
        """Go through the stream once without decoding it; return what is wrong with it, or ""."""
        promised = promised_frames(self._container, self._stream)
        num_packets = num_bytes = num_cut = end = 0
        try:
            for packet in self._demux():
                num_packets += 1
                num_bytes += packet.size
                num_cut += packet.is_corrupt
                shows_frame = _shows_frame(packet)
                self.num_pictures += shows_frame
                self.times.append(packet.pts if shows_frame else None)
                if packet.pts is not None:
                    end = max(end, packet.pts + (packet.duration or 0))
                self._keep(packet, num_bytes)
        except (av.FFmpegError, OSError) as error:
            return f"reading stopped after {self.num_pictures} frames ({one_line(error)})"
        what = what_is_missing(self._container, self._stream, promised, num_packets, self.num_pictures, end)
        return what or (f"{num_cut} of {num_packets} packets are incomplete" if num_cut else "")

    def _demux(self) -> Iterator[av.Packet]:
        """Packets from where the container stands. Empty ones would tell the decoder that the stream ends."""
        try:
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        except IndexError:
            # PyAV 18 trips over the packet it adds at the end if a stream appeared on the way, as it may in
            # MPEG and FLV. All real packets have come by then.
            return

    def _keep(self, packet: av.Packet, num_bytes: int) -> None:
        self._first = self._first or _identity(packet)
        if num_bytes > _KEPT_BYTES:
            self._kept = None
        if self._kept is not None:
            self._kept.append(packet)

    def _read_again(self) -> Iterator[av.Packet]:
        """Packets from the file, for streams too large to keep. A seek that misses the start is noticed."""
        pts, dts, _ = self._first
        start = min((time for time in (pts, dts) if time is not None), default=0)
        self._container.seek(start, stream=self._stream)
        for place, packet in enumerate(self._demux()):
            if place == 0 and _identity(packet) != self._first:
                raise OSError("too large to keep in memory, and its start cannot be found again")
            yield packet


def _numbers(stream: VideoStream, packets: _PacketStream) -> dict[int, int] | None:
    """Time of a frame → its number, where pictures can be left out by it; else None.

    Times must be known and different. They must not follow the order of storage: then either no picture is shown before
    one that it is made from, and there is nothing to leave out, or times are those of decoding, as always in AVI.
    """
    times = packets.times
    if stream.codec_context.name not in _MARKS_UNREFERENCED or packets.damage or None in times:
        return None
    in_order = sorted(times)
    numbers = {time: number for number, time in enumerate(in_order)}
    return numbers if len(numbers) == len(times) and in_order != times else None


def _decode(
    stream: VideoStream, packets: _PacketStream, may_drop: Callable[[av.Packet], bool]
) -> Iterator[av.VideoFrame]:
    """Frames in order; those that may be dropped are missing if no other is made from them."""
    for packet in packets:
        stream.codec_context.skip_frame = "NONREF" if may_drop(packet) else "DEFAULT"
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            # Incomplete, as the last one of a truncated file; what came before it still counts.
            if not packet.is_corrupt:
                raise
            continue
        yield from frames
    yield from stream.decode(None)  # frames the decoder still holds back to put them in order


def checked_path(path: str | os.PathLike) -> str:
    """Refuse what is not a file with something in it; return a name that FFmpeg takes literally."""
    name = os.fsdecode(path)
    try:
        status = os.stat(name)
    except FileNotFoundError as error:
        raise UnreadableVideo("no such file") from error
    except (OSError, ValueError) as error:
        raise UnreadableVideo(f"the file cannot be opened ({one_line(error)})") from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableVideo("a folder, not a video file")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableVideo("not a regular file")
    if not status.st_size:
        raise UnreadableVideo("empty file")
    return f"file:{name}"


def video_stream(container: InputContainer) -> VideoStream:
    """The first video stream that is not the cover picture of a sound file."""
    if container.format.name == "tty":  # FFmpeg renders plain text as a terminal session
        raise UnreadableVideo("a text file, not a video")
    cover = Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise UnreadableVideo("no video stream in the file")
    if streams[0].codec_context is None:
        raise UnreadableVideo("the video stream has a codec that FFmpeg cannot decode")
    return streams[0]


def _identity(packet: av.Packet) -> tuple[int | None, int | None, int]:
    return packet.pts, packet.dts, packet.size


def _shows_frame(packet: av.Packet) -> bool:
    """Whether a packet with something in it becomes a frame of its own."""
    if packet.is_discard:  # needed to decode others, cut away by the container's edit list
        return False
    codec = packet.stream.codec_context.name
    if codec == "mpeg4":  # DivX writes one byte where B-frames delay the output
        return packet.size > 1
    if codec == "vp8":  # bit 4 is show_frame (RFC 6386, section 9.1); reference pictures may be invisible
        return bool(memoryview(packet)[0] & 0x10)
    return True


def promised_frames(container: InputContainer, stream: VideoStream) -> int:
    """How many frames the header announces, or 0. In MP4 the index leaves out what an edit list cuts."""
    if "mp4" in container.format.name:
        return len(stream.index_entries)
    return stream.frames


def what_is_missing(
    container: InputContainer, stream: VideoStream, promised: int, num_packets: int, num_frames: int, end: int
) -> str:
    """What a file that has been read to its end, in units of the stream, lacks of what its header promises; or ""."""
    if container.format.name == "avi":  # counts slots of time, of which some may hold no picture
        num_packets = max(num_packets, end)
    if promised > num_packets + _FRAMES_TOLERANCE:
        return f"the header promises {promised} frames, the file holds {num_frames}"
    promised_seconds, seconds = _promised_seconds(stream), float(end * stream.time_base)
    if promised_seconds > seconds + _SECONDS_TOLERANCE:
        return f"the header promises {promised_seconds:.2f} seconds, the file holds {seconds:.2f}"
    return ""


def _promised_seconds(stream: VideoStream) -> float:
    """Matroska and WebM state no number of frames, but most writers state each stream's length in a tag."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if not found:
        return 0.0
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(swap rows and columns, then reverse rows, then reverse columns) to show a decoded frame upright.

    The display matrix moves column x, row y to column a*x + c*y, row b*x + d*y (ISO 14496-12, section 6.2.2);
    only quarter turns and mirrorings are applied, other angles to the nearest of them.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18 cannot list the side data of pictures with EXIF; it still knows the angle
        return _QUARTER_TURNS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _frame_numbers(indices: Sequence[int]) -> np.ndarray:
    numbers = np.asarray(indices)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ValueError(f"frames are asked for by a list of whole numbers, got {indices!r}")
    if numbers.size and numbers.min() < 0:
        raise ValueError(f"frame numbers start at 0, got {numbers.min()}")
    return numbers


def one_line(error: Exception) -> str:
    """What an error says, without its line breaks."""
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
