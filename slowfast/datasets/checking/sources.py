"""Where one listed video lies: cheap to send to another process, opened there, and recognised later by its stamp.

Imports no torch, which every decoding process would have to load.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from slowfast.datasets.frame_folders import FrameFolder, open_frame_folder
from slowfast.datasets.frames import UnreadableVideo, VideoReader, open_video
from slowfast.datasets.tar_members import read_stored

Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds
GONE: Stamp = (-1, 0)


@dataclass(frozen=True, slots=True)
class VideoSource:
    """A video file."""

    path: str

    def open(self) -> VideoReader:
        return open_video(self.path)

    def stamp(self) -> Stamp:
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return GONE
        return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class ShardSource:
    """A video file in a tar: `size` bytes from `offset` on."""

    path: str
    offset: int
    size: int

    def open(self) -> VideoReader:
        return open_video(read_stored(self.path, self.offset, self.size))

    def stamp(self) -> Stamp:
        """Its own size, and the last change of the whole tar."""
        return self.size, VideoSource(self.path).stamp()[1]


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of frames; num_frames and template as in `open_frame_folder`."""

    path: str
    num_frames: int
    template: str

    def open(self) -> FrameFolder:
        return open_frame_folder(self.path, self.num_frames, self.template)

    def stamp(self) -> Stamp:
        """All bytes in the folder, and the last change of any file in it or of the folder itself."""
        try:
            changes, size = [os.stat(self.path).st_mtime_ns], 0
            with os.scandir(self.path) as entries:
                for entry in entries:
                    status = entry.stat()
                    size += status.st_size
                    changes.append(status.st_mtime_ns)
        except (OSError, ValueError):
            return GONE
        return size, max(changes)


@dataclass(frozen=True, slots=True)
class LostSource:
    """A video that is known to be nowhere, and why."""

    reason: str

    def open(self) -> VideoReader:
        raise UnreadableVideo(self.reason)

    def stamp(self) -> Stamp:
        return GONE


Source = VideoSource | ShardSource | FolderSource | LostSource
