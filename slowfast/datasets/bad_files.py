"""Files known to be bad, kept in the folder of a run so that one that goes on there need not open them again.

An entry holds as long as the file has the size and the time that it had then: one that was mended, or that was missing
because a disk was, is read again. So is one whose line is removed.
"""

from __future__ import annotations

from pathlib import Path

from slowfast.datasets.checking.listing import Listing
from slowfast.datasets.checking.sources import Stamp
from slowfast.datasets.frame_cache import FrameCache
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.utils.appended_table import AppendedTable

FILE_NAME = "bad_videos.csv"
_COLUMNS = ("path", "frames", "size", "mtime_ns", "reason")  # frames: of a folder of frames, else empty


class BadFiles:
    """The file in ``folder`` and the entries of a data set that it is about. Of several lines about one the last holds.

    Raises what AppendedTable raises.
    """

    def __init__(self, folder: Path, dataset: VideoDataset) -> None:
        self._table = AppendedTable(folder / FILE_NAME, _COLUMNS)
        self._listing = _listing(dataset)
        self._added: set[int] = set()

    def known(self) -> dict[int, str]:
        """List index -> reason, of those that have not changed since."""
        entries = {
            (path, frames): (size, time, reason) for path, frames, size, time, reason in self._table.rows
        }
        if not entries:
            return {}
        known = {}
        for index, (path, frames) in enumerate(self._listing.keys()):
            size, time, reason = entries.get((path, _text(frames)), ("", "", ""))
            if reason and tuple(map(str, self._stamp(index))) == (size, time):
                known[index] = reason
        self._added |= known.keys()
        return known

    def add(self, index: int, reason: str) -> None:
        """Keep one, once in a process; it survives whatever happens to that. Raises OSError if the disk is full."""
        if index not in self._added:
            self._added.add(index)
            path, frames = self._key(index)
            self._table.append(path, _text(frames), *self._stamp(index), reason)

    def _key(self, index: int) -> tuple[str, int | None]:
        table = self._listing.table
        return table.name(index), None if table.frame_counts is None else table.num_frames(index)

    def _stamp(self, index: int) -> Stamp:
        return self._listing.source(self._key(index)).stamp()


def _text(frames: int | None) -> str:
    return "" if frames is None else str(frames)


def _listing(dataset: VideoDataset) -> Listing:
    open_media = dataset.open_media
    if isinstance(open_media, FrameCache):
        open_media = open_media.open_media
    return Listing(dataset.table, dataset.sampler, open_media)
